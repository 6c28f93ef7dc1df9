//! Errors and JSON, from Rust to Python and back.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use serde::de::DeserializeOwned;
use stepfn::{Error, ErrorKind};

/// An error as an exception of the package.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    match made(py, error) {
        Ok(error) | Err(error) => error,
    }
}

fn made(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let class = py.import("stepfn._errors")?.getattr("of_kind")?.call1((kind(error.kind()),))?.cast_into::<PyType>()?;
    Ok(PyErr::from_value(class.call1((error.what(), error.hint()))?))
}

/// Which exception an error becomes; see `_errors.py`.
fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Model | ErrorKind::Family => "model",
        ErrorKind::File => "file",
        ErrorKind::Device => "device",
        ErrorKind::Numbers => "numbers",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Saved => "saved",
        _ => "value",
    }
}

/// A result whose error is raised.
pub(crate) fn raised<T>(py: Python<'_>, result: stepfn::Result<T>) -> PyResult<T> {
    result.map_err(|error| exception(py, &error))
}

/// What Python's side of the package has written as JSON.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> PyResult<T> {
    serde_json::from_str(text).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Anything as JSON.
pub(crate) fn to_json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyValueError::new_err(error.to_string()))
}
