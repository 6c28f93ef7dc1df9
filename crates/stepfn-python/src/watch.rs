//! What Python hears of work, and how it ends it.

use core::cell::Cell;
use core::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use stepfn::Progress;

/// Tells Python how far work is, and lets it end the work.
pub(crate) struct Watch {
    /// `on_progress(texts_done, texts, pieces_done, pieces)`, if there is one.
    on_progress: Option<Py<PyAny>>,
    /// What it raised, or what a signal did.
    raised: Mutex<Option<PyErr>>,
}

thread_local! {
    /// When Python was asked last on this thread.
    static ASKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

impl Watch {
    pub(crate) fn new(on_progress: Option<Py<PyAny>>) -> Arc<Self> {
        Arc::new(Self { on_progress, raised: Mutex::new(None) })
    }

    pub(crate) fn take_raised(&self) -> Option<PyErr> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether Python wants the work to end: asked often, and answered now and then.
    pub(crate) fn ends(&self) -> bool {
        const PAUSE: Duration = Duration::from_millis(50);
        if ASKED.get().is_some_and(|asked| asked.elapsed() < PAUSE) {
            return self.has_raised();
        }
        ASKED.set(Some(Instant::now()));
        Python::attach(|py| py.check_signals()).is_err_and(|error| self.raise(error)) || self.has_raised()
    }

    /// Tells how far the work is.
    pub(crate) fn progress(&self, progress: Progress) -> ControlFlow<()> {
        let Some(on_progress) = &self.on_progress else {
            return if self.ends() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        };
        let Progress { texts_done, texts, pieces_done, pieces, .. } = progress;
        let told = Python::attach(|py| {
            py.check_signals()?;
            on_progress.call1(py, (texts_done, texts, pieces_done, pieces)).map(drop)
        });
        if told.is_err_and(|error| self.raise(error)) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn raise(&self, error: PyErr) -> bool {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        true
    }

    fn has_raised(&self) -> bool {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}
