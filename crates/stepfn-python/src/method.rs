//! Attribution methods that are written in Python.

use core::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use burn::tensor::{Tensor, backend::Backend};
use numpy::PyReadonlyArray2;
use pyo3::prelude::*;
use stepfn::extend::gradient::gradients;
use stepfn::extend::{AttributionError, AttributionMethod, InputScores, Perturbed, Rule, ScoreTable, Side};
use stepfn::{Map, Value};

use crate::convert::from_json;
use crate::passes::{About, Passes, Request, Rows};
use crate::raised::Raised;

/// An attribution method that is written in Python.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Method(Arc<Own>);

struct Own {
    name: String,
    parameters: Map<String, Value>,
    /// `call(passes)`: scores of source tokens and of target tokens, `[tokens, steps]` or `None`.
    call: Py<PyAny>,
    raised: Arc<Raised>,
}

#[pymethods]
impl Method {
    #[new]
    fn new(name: String, parameters: &str, call: Py<PyAny>) -> PyResult<Self> {
        Ok(Self(Arc::new(Own { name, parameters: from_json(parameters)?, call, raised: Arc::default() })))
    }
}

impl Method {
    /// The method, for the engine.
    pub(crate) fn method(&self) -> PythonMethod {
        PythonMethod(self.0.clone())
    }

    /// What Python raised in it.
    pub(crate) fn raised(&self) -> Arc<Raised> {
        self.0.raised.clone()
    }
}

/// The same as an attribution method.
pub(crate) struct PythonMethod(Arc<Own>);

/// Scores of one side, row by row, and their number of steps.
type SideScores = Option<(Vec<f32>, usize)>;

impl Own {
    /// Python's thread: calls the method.
    fn call(&self, passes: Passes) -> PyResult<[SideScores; 2]> {
        Python::attach(|py| {
            let made = self.call.bind(py).call1((passes,))?;
            let sides: [Option<PyReadonlyArray2<'_, f32>>; 2] = made.extract()?;
            let side = |scores: PyReadonlyArray2<'_, f32>| {
                let array = scores.as_array();
                (array.iter().copied().collect(), array.ncols())
            };
            Ok(sides.map(|scores| scores.map(side)))
        })
    }

    fn failed(&self, error: PyErr) -> AttributionError {
        let message = Python::attach(|py| {
            let name = error.get_type(py).name().map_or_else(|_| "error".to_owned(), |name| name.to_string());
            format!("method `{}`: {name}: {}", self.name, error.value(py))
        });
        self.raised.set(error);
        AttributionError::Unsuited(message)
    }
}

impl<B: Backend> AttributionMethod<B> for PythonMethod {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn parameters(&self) -> Map<String, Value> {
        self.0.parameters.clone()
    }

    fn attribute(&self, passes: &stepfn::extend::Passes<'_, B>) -> Result<InputScores, AttributionError> {
        let question = passes.question();
        let text = question.text();
        let kept = |ids: &[u32]| ids.iter().map(|&id| question.is_kept(id)).collect::<Vec<bool>>();
        let about = About {
            text: Perturbed { source: text.source.clone(), target: text.target.clone(), ..Perturbed::default() },
            steps: question.steps().positions(),
            columns: question.spans(question.steps()).into_iter().map(|span| (span.start(), span.last() + 1)).collect(),
            kept: [kept(text.source.as_deref().unwrap_or_default()), kept(&text.target)],
            attributes_target: question.attributes_target(),
        };
        let (asked, requests, end) = Passes::new(about);
        // The first error of the engine: Python may catch it, but the scores are not to be trusted then.
        let failure = RefCell::new(None);
        let made = thread::scope(|scope| {
            let called = scope.spawn(move || {
                // Python may keep the passes, so that their end doesn't end the requests.
                let _end = End(end);
                self.0.call(asked)
            });
            for request in requests {
                let note = |error: AttributionError| {
                    let message = error.to_string();
                    failure.borrow_mut().get_or_insert(error);
                    message
                };
                // Nobody waits for an answer that can't be sent.
                match request {
                    Request::Values(variants, answer) => {
                        let values = passes.perturb().and_then(|perturbation| perturbation.values(&variants));
                        drop(answer.send(values.map_err(note)));
                    }
                    Request::Gradients(answer) => {
                        let steps = question.steps();
                        let rows = gradients(passes, &passes.input(steps), Rule::Gradient, steps);
                        let sides = rows.map(|rows| [rows.source.map(numbers), rows.target.map(numbers)]);
                        drop(answer.send(sides.map_err(note)));
                    }
                    Request::Embeddings(answer) => {
                        let input = passes.input(question.steps());
                        drop(
                            answer.send([input.source().cloned().map(numbers), Some(numbers(input.target().clone()))]),
                        );
                    }
                    Request::Done => break,
                }
            }
            called.join()
        });
        let made = made.map_err(|_| AttributionError::Unsuited(format!("method `{}` panicked", self.0.name)))?;
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let sides = made.map_err(|error| self.0.failed(error))?;
        let mut table = ScoreTable::zeros(question);
        let steps = question.steps();
        let read = if question.attributes_target() { steps.width() } else { 0 };
        for (side, scores, tokens) in
            [(Side::Source, &sides[0], question.source_len()), (Side::Target, &sides[1], read)]
        {
            let Some((values, columns)) = scores else {
                if tokens > 0 {
                    let name = if side == Side::Source { "source" } else { "target" };
                    return Err(AttributionError::Unsuited(format!(
                        "method `{}`: no scores of the {name}",
                        self.0.name
                    )));
                }
                continue;
            };
            let rows = values.len() / (*columns).max(1);
            let expected = question.columns(steps);
            if *columns != expected || rows < tokens {
                let what = format!(
                    "method `{}`: its scores have shape [{rows}, {columns}], and there are {tokens} tokens and {expected} columns: one for each of `passes.columns`",
                    self.0.name
                );
                return Err(AttributionError::Unsuited(what));
            }
            for token in 0..tokens {
                for column in 0..*columns {
                    // What was computed and is no number has failed: NaN is for what a step can't see.
                    let score = f64::from(values[token * columns + column]);
                    table.set(side, token, column, if score.is_nan() { f64::INFINITY } else { score });
                }
            }
        }
        Ok(table.finish())
    }
}

/// Ends the requests, also after a panic.
struct End(Sender<Request>);

impl Drop for End {
    fn drop(&mut self) {
        // Without a receiver they have ended.
        drop(self.0.send(Request::Done));
    }
}

fn numbers<B: Backend>(rows: Tensor<B, 2>) -> Rows {
    let [_, size] = rows.dims();
    Rows { values: rows.into_data().convert::<f32>().iter::<f32>().collect(), size }
}
