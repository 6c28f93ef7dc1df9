//! The native part of the Python package `stepfn`: the façade crate with Python's types. What Python users see is in `python/stepfn`.

mod convert;
mod engine;
mod function;
mod method;
mod model;
mod passes;
mod raised;
mod results;
mod task;
mod watch;
mod weights;

use pyo3::prelude::*;

#[cfg(all(feature = "cpu", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: stepfn_cpu::allocator::Allocator = stepfn_cpu::allocator::Allocator;

/// Keeps memory that is freed for some seconds: otherwise the operating system clears it again for each layer of a model.
fn keep_memory() {
    #[cfg(all(feature = "cpu", feature = "allocator"))]
    {
        const TIME: core::time::Duration = core::time::Duration::from_secs(10);
        // SAFETY: the module is being imported, which Python does once, so that nothing has used its allocator on another thread.
        #[expect(unsafe_code, reason = "setting up the allocator is unsafe while other threads use it")]
        unsafe {
            stepfn_cpu::allocator::keep_memory_for(TIME);
        }
    }
}

/// The module.
#[pymodule]
mod _stepfn {
    #[pymodule_export]
    use crate::function::Function;
    #[pymodule_export]
    use crate::method::Method;
    #[pymodule_export]
    use crate::model::{Model, backends, check, families, known, load, load_tensors, models, record_fields, stages};
    #[pymodule_export]
    use crate::passes::Passes;
    #[pymodule_export]
    use crate::results::{
        Answer, Comparison, Evaluation, Reliance, Scored, Similarity, Written, accuracies, read, write_answers,
        write_scored,
    };
    #[pymodule_export]
    use crate::task::Given;

    use super::*;

    /// The version.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        keep_memory();
        module.add("__version__", VERSION)
    }
}
