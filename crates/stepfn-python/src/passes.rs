//! What a method that is written in Python sees of a text: requests that the engine's thread answers.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use numpy::{PyArray1, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray2};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use stepfn::extend::Perturbed;

/// A function's values at all steps: for the text itself, and for each variant.
pub(crate) type Values = (Vec<f64>, Vec<Vec<f64>>);
/// The same as arrays.
type ValueArrays<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray2<f64>>);
/// An array for each side that has one: of the source, and of the target.
type Sides<A> = (Option<A>, Option<A>);

/// What Python's thread asks of the engine's.
pub(crate) enum Request {
    /// The attributed function's values for the text itself and for variants of it.
    Values(Vec<Perturbed>, Sender<Result<Values, String>>),
    /// Its derivatives with respect to the embeddings.
    Gradients(Sender<Result<[Option<Rows>; 2], String>>),
    /// The embeddings.
    Embeddings(Sender<[Option<Rows>; 2]>),
    /// Nothing: the method has returned.
    Done,
}

/// Numbers of some rows: `[rows, size]`.
pub(crate) struct Rows {
    pub(crate) values: Vec<f32>,
    pub(crate) size: usize,
}

/// What is known of the text.
pub(crate) struct About {
    pub(crate) text: Perturbed,
    pub(crate) steps: core::ops::Range<usize>,
    /// The steps of each column of scores, as positions in the target.
    pub(crate) columns: Vec<(usize, usize)>,
    /// Whether each token is never to be replaced, because it is a special token: of the source, and of the target.
    pub(crate) kept: [Vec<bool>; 2],
    pub(crate) attributes_target: bool,
}

/// A text and its attributed function, as a method sees them.
#[pyclass(frozen, module = "stepfn._stepfn")]
pub(crate) struct Passes {
    about: About,
    requests: Mutex<Sender<Request>>,
}

impl Passes {
    /// The passes, the other end of their requests, and a way to end these.
    pub(crate) fn new(about: About) -> (Self, Receiver<Request>, Sender<Request>) {
        let (requests, served) = channel();
        (Self { about, requests: Mutex::new(requests.clone()) }, served, requests)
    }

    /// Asks the engine's thread, and waits without Python's lock.
    fn ask<T: Send>(&self, py: Python<'_>, request: impl FnOnce(Sender<T>) -> Request + Send) -> PyResult<T> {
        let ended = || PyRuntimeError::new_err("the text is done: a method can't use its passes later");
        py.detach(|| {
            let (answer, answered) = channel();
            self.requests.lock().ok()?.send(request(answer)).ok()?;
            answered.recv().ok()
        })
        .ok_or_else(ended)
    }
}

#[pymethods]
impl Passes {
    /// Tokens that the encoder reads; `None` for a causal model.
    #[getter]
    fn source_ids<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<i64>>> {
        let ids = self.about.text.source.as_ref()?;
        Some(PyArray1::from_vec(py, ids.iter().map(|&id| i64::from(id)).collect()))
    }

    /// Tokens of the target, prompt included.
    #[getter]
    fn target_ids<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_vec(py, self.about.text.target.iter().map(|&id| i64::from(id)).collect())
    }

    /// First and last of the target's tokens that are asked about.
    #[getter]
    fn steps(&self) -> (usize, usize) {
        (self.about.steps.start, self.about.steps.end)
    }

    /// For each column of scores, the first of its steps and what comes after the last.
    #[getter]
    fn columns(&self) -> Vec<(usize, usize)> {
        self.about.columns.clone()
    }

    /// Whether target tokens get scores; if not, they must stay as they are.
    #[getter]
    fn attributes_target(&self) -> bool {
        self.about.attributes_target
    }

    /// Which tokens of a side are special, and never to be replaced.
    fn kept<'py>(&self, py: Python<'py>, source: bool) -> Bound<'py, PyArray1<bool>> {
        PyArray1::from_vec(py, self.about.kept[usize::from(!source)].clone())
    }

    /// The function's values for the text, `[columns]`, and for variants of it, `[variants, columns]`.
    fn values<'py>(
        &self,
        py: Python<'py>,
        source: Option<PyReadonlyArray2<'py, i64>>,
        target: Option<PyReadonlyArray2<'py, i64>>,
    ) -> PyResult<ValueArrays<'py>> {
        let ids = |rows: &Option<PyReadonlyArray2<'py, i64>>| -> PyResult<Option<Vec<Vec<u32>>>> {
            let Some(rows) = rows else { return Ok(None) };
            let id = |&id: &i64| u32::try_from(id).map_err(|_| PyRuntimeError::new_err(format!("{id} is no token")));
            let row = |row: numpy::ndarray::ArrayView1<'_, i64>| row.iter().map(id).collect::<PyResult<Vec<u32>>>();
            Ok(Some(rows.as_array().rows().into_iter().map(row).collect::<PyResult<_>>()?))
        };
        let (source, target) = (ids(&source)?, ids(&target)?);
        let own = &self.about.text;
        let count = source.as_ref().map_or(0, Vec::len).max(target.as_ref().map_or(0, Vec::len));
        let fits = |rows: &Option<Vec<Vec<u32>>>, tokens: usize| {
            rows.as_ref().is_none_or(|rows| rows.len() == count && rows.iter().all(|row| row.len() == tokens))
        };
        if (source.is_some() && own.source.is_none())
            || !fits(&source, own.source.as_ref().map_or(0, Vec::len))
            || !fits(&target, own.target.len())
        {
            return Err(PyRuntimeError::new_err(
                "variants need as many tokens as the text, and both sides as many variants",
            ));
        }
        let variant = |number: usize| Perturbed {
            source: source.as_ref().map_or_else(|| own.source.clone(), |rows| Some(rows[number].clone())),
            target: target.as_ref().map_or_else(|| own.target.clone(), |rows| rows[number].clone()),
            ..Perturbed::default()
        };
        let variants: Vec<Perturbed> = (0..count).map(variant).collect();
        let (clean, values) =
            self.ask(py, |answer| Request::Values(variants, answer))?.map_err(PyRuntimeError::new_err)?;
        let columns = clean.len();
        let values = PyArray1::from_vec(py, values.concat()).reshape([count, columns])?;
        Ok((PyArray1::from_vec(py, clean), values))
    }

    /// The function's derivatives with respect to the embeddings of each side, `[columns, tokens, size]`; `None` where a side has none.
    fn gradients<'py>(&self, py: Python<'py>) -> PyResult<Sides<Bound<'py, PyArray3<f32>>>> {
        let [source, target] = self.ask(py, Request::Gradients)?.map_err(PyRuntimeError::new_err)?;
        let columns = self.about.columns.len();
        let array = |rows: Option<Rows>| -> PyResult<Option<_>> {
            let Some(Rows { values, size }) = rows else { return Ok(None) };
            let tokens = values.len() / size.max(1) / columns.max(1);
            Ok(Some(PyArray1::from_vec(py, values).reshape([columns, tokens, size])?))
        };
        Ok((array(source)?, array(target)?))
    }

    /// The embeddings of each side, `[tokens, size]`.
    fn embeddings<'py>(&self, py: Python<'py>) -> PyResult<Sides<Bound<'py, PyArray2<f32>>>> {
        let [source, target] = self.ask(py, Request::Embeddings)?;
        let array = |rows: Option<Rows>| -> PyResult<Option<_>> {
            let Some(Rows { values, size }) = rows else { return Ok(None) };
            let tokens = values.len() / size.max(1);
            Ok(Some(PyArray1::from_vec(py, values).reshape([tokens, size])?))
        };
        Ok((array(source)?, array(target)?))
    }
}
