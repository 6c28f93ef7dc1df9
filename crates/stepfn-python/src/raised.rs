//! What a function of Python's raised.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

/// What a function of Python's raised last. What is no `Exception` (`KeyboardInterrupt`, `SystemExit`) ends all work, and stays.
#[derive(Default)]
pub(crate) struct Raised {
    error: Mutex<Option<PyErr>>,
    ends: AtomicBool,
}

impl Raised {
    /// Keeps it.
    pub(crate) fn set(&self, error: PyErr) {
        if self.ends() {
            return;
        }
        let ends = Python::attach(|py| !error.is_instance_of::<PyException>(py));
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.ends.store(ends, Ordering::Release);
    }

    /// Whether it ends all work.
    pub(crate) fn ends(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// Takes it.
    pub(crate) fn take(&self) -> Option<PyErr> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
