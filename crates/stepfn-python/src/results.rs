//! What comes of a text.

use numpy::{PyArray1, PyArrayDyn, PyArrayMethods};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use stepfn::writers::{
    Colors, Record, TerminalOptions, WriterOptions, answers, comparisons, evaluations, records, reliances,
};
use stepfn::{Outcome, ScoredText, Scores};

use crate::convert::{exception, raised, to_json};

/// An attribution.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Answer(pub(crate) stepfn::Answer);

/// Numbers of tokens and steps, and the names of their axes.
type ScoreArray<'py> = (Bound<'py, PyArrayDyn<f32>>, Vec<&'static str>);

#[pymethods]
impl Answer {
    /// Everything but the numbers, as JSON.
    fn header(&self) -> PyResult<String> {
        let mut header = stepfn::Attribution::new(self.0.source.clone(), self.0.target.clone(), self.0.steps.clone());
        let stepfn::Attribution {
            id,
            fields,
            source_text,
            target_text,
            spans,
            contrast,
            alternatives,
            measured,
            messages,
            about,
            ..
        } = self.0.0.clone();
        header = stepfn::Attribution {
            id,
            fields,
            source_text,
            target_text,
            spans,
            contrast,
            alternatives,
            measured,
            messages,
            about,
            ..header
        };
        to_json(&header)
    }

    /// The first position in the target of each column of scores, and what is predicted there.
    fn columns(&self) -> Vec<(usize, String)> {
        (0..self.0.columns()).map(|column| (self.0.column(column).start, self.0.column_text(column))).collect()
    }

    /// Scores of source or target tokens, with the names of their axes.
    fn scores<'py>(&self, py: Python<'py>, source: bool) -> PyResult<Option<ScoreArray<'py>>> {
        let scores = if source { &self.0.source_scores } else { &self.0.target_scores };
        let array = |scores: &Scores| {
            let values = PyArray1::from_slice(py, scores.values());
            let shape: Vec<usize> = scores.shape().to_vec();
            Ok((values.reshape(shape)?, scores.axes().iter().map(|axis| axis.name()).collect()))
        };
        scores.as_ref().map(array).transpose()
    }

    /// Values of step functions by name, one for each step.
    fn step_scores<'py>(&self, py: Python<'py>) -> Vec<(String, Bound<'py, PyArray1<f32>>)> {
        let array = |(name, values): (&String, &Vec<f32>)| (name.clone(), PyArray1::from_slice(py, values));
        self.0.step_scores.iter().map(array).collect()
    }

    /// How far the scores of each step are from adding up.
    fn deltas<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<f32>>> {
        self.0.deltas.as_ref().map(|values| PyArray1::from_slice(py, values))
    }

    /// What the scores of each step should add up to.
    fn changes<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<f32>>> {
        self.0.changes.as_ref().map(|values| PyArray1::from_slice(py, values))
    }

    /// After the stages of a pipeline.
    fn aggregate(&self, py: Python<'_>, pipeline: &str) -> PyResult<Self> {
        raised(py, self.0.aggregate(pipeline)).map(Self)
    }

    /// The difference to another answer, after the stages of a pipeline.
    fn minus(&self, py: Python<'_>, other: &Self, pipeline: &str) -> PyResult<Self> {
        raised(py, self.0.minus(&other.0, pipeline)).map(Self)
    }

    /// The heat map for a terminal.
    fn table(&self) -> String {
        self.0.to_string()
    }

    /// The heat map as a drawing.
    fn svg(&self) -> String {
        self.0.svg()
    }

    /// As JSON.
    fn json(&self) -> PyResult<String> {
        to_json(&self.0.0)
    }
}

/// Step scores of a text.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Scored(pub(crate) ScoredText);

#[pymethods]
impl Scored {
    /// Everything but the numbers, as JSON: as that of an attribution.
    fn header(&self) -> PyResult<String> {
        let ScoredText {
            id,
            fields,
            source_text,
            target_text,
            source,
            target,
            scores,
            alternatives,
            messages,
            about,
            ..
        } = self.0.clone();
        let steps = scores.first..scores.first + self.0.tokens().len();
        to_json(&stepfn::Attribution {
            id,
            fields,
            source_text,
            target_text: Some(target_text),
            alternatives,
            messages,
            about,
            ..stepfn::Attribution::new(source, target, steps)
        })
    }

    /// Of all scored tokens together: log-probability and mean entropy in nats, and perplexity.
    fn sequence(&self) -> (f64, f64, f64) {
        let of_all = self.0.scores.sequence;
        (of_all.logprob, of_all.mean_entropy, of_all.perplexity)
    }

    /// What has scores of its own, and of words, sentences or regions what they are, as JSON.
    fn units(&self) -> PyResult<(&'static str, String)> {
        Ok((self.0.by.name(), to_json(&self.0.units)?))
    }

    /// As JSON.
    fn json(&self, py: Python<'_>) -> PyResult<String> {
        self.0.json().map_err(|error| {
            exception(py, &stepfn::Error::new(stepfn::ErrorKind::File, error.to_string(), "report this as a bug"))
        })
    }

    /// Values of step functions by name, one for each scored token.
    fn values<'py>(&self, py: Python<'py>) -> Vec<(String, Bound<'py, PyArray1<f32>>)> {
        let array = |(name, values): &(String, Vec<f32>)| (name.clone(), PyArray1::from_slice(py, values));
        self.0.scores.scores.iter().map(array).collect()
    }

    /// As a table.
    fn table(&self) -> String {
        self.0.to_string()
    }
}

/// Metrics of methods.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Evaluation(pub(crate) stepfn::Evaluated);

#[pymethods]
impl Evaluation {
    /// In one of the formats.
    fn write(&self, py: Python<'_>, format: &str) -> PyResult<String> {
        let written = || -> stepfn::Result<String> {
            let options = WriterOptions { single: true, ..WriterOptions::default() };
            let mut writer = evaluations(format, &options)?;
            let result = Ok(self.0.clone());
            let outcome = Outcome { id: 0.into(), number: 0, fields: stepfn::Map::new(), result };
            Ok(writer.write(&outcome)? + &writer.finish()?)
        };
        raised(py, py.detach(written))
    }
}

/// Texts that were compared.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Comparison(pub(crate) stepfn::Comparison);

#[pymethods]
impl Comparison {
    /// As JSON.
    fn json(&self) -> PyResult<String> {
        to_json(&self.0)
    }

    /// As a table.
    fn table(&self) -> String {
        self.0.table()
    }
}

/// How alike two texts are.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Similarity(pub(crate) stepfn::Similarity);

#[pymethods]
impl Similarity {
    /// As JSON.
    fn json(&self) -> PyResult<String> {
        to_json(&self.0)
    }

    /// As a table.
    fn table(&self) -> String {
        self.0.table()
    }
}

/// How often the first text is preferred, by group and in all, as JSON.
#[pyfunction]
pub(crate) fn accuracies(py: Python<'_>, results: Vec<Py<Comparison>>) -> PyResult<String> {
    let written = || -> stepfn::Result<String> {
        let mut writer = comparisons("json", &WriterOptions::default(), true)?;
        let of = |one: &Py<Comparison>| one.get().0.clone();
        for outcome in outcomes(&results, of, |comparison| comparison.id.clone()) {
            writer.write(&outcome)?;
        }
        writer.finish()
    };
    raised(py, py.detach(written))
}

/// What a model wrote.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Written(pub(crate) stepfn::Written);

#[pymethods]
impl Written {
    /// As JSON.
    fn json(&self) -> PyResult<String> {
        to_json(&self.0)
    }
}

/// What depends on context.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Reliance(pub(crate) stepfn::RelianceAnswer);

#[pymethods]
impl Reliance {
    /// In one of the formats: `json`, `csv`, `html` or `table`.
    fn written(&self, py: Python<'_>, format: &str) -> PyResult<String> {
        let written = || -> stepfn::Result<String> {
            let options = WriterOptions { single: true, terminal: plain(), ..WriterOptions::default() };
            let mut writer = reliances(format, &options)?;
            let (id, fields) = (self.0.id.clone(), self.0.fields.clone());
            let outcome = Outcome { id, number: 0, fields, result: Ok(self.0.clone()) };
            Ok(writer.write(&outcome)? + &writer.finish()?)
        };
        raised(py, py.detach(written))
    }
}

fn outcomes<T, P>(results: &[P], of: impl Fn(&P) -> T, id: impl Fn(&T) -> stepfn::Value) -> Vec<Outcome<T>> {
    let outcome = |(number, result): (usize, &P)| {
        let result = of(result);
        let id = Some(id(&result)).filter(|id| !id.is_null()).unwrap_or_else(|| number.into());
        Outcome { id, number, fields: stepfn::Map::new(), result: Ok(result) }
    };
    results.iter().enumerate().map(outcome).collect()
}

/// Attributions in one of the formats.
#[pyfunction]
pub(crate) fn write_answers(
    py: Python<'_>,
    format: &str,
    results: Vec<Py<Answer>>,
    single: bool,
    fields: Vec<String>,
) -> PyResult<String> {
    let written = || -> stepfn::Result<String> {
        let options = WriterOptions { single, fields, terminal: plain() };
        let mut writer = answers(format, &options)?;
        let mut text = String::new();
        let outcomes = outcomes(&results, |answer: &Py<Answer>| answer.get().0.clone(), |answer| answer.id.clone());
        for mut outcome in outcomes {
            outcome.fields = outcome.result.as_ref().map(|answer| answer.fields.clone()).unwrap_or_default();
            text += &writer.write(&outcome)?;
        }
        Ok(text + &writer.finish()?)
    };
    raised(py, py.detach(written))
}

/// Step scores in one of the formats.
#[pyfunction]
pub(crate) fn write_scored(
    py: Python<'_>,
    format: &str,
    results: Vec<Py<Scored>>,
    single: bool,
    fields: Vec<String>,
) -> PyResult<String> {
    let written = || -> stepfn::Result<String> {
        let options = WriterOptions { single, fields, terminal: plain() };
        let mut writer = records::<ScoredText>(format, &options)?;
        let mut text = String::new();
        for outcome in outcomes(&results, |text: &Py<Scored>| text.get().0.clone(), |text| text.id.clone()) {
            text += &writer.write(&outcome)?;
        }
        Ok(text + &writer.finish()?)
    };
    raised(py, py.detach(written))
}

/// The attributions of a file, each an object or the exception that says why there is none.
#[pyfunction]
pub(crate) fn read(py: Python<'_>, text: &str) -> PyResult<Vec<Py<PyAny>>> {
    let outcomes = raised(py, py.detach(|| stepfn::read(text)))?;
    let one = |outcome: Outcome<stepfn::Answer>| match outcome.result {
        Ok(answer) => Answer(answer).into_py_any(py),
        Err(error) => {
            let exception = exception(py, &error).into_value(py).into_any();
            exception.setattr(py, "id", to_json(&outcome.id)?)?;
            Ok(exception)
        }
    };
    outcomes.into_iter().map(one).collect()
}

/// Heat maps without colours.
fn plain() -> TerminalOptions {
    TerminalOptions { colors: Colors::None, ..TerminalOptions::default() }
}
