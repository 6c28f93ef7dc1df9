//! stepfn on NVIDIA GPUs.
//!
//! Builds without a CUDA toolkit: the driver and the run-time compiler are loaded when the first device is requested.

use burn::tensor::DType;
use cudarc::driver::CudaContext;
use stepfn_core::device::{DeviceError, DeviceInfo, Devices};

/// This backend, for code that is generic over [`Devices`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuda;

impl Devices for Cuda {
    type Backend = Backend;
    const NAME: &'static str = "cuda";

    fn find(index: &str) -> Result<Device, DeviceError> {
        device(index)
    }

    fn describe(device: &Device) -> DeviceInfo {
        self::describe(device)
    }
}

/// The backend. `F` is the default float type of tensors created without one.
pub type Backend<F = f32> = burn_cuda::Cuda<F, i32>;
/// Its device.
pub type Device = burn_cuda::CudaDevice;

/// The device with the given index, in the CUDA driver's order (fastest first, unless `CUDA_DEVICE_ORDER` says otherwise).
///
/// # Errors
/// If there is no such device (the error lists those that exist), or if the driver or the run-time compiler is missing.
pub fn device(index: &str) -> Result<Device, DeviceError> {
    check_libraries()?;
    let count = CudaContext::device_count().map_err(|error| no_device(format!("the driver returned {error:?}")))?;
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return Err(no_device("the driver found no GPU".to_owned()));
    }
    match index.trim().parse() {
        Ok(index) if index < count => Ok(Device::new(index)),
        _ => {
            let available = (0..count).map(|index| describe(&Device::new(index)).to_string()).collect();
            Err(DeviceError::Unknown { backend: "CUDA", asked: index.to_owned(), available })
        }
    }
}

/// Describes a device.
pub fn describe(device: &Device) -> DeviceInfo {
    let known = check_libraries().ok().and_then(|()| CudaContext::new(device.index).ok());
    match known {
        Some(context) => info(device.index, &context),
        None => DeviceInfo {
            index: device.index.to_string(),
            name: "a CUDA device that does not respond".to_owned(),
            memory: None,
            element_types: vec![DType::F32],
        },
    }
}

fn info(index: usize, context: &CudaContext) -> DeviceInfo {
    let mut element_types = vec![DType::F32, DType::F16];
    // bfloat16 arithmetic needs compute capability 8.0.
    if context.compute_capability().is_ok_and(|(major, _)| major >= 8) {
        element_types.push(DType::BF16);
    }
    DeviceInfo {
        index: index.to_string(),
        name: context.name().unwrap_or_else(|_| "a CUDA device".to_owned()),
        memory: context.total_mem().ok().map(|bytes| bytes as u64),
        element_types,
    }
}

/// Checks that the shared libraries exist, because calling into a missing one aborts the process.
fn check_libraries() -> Result<(), DeviceError> {
    #[allow(unsafe_code, reason = "opening a shared library runs its initializers")]
    // SAFETY: both calls only try to open a shared library, which runs its initializers. These are NVIDIA's own libraries, and the backend
    // loads them anyway; their initializers have no preconditions.
    let (driver, compiler) =
        unsafe { (cudarc::driver::sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
    if !driver {
        return Err(no_device("the driver (libcuda.so, nvcuda.dll) was not found; install NVIDIA's driver".to_owned()));
    }
    if !compiler {
        let reason = "the run-time compiler (libnvrtc.so, nvrtc64.dll) was not found; install the CUDA toolkit";
        return Err(no_device(reason.to_owned()));
    }
    Ok(())
}

fn no_device(reason: String) -> DeviceError {
    DeviceError::NoDevice { backend: "CUDA", reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_an_error_not_an_abort() {
        let error = device("99").unwrap_err();
        match &error {
            DeviceError::Unknown { available, .. } => assert!(!available.is_empty(), "{error}"),
            other => assert!(matches!(other, DeviceError::NoDevice { backend: "CUDA", .. }), "{error}"),
        }
    }
}
