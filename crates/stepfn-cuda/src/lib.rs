//! stepfn on NVIDIA GPUs.
//!
//! Builds without a CUDA toolkit: driver and run-time compiler are looked for when the first device is asked for.

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

/// The backend; its default float type, where tensors are made without saying one, is `F`.
pub type Backend<F = f32> = burn_cuda::Cuda<F, i32>;
/// Its device.
pub type Device = burn_cuda::CudaDevice;

/// The device of that number, as the CUDA driver counts (fastest first, unless `CUDA_DEVICE_ORDER` says otherwise).
///
/// # Errors
/// If there is none, with a list of what there is, or if driver or run-time compiler are missing.
pub fn device(index: &str) -> Result<Device, DeviceError> {
    check_libraries()?;
    let count = CudaContext::device_count().map_err(|error| no_device(format!("the driver answered {error:?}")))?;
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return Err(no_device("the driver finds no GPU".to_owned()));
    }
    match index.trim().parse() {
        Ok(index) if index < count => Ok(Device::new(index)),
        _ => {
            let available = (0..count).map(|index| describe(&Device::new(index)).to_string()).collect();
            Err(DeviceError::Unknown { backend: "CUDA", asked: index.to_owned(), available })
        }
    }
}

/// What a device can do.
pub fn describe(device: &Device) -> DeviceInfo {
    let known = check_libraries().ok().and_then(|()| CudaContext::new(device.index).ok());
    match known {
        Some(context) => info(device.index, &context),
        None => DeviceInfo {
            index: device.index.to_string(),
            name: "a CUDA device that does not answer".to_owned(),
            memory: None,
            element_types: vec![DType::F32],
        },
    }
}

fn info(index: usize, context: &CudaContext) -> DeviceInfo {
    let mut element_types = vec![DType::F32, DType::F16];
    // bfloat16 arithmetic came with compute capability 8.0.
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

/// Calling into a library that is not there aborts; so ask first.
fn check_libraries() -> Result<(), DeviceError> {
    #[allow(unsafe_code, reason = "opening a shared library runs its initializers; these are NVIDIA's own")]
    let (driver, compiler) =
        unsafe { (cudarc::driver::sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
    if !driver {
        return Err(no_device("no driver was found (libcuda.so, nvcuda.dll): install NVIDIA's driver".to_owned()));
    }
    if !compiler {
        let reason = "the run-time compiler was not found (libnvrtc.so, nvrtc64.dll): install the CUDA toolkit";
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
    fn a_device_that_is_not_there_is_an_error_and_not_an_abort() {
        let error = device("99").unwrap_err();
        match &error {
            DeviceError::Unknown { available, .. } => assert!(!available.is_empty(), "{error}"),
            other => assert!(matches!(other, DeviceError::NoDevice { backend: "CUDA", .. }), "{error}"),
        }
    }
}
