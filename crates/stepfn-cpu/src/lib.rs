//! stepfn on the CPU.
//!
//! [`Backend`] is burn-flex, unless only the feature `ndarray` is on; with both, see [`flex`] and [`ndarray`]. burn-flex with stepfn's
//! fused kernels is the faster one; burn-ndarray is an independent implementation for comparison.

#[cfg(not(any(feature = "flex", feature = "ndarray")))]
compile_error!("stepfn-cpu: choose a backend with the feature `flex` (default) or `ndarray`");

#[cfg(feature = "allocator")]
pub mod allocator;

use stepfn_core::device::{DeviceError, DeviceInfo, Devices};
use stepfn_kernels::weight::Weight;

#[cfg(feature = "flex")]
pub use flex::{Backend, Device};
#[cfg(all(feature = "ndarray", not(feature = "flex")))]
pub use ndarray::{Backend, Device};

/// burn-flex.
#[cfg(feature = "flex")]
pub mod flex {
    /// The backend. Element types are chosen when tensors are created.
    pub type Backend = burn_flex::Flex;
    /// Its device.
    pub type Device = burn_flex::FlexDevice;
}

/// burn-ndarray.
#[cfg(feature = "ndarray")]
pub mod ndarray {
    /// The backend, in single precision.
    pub type Backend = burn_ndarray::NdArray<f32>;
    /// Its device.
    pub type Device = burn_ndarray::NdArrayDevice;
}

/// This backend, for code that is generic over [`Devices`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu;

impl Devices for Cpu {
    type Backend = Backend;
    const NAME: &'static str = "cpu";

    fn find(index: &str) -> Result<Device, DeviceError> {
        device(index)
    }

    fn describe(device: &Device) -> DeviceInfo {
        self::describe(device)
    }
}

/// The CPU. It is the only device and has the index `0`.
///
/// # Errors
/// If `index` is not `0`.
pub fn device(index: &str) -> Result<Device, DeviceError> {
    let device = Device::default();
    match index.trim() {
        "0" | "" => Ok(device),
        _ => Err(DeviceError::Unknown {
            backend: "CPU",
            asked: index.to_owned(),
            available: vec![describe(&device).to_string()],
        }),
    }
}

/// Describes the device.
pub fn describe(device: &Device) -> DeviceInfo {
    use burn::tensor::{DType, backend::Backend as _};
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let element_types = [DType::F32, DType::F64, DType::F16, DType::BF16];
    let supported = element_types.into_iter().filter(|&dtype| Backend::supports_dtype(device, dtype));
    let int8 = Weight::<Backend>::has_int8().then_some(DType::I8);
    DeviceInfo {
        index: "0".to_owned(),
        name: format!("CPU with {threads} threads ({})", Backend::name(device)),
        memory: memory(),
        element_types: supported.chain(int8).collect(),
    }
}

/// Memory in bytes, if the operating system has a file for it.
fn memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_device_0() {
        let info = describe(&device("0").unwrap());
        assert!(info.to_string().starts_with("0: CPU with "), "{info}");
        assert!(info.element_types.contains(&burn::tensor::DType::F32));
    }

    #[test]
    fn an_unknown_device_is_an_error_that_lists_devices() {
        let error = device("7").unwrap_err().to_string();
        assert!(error.contains("`7`") && error.contains("0: CPU with"), "{error}");
    }
}
