//! Step functions that are written in Python.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use stepfn::extend::{Join, Needs, StepBatch, StepError, StepFunction, StepScore};
use stepfn::{Map, Value};

use crate::convert::from_json;
use crate::raised::Raised;

/// A step function that is written in Python.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Function(Arc<Own>);

struct Own {
    name: String,
    parameters: Map<String, Value>,
    /// `call(logits, target_ids, contrast, gradient)`, where `contrast` is `None` or `(logits | None, target_ids)`: values, and the gradient with
    /// respect to the logits or `None`.
    call: Py<PyAny>,
    differentiable: bool,
    contrast: bool,
    join: Join,
    /// Whether it was seen to score each row by itself.
    checked: AtomicBool,
    raised: Arc<Raised>,
}

#[pymethods]
impl Function {
    #[new]
    fn new(
        name: String,
        parameters: &str,
        call: Py<PyAny>,
        differentiable: bool,
        contrast: bool,
        join: &str,
    ) -> PyResult<Self> {
        let join = from_json(&format!("\"{join}\""))?;
        let (checked, raised) = (AtomicBool::new(false), Arc::default());
        let parameters = from_json(parameters)?;
        Ok(Self(Arc::new(Own { name, parameters, call, differentiable, contrast, join, checked, raised })))
    }
}

impl Function {
    /// The function, for the engine.
    pub(crate) fn step_function(&self) -> PythonFunction {
        PythonFunction(self.0.clone())
    }

    /// What Python raised in it.
    pub(crate) fn raised(&self) -> Arc<Raised> {
        self.0.raised.clone()
    }
}

/// The same as a step function.
#[derive(Clone)]
pub(crate) struct PythonFunction(Arc<Own>);

/// Logits and targets as arrays.
type Arrays<'py> = (Bound<'py, PyArray2<f32>>, Bound<'py, PyArray1<i64>>);

/// Logits and targets as Python reads them.
struct Rows {
    logits: Vec<f32>,
    target_ids: Vec<i64>,
}

impl Rows {
    fn new<B: Backend>(logits: Tensor<B, 2>, target_ids: Tensor<B, 1, Int>) -> Self {
        let logits = logits.into_data().convert::<f32>();
        Self { logits: logits.iter::<f32>().collect(), target_ids: target_ids.into_data().iter::<i64>().collect() }
    }

    /// The first rows.
    fn first(&self, rows: usize, vocab: usize) -> Self {
        Self { logits: self.logits[..rows * vocab].to_vec(), target_ids: self.target_ids[..rows].to_vec() }
    }

    fn arrays<'py>(self, py: Python<'py>, vocab: usize) -> PyResult<Arrays<'py>> {
        let rows = self.target_ids.len();
        let logits = PyArray1::from_vec(py, self.logits).reshape([rows, vocab])?;
        Ok((logits, PyArray1::from_vec(py, self.target_ids)))
    }
}

/// The contrast: its logits, unless they are those of the steps, and its targets.
type Other = Option<(Option<Rows>, Vec<i64>)>;

impl Own {
    /// Values of all rows, and the gradient with respect to the logits if asked for.
    fn call(&self, steps: Rows, other: Other, vocab: usize, gradient: bool) -> PyResult<(Vec<f32>, Option<Vec<f32>>)> {
        Python::attach(|py| {
            let (logits, target_ids) = steps.arrays(py, vocab)?;
            let other = match other {
                None => None,
                Some((None, ids)) => Some((None, PyArray1::from_vec(py, ids))),
                Some((Some(other), _)) => {
                    let (logits, ids) = other.arrays(py, vocab)?;
                    Some((Some(logits), ids))
                }
            };
            let made = self.call.bind(py).call1((logits, target_ids, other, gradient))?;
            let (values, slope): (PyReadonlyArray1<'_, f32>, Option<PyReadonlyArray2<'_, f32>>) = made.extract()?;
            let slope = slope.map(|slope| slope.as_slice().map(<[f32]>::to_vec)).transpose()?;
            Ok((values.as_slice()?.to_vec(), slope))
        })
    }

    fn failed(&self, error: PyErr) -> StepError {
        let message = Python::attach(|py| {
            let name = error.get_type(py).name().map_or_else(|_| "error".to_owned(), |name| name.to_string());
            format!("{name}: {}", error.value(py))
        });
        self.raised.set(error);
        self.wrong(message)
    }

    fn wrong(&self, message: impl Into<String>) -> StepError {
        StepError::Function { function: self.name.clone(), message: message.into() }
    }
}

impl StepScore for PythonFunction {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn parameters(&self) -> Map<String, Value> {
        self.0.parameters.clone()
    }

    fn join(&self) -> Join {
        self.0.join
    }

    fn needs(&self) -> Needs {
        if self.0.contrast { Needs::CONTRAST } else { Needs::default() }
    }

    fn is_differentiable(&self) -> bool {
        self.0.differentiable
    }
}

impl<B: Backend> StepFunction<B> for PythonFunction {
    fn score(&self, steps: &StepBatch<B>) -> Result<Tensor<B, 1>, StepError> {
        let own = &self.0;
        let logits = steps.prediction().logits();
        let (device, dtype, [rows, vocab]) = (logits.device(), logits.dtype(), logits.dims());
        let view = match own.contrast {
            true => Some(steps.require_contrast(&own.name)?),
            false => None,
        };
        let here = Rows::new(logits.clone(), steps.target_ids());
        let other = || -> Other {
            let view = view.as_ref()?;
            let ids = view.target_ids();
            let is_same = core::ptr::eq(view.prediction(), steps.prediction());
            Some(match is_same {
                true => (None, ids.into_data().iter::<i64>().collect()),
                false => (Some(Rows::new(view.prediction().logits().clone(), ids)), Vec::new()),
            })
        };
        // A function of several rows would say something else in other batches.
        let alone = (rows > 1 && !own.checked.load(Ordering::Relaxed)).then(|| here.first(1, vocab));
        let gradient = own.differentiable && B::ad_enabled(&device);
        let (values, slope) = own.call(here, other(), vocab, gradient).map_err(|error| own.failed(error))?;
        if values.len() != rows {
            return Err(own.wrong(format!("it returned {} values for {rows} steps; return one for each", values.len())));
        }
        if let Some(alone) = alone {
            let other = other().map(|(logits, mut ids)| {
                ids.truncate(1);
                (logits.map(|logits| logits.first(1, vocab)), ids)
            });
            let (single, _) = own.call(alone, other, vocab, false).map_err(|error| own.failed(error))?;
            let (single, among) = (single.first().copied().unwrap_or(f32::NAN), values[0]);
            let differs = (single - among).abs() > 1e-4 * (1.0 + among.abs()) || single.is_nan() != among.is_nan();
            if differs {
                let message = format!(
                    "the value of a step is {single} by itself and {among} among others; score each row by itself"
                );
                return Err(own.wrong(message));
            }
            own.checked.store(true, Ordering::Relaxed);
        }
        let values = Tensor::<B, 1>::from_data(TensorData::new(values, [rows]), (&device, dtype));
        let aligned = |scores: Tensor<B, 1>| match &view {
            Some(view) => view.where_aligned(scores),
            None => scores,
        };
        let Some(slope) = slope.filter(|_| gradient) else {
            return Ok(aligned(values));
        };
        if slope.len() != rows * vocab {
            return Err(own.wrong(format!("its gradient does not have the shape of the logits, [{rows}, {vocab}]")));
        }
        // Has the values, and the gradient of a linear function.
        let slope = Tensor::<B, 2>::from_data(TensorData::new(slope, [rows, vocab]), (&device, dtype));
        let linear: Tensor<B, 1> = (logits.clone() * slope).sum_dim(1).squeeze_dim(1);
        let scores = linear.clone() - linear.detach() + values;
        Ok(aligned(scores))
    }
}
