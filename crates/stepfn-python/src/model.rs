//! Models, and what there is to choose from.

use std::sync::Arc;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::json;
use stepfn::backend::{Devices, OnBackend};
use stepfn::{Description, Download, Error, ErrorKind, LanguageModel, LoadOptions, Map, Stage, Value};

use crate::convert::{exception, from_json, raised, to_json};
use crate::engine::{Engine, Results};
use crate::raised::Raised;
use crate::results::{Answer, Comparison, Evaluation, Reliance, Scored, Similarity, Written};
use crate::task::{FunctionSpec, Given, Job, MethodSpec, Named, Options};
use crate::watch::Watch;
use crate::weights::{self, element_type, tensor};

/// A model.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Model {
    engine: Box<dyn Engine>,
}

/// How a model is loaded.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Loading {
    backend: Option<String>,
    device: Option<String>,
    dtype: Option<String>,
    generation: Map<String, Value>,
    base: Option<String>,
    source_lang: Option<String>,
    target_lang: Option<String>,
    seed: u64,
}

impl Loading {
    fn options(&self) -> stepfn::Result<LoadOptions> {
        let default = LoadOptions::default();
        let dtype = self.dtype.as_deref().unwrap_or("f32");
        let dtype = element_type(dtype).ok_or_else(|| {
            let what = format!("there is no element type `{dtype}` to compute with");
            Error::new(ErrorKind::Option, what, "choose one of f64, f32, f16, bf16 and int8")
        })?;
        Ok(LoadOptions {
            device: self.device.clone().unwrap_or_else(|| default.device.clone()),
            dtype,
            generation: self.generation.clone(),
            base: self.base.clone(),
            source_lang: self.source_lang.clone(),
            target_lang: self.target_lang.clone(),
            seed: self.seed,
            ..default
        })
    }

    fn run_on<W: OnBackend<Output = stepfn::Result<Box<dyn Engine>>>>(&self, work: W) -> stepfn::Result<Model> {
        let backend = self.backend.as_deref().unwrap_or("cpu");
        Ok(Model { engine: stepfn::backend::run_on(backend, work)?? })
    }
}

/// Loads a model by its name.
#[pyfunction]
#[pyo3(signature = (name, options, on_download=None))]
pub(crate) fn load(py: Python<'_>, name: &str, options: &str, on_download: Option<Py<PyAny>>) -> PyResult<Model> {
    struct Load<'a>(&'a str, LoadOptions, Option<Py<PyAny>>);

    impl OnBackend for Load<'_> {
        type Output = stepfn::Result<Box<dyn Engine>>;

        fn run<D: Devices>(self) -> Self::Output {
            let Self(name, options, on_download) = self;
            let told = |download: &Download| {
                if let Some(on_download) = &on_download {
                    let Download { file, bytes_done, bytes, .. } = download;
                    // What it raises shows nothing that matters to the download.
                    Python::attach(|py| drop(on_download.call1(py, (file, bytes_done, bytes))));
                }
            };
            Ok(Box::new(LanguageModel::load_watched::<D>(name, &options, &told)?))
        }
    }

    let loading: Loading = from_json(options)?;
    let load = Load(name, raised(py, loading.options())?, on_download);
    let loaded = py.detach(|| loading.run_on(load));
    raised(py, loaded)
}

/// A model of weights that Python owns: `folder` has its other files.
#[pyfunction]
pub(crate) fn load_tensors(
    py: Python<'_>,
    name: &str,
    folder: &str,
    tensors: Vec<weights::Given<'_>>,
    options: &str,
) -> PyResult<Model> {
    struct Load<'a>(&'a str, &'a str, Vec<stepfn::MemoryTensor>, LoadOptions);

    impl OnBackend for Load<'_> {
        type Output = stepfn::Result<Box<dyn Engine>>;

        fn run<D: Devices>(self) -> Self::Output {
            let Self(name, folder, tensors, options) = self;
            Ok(Box::new(LanguageModel::load_tensors::<D>(name, folder, tensors, &options)?))
        }
    }

    let loading: Loading = from_json(options)?;
    let tensors = tensors.into_iter().map(tensor).collect::<PyResult<_>>()?;
    let load = Load(name, folder, tensors, raised(py, loading.options())?);
    let loaded = py.detach(|| loading.run_on(load));
    raised(py, loaded)
}

/// A token: its text, its id, where it starts and ends in bytes of the text, and whether it is special.
type TokenRow = (String, u32, usize, usize, bool);

#[pymethods]
impl Model {
    /// What is known of the model, as JSON.
    fn about(&self) -> PyResult<String> {
        to_json(&self.engine.about())
    }

    /// Step functions of texts.
    #[pyo3(signature = (texts, functions, options, on_progress=None))]
    fn score(
        &self,
        py: Python<'_>,
        texts: Vec<Given>,
        functions: Vec<FunctionSpec>,
        options: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.run(py, &Job::Score(functions), texts, options, on_progress)
    }

    /// Attributions of texts.
    #[pyo3(signature = (texts, method, function, step_scores, options, on_progress=None))]
    #[expect(clippy::too_many_arguments, reason = "they come from Python")]
    fn attribute(
        &self,
        py: Python<'_>,
        texts: Vec<Given>,
        method: MethodSpec,
        function: Option<FunctionSpec>,
        step_scores: Vec<FunctionSpec>,
        options: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.run(py, &Job::Attribute { method, function, step_scores }, texts, options, on_progress)
    }

    /// Which of several texts is preferred.
    #[pyo3(signature = (texts, functions, options, on_progress=None))]
    fn compare(
        &self,
        py: Python<'_>,
        texts: Vec<Given>,
        functions: Vec<FunctionSpec>,
        options: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.run(py, &Job::Compare(functions), texts, options, on_progress)
    }

    /// How alike texts are.
    #[pyo3(signature = (texts, options, on_progress=None))]
    fn similarity(
        &self,
        py: Python<'_>,
        texts: Vec<Given>,
        options: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.run(py, &Job::Similarity, texts, options, on_progress)
    }

    /// The sources of answers.
    #[pyo3(signature = (texts, options, on_progress=None))]
    fn context(
        &self,
        py: Python<'_>,
        texts: Vec<Given>,
        options: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.run(py, &Job::Context, texts, options, on_progress)
    }

    /// What depends on context.
    #[pyo3(signature = (texts, metric, method, function, options, on_progress=None))]
    #[expect(clippy::too_many_arguments, reason = "they come from Python")]
    fn attribute_context(
        &self,
        py: Python<'_>,
        texts: Vec<Given>,
        metric: FunctionSpec,
        method: MethodSpec,
        function: FunctionSpec,
        options: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.run(py, &Job::AttributeContext { metric, method, function }, texts, options, on_progress)
    }

    /// Metrics of methods, over all texts: a list of one object.
    #[pyo3(signature = (texts, methods, functions, options, on_progress=None))]
    fn evaluate(
        &self,
        py: Python<'_>,
        texts: Vec<Given>,
        methods: Vec<MethodSpec>,
        functions: Vec<FunctionSpec>,
        options: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.run(py, &Job::Evaluate { methods, functions }, texts, options, on_progress)
    }

    /// What the model writes after texts: a list for each.
    #[pyo3(signature = (texts, on_progress=None))]
    fn generate(&self, py: Python<'_>, texts: Vec<Given>, on_progress: Option<Py<PyAny>>) -> PyResult<Vec<Py<PyAny>>> {
        self.run(py, &Job::Generate, texts, "{}", on_progress)
    }

    /// The tokens of a text: of the source, or of the target.
    fn encode(&self, py: Python<'_>, text: &str, special_tokens: bool, target: bool) -> PyResult<Vec<TokenRow>> {
        let row = |token: stepfn::Token| (token.surface, token.id, token.span.start, token.span.end, token.special);
        let tokens = py.detach(|| self.engine.encode(text, special_tokens, target));
        Ok(raised(py, tokens)?.into_iter().map(row).collect())
    }

    /// Tokens as the vocabulary has them; `None` for ids that it doesn't have.
    fn pieces(&self, ids: Vec<u32>, target: bool) -> Vec<Option<String>> {
        self.engine.pieces(&ids, target)
    }

    /// The text of tokens.
    fn decode(&self, py: Python<'_>, ids: Vec<u32>, skip_special_tokens: bool, target: bool) -> PyResult<String> {
        let text = py.detach(|| self.engine.decode(&ids, skip_special_tokens, target));
        raised(py, text)
    }
}

impl Model {
    /// A result for each text: an object, or the exception that says why there is none.
    fn run(
        &self,
        py: Python<'_>,
        job: &Job,
        texts: Vec<Given>,
        options: &str,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let options: Options = from_json(options)?;
        let inputs = texts.into_iter().map(Given::named).collect::<PyResult<Vec<Named>>>()?;
        let watch = Watch::new(on_progress);
        let results = py.detach(|| self.engine.run(job, inputs, &options, &watch));
        if let Some(raised) = watch.take_raised() {
            return Err(raised);
        }
        // What ends a program passes through.
        let ends = |raised: &Arc<Raised>| if raised.ends() { raised.take() } else { None };
        if let Some(raised) = job.raised().iter().find_map(ends) {
            return Err(raised);
        }
        let cause = job.raised().iter().find_map(|raised| raised.take());
        let failed = |id: &Value, error: &Error| -> PyResult<Py<PyAny>> {
            let exception = exception(py, error);
            if let Some(cause) = &cause {
                exception.set_cause(py, Some(cause.clone_ref(py)));
            }
            let exception = exception.into_value(py).into_any();
            exception.setattr(py, "id", to_json(id)?)?;
            Ok(exception)
        };
        fn list<T, P: for<'py> IntoPyObject<'py>>(
            py: Python<'_>,
            outcomes: Vec<stepfn::Outcome<T>>,
            object: impl Fn(T) -> P,
            failed: impl Fn(&Value, &Error) -> PyResult<Py<PyAny>>,
        ) -> PyResult<Vec<Py<PyAny>>> {
            let one = |outcome: stepfn::Outcome<T>| match outcome.result {
                Ok(result) => object(result).into_py_any(py),
                Err(error) => failed(&outcome.id, &error),
            };
            outcomes.into_iter().map(one).collect()
        }
        match raised(py, results)? {
            Results::Scored(outcomes) => list(py, outcomes, Scored, failed),
            Results::Answers(outcomes) => list(py, outcomes, Answer, failed),
            Results::Compared(outcomes) => list(py, outcomes, Comparison, failed),
            Results::Similarities(outcomes) => list(py, outcomes, Similarity, failed),
            Results::Reliances(outcomes) => list(py, outcomes, Reliance, failed),
            Results::Evaluated(found) => Ok(vec![Evaluation(*found).into_py_any(py)?]),
            Results::Written(outcomes) => {
                list(py, outcomes, |texts| texts.into_iter().map(Written).collect::<Vec<_>>(), failed)
            }
        }
    }
}

fn described(description: &Description) -> Value {
    let Description { name, summary, unit, parameters, .. } = description;
    json!({ "name": name, "summary": summary, "unit": unit, "parameters": parameters })
}

/// The methods or the step functions that are built in, as JSON.
#[pyfunction]
pub(crate) fn known(methods: bool) -> PyResult<String> {
    let registry = stepfn::Registry::<stepfn::backend::DefaultBackend>::default();
    let all: Vec<Value> = match methods {
        true => registry.methods().map(described).collect(),
        false => registry.functions().map(described).collect(),
    };
    to_json(&all)
}

/// Checks a method or a step function that is built in, with its parameters as JSON.
#[pyfunction]
pub(crate) fn check(py: Python<'_>, methods: bool, name: &str, parameters: &str) -> PyResult<()> {
    let registry = stepfn::Registry::<stepfn::backend::DefaultBackend>::default();
    let parameters: Value = from_json(parameters)?;
    let made = match methods {
        true => registry.method(name, &parameters).map(drop),
        false => registry.function(name, &parameters).map(drop),
    };
    raised(py, made)
}

/// The models that are compiled in: name, family and summary of each.
#[pyfunction]
pub(crate) fn models() -> Vec<[String; 3]> {
    stepfn::models()
}

/// The fields of a record that are parts of a text.
#[pyfunction]
pub(crate) fn record_fields() -> [&'static str; stepfn::RECORD_FIELDS.len()] {
    stepfn::RECORD_FIELDS
}

/// The families of models that can be read.
#[pyfunction]
pub(crate) fn families() -> Vec<&'static str> {
    stepfn::families().collect()
}

/// The backends, each with its first device, or why there is none.
#[pyfunction]
pub(crate) fn backends() -> Vec<(&'static str, String)> {
    let told = |(name, device): (&'static str, Result<_, _>)| {
        (
            name,
            device.map_or_else(
                |error: stepfn::backend::DeviceError| error.to_string(),
                |device: stepfn::backend::DeviceInfo| device.to_string(),
            ),
        )
    };
    stepfn::backend::all().into_iter().map(told).collect()
}

/// The stages of aggregation, with their summaries.
#[pyfunction]
pub(crate) fn stages() -> Vec<(&'static str, &'static str)> {
    Stage::ABOUT.to_vec()
}
