//! Tensors that Python owns.

use std::sync::Arc;

use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use stepfn::MemoryTensor;
use stepfn::backend::DType;

/// The bytes of an array, for as long as this lives.
struct ArrayBytes {
    /// Keeps the array alive.
    _array: Py<PyAny>,
    start: *const u8,
    len: usize,
}

// SAFETY: the bytes are only read, and the array that owns them may be dropped on any thread: `Py` defers that until Python's lock is held.
#[expect(unsafe_code, reason = "a pointer to memory that Python owns")]
unsafe impl Send for ArrayBytes {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a pointer to memory that Python owns")]
unsafe impl Sync for ArrayBytes {}

impl AsRef<[u8]> for ArrayBytes {
    #[expect(unsafe_code, reason = "a pointer to memory that Python owns")]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `start` and `len` are those of a contiguous array, which `_array` keeps alive and in place: an array whose memory is in use
        // elsewhere can't be resized. If Python writes to it while the model is loaded, the model has some of both values, as documented.
        unsafe { core::slice::from_raw_parts(self.start, self.len) }
    }
}

/// A tensor of a model in memory: name, type, shape and bytes.
pub(crate) type Given<'py> = (String, String, Vec<usize>, PyReadonlyArray1<'py, u8>);

/// The tensor, for a checkpoint.
pub(crate) fn tensor((name, dtype, shape, array): Given<'_>) -> PyResult<MemoryTensor> {
    let dtype = element_type(&dtype).ok_or_else(|| PyValueError::new_err(format!("`{name}` is of type {dtype}")))?;
    let bytes = array.as_slice()?;
    let (start, len) = (bytes.as_ptr(), bytes.len());
    let bytes = Arc::new(ArrayBytes { start, len, _array: array.as_any().clone().unbind() });
    Ok(MemoryTensor { name, dtype, shape, bytes })
}

/// The type of that name.
pub(crate) fn element_type(name: &str) -> Option<DType> {
    match name {
        "f64" => Some(DType::F64),
        "f32" => Some(DType::F32),
        "f16" => Some(DType::F16),
        "bf16" => Some(DType::BF16),
        "int8" => Some(DType::I8),
        _ => None,
    }
}
