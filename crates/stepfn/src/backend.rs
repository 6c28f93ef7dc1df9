//! Backends: what models run on.
//!
//! Which backends a program has is decided by this crate's features. The list below is the only place that names them all.

use stepfn_core::device::DeviceOf;
pub use stepfn_core::device::{DeviceError, DeviceInfo, Devices, type_name};

pub use burn::tensor::DType;

use crate::{Error, ErrorKind, Result};

#[cfg(not(any(feature = "cpu", feature = "wgpu", feature = "cuda")))]
compile_error!("stepfn: choose one or more backends with the features `cpu` (default), `wgpu` and `cuda`");

/// What models run on by default.
#[cfg(feature = "cpu")]
pub type DefaultDevices = stepfn_cpu::Cpu;
/// What models run on by default.
#[cfg(all(feature = "wgpu", not(feature = "cpu")))]
pub type DefaultDevices = stepfn_wgpu::Wgpu;
/// What models run on by default.
#[cfg(all(feature = "cuda", not(any(feature = "cpu", feature = "wgpu"))))]
pub type DefaultDevices = stepfn_cuda::Cuda;

/// burn's backend of [`DefaultDevices`].
pub type DefaultBackend = <DefaultDevices as Devices>::Backend;

/// The CPU.
#[cfg(feature = "cpu")]
pub use stepfn_cpu::Cpu;
/// NVIDIA GPUs.
#[cfg(feature = "cuda")]
pub use stepfn_cuda::Cuda;
/// GPUs through Vulkan, Metal or DirectX 12.
#[cfg(feature = "wgpu")]
pub use stepfn_wgpu::Wgpu;

/// Work that runs on any backend.
pub trait OnBackend {
    /// What comes of it.
    type Output;

    /// Does the work.
    fn run<D: Devices>(self) -> Self::Output;
}

macro_rules! backends {
    ($($feature:literal => $devices:ty),* $(,)?) => {
        /// The names of all backends.
        pub const KNOWN: &[&str] = &[$($feature),*];

        /// The names of the backends that this program was built with.
        pub fn names() -> Vec<&'static str> {
            vec![$(#[cfg(feature = $feature)] <$devices>::NAME),*]
        }

        /// Does work on the backend of that name.
        ///
        /// # Errors
        /// [`ErrorKind::Backend`] if the program was built without it, or there is none.
        pub fn run_on<W: OnBackend>(name: &str, work: W) -> Result<W::Output> {
            $(
                #[cfg(feature = $feature)]
                if name == <$devices>::NAME {
                    return Ok(work.run::<$devices>());
                }
            )*
            drop(work);
            let hint = match KNOWN.contains(&name) {
                true => format!("build it with the feature `{name}`"),
                false => format!("choose one of {}", names().join(", ")),
            };
            Err(Error::new(ErrorKind::Backend, format!("this program has no backend `{name}`"), hint))
        }

        /// The backends of this program, each with its first device.
        pub fn all() -> Vec<(&'static str, core::result::Result<DeviceInfo, DeviceError>)> {
            fn first<D: Devices>() -> core::result::Result<DeviceInfo, DeviceError> {
                D::find("0").map(|device| D::describe(&device))
            }
            vec![$(#[cfg(feature = $feature)] (<$devices>::NAME, first::<$devices>())),*]
        }
    };
}

backends!("cpu" => stepfn_cpu::Cpu, "wgpu" => stepfn_wgpu::Wgpu, "cuda" => stepfn_cuda::Cuda);

/// A device and the type of the numbers that a model computes with.
#[derive(Debug)]
pub struct Place<D: Devices> {
    /// The device.
    pub device: DeviceOf<D>,
    /// What it can do.
    pub info: DeviceInfo,
    /// The type of the numbers.
    pub dtype: DType,
}

impl<D: Devices> Place<D> {
    /// The device of that index.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if there is none, or it can't compute in `dtype`.
    pub fn new(index: &str, dtype: DType) -> Result<Self> {
        let device = D::find(index)?;
        let info = D::describe(&device);
        if !info.element_types.contains(&dtype) {
            let what = format!("the device does not compute in {}: {info}", type_name(dtype));
            return Err(Error::new(ErrorKind::Device, what, "use another type of numbers, or another device"));
        }
        Ok(Self { device, info, dtype })
    }

    /// Bytes to use for what is computed, by default: a quarter of the device's memory, and no more than 4 GiB.
    pub fn memory(&self) -> usize {
        default_memory(&self.info)
    }
}

/// Bytes to use for what is computed, by default: a quarter of the device's memory, and no more than 4 GiB.
pub(crate) fn default_memory(info: &DeviceInfo) -> usize {
    /// More makes nothing faster.
    const ENOUGH: u64 = 4 << 30;
    let share = info.memory.map_or(1 << 30, |memory| memory / 4);
    usize::try_from(share.min(ENOUGH)).unwrap_or(usize::MAX)
}
