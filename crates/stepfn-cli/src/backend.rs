//! The one place that names backends: those that this program was built with.

use burn::tensor::DType;
use burn::tensor::backend::Backend;
use stepfn_core::About;
use stepfn_core::device::{DeviceError, DeviceInfo};

use crate::args::{BackendName, ElementType, ModelArgs};
use crate::failure::Failure;

#[cfg(not(any(feature = "cpu", feature = "wgpu", feature = "cuda")))]
compile_error!("stepfn-cli: choose a backend or several with the features `cpu` (default), `wgpu` and `cuda`");

impl BackendName {
    /// What a model runs on if nobody says.
    pub(crate) const DEFAULT: Self = match (cfg!(feature = "cpu"), cfg!(feature = "wgpu")) {
        (true, _) => Self::Cpu,
        (false, true) => Self::Wgpu,
        (false, false) => Self::Cuda,
    };

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }
}

/// Work that runs on any backend.
pub(crate) trait OnBackend {
    /// Does it.
    fn run<B: Backend>(self, place: Place<B>) -> Result<(), Failure>;
}

/// Where a model runs.
#[derive(Debug)]
pub(crate) struct Place<B: Backend> {
    pub(crate) device: B::Device,
    pub(crate) about: DeviceInfo,
    pub(crate) dtype: DType,
    pub(crate) backend: &'static str,
}

impl<B: Backend> Place<B> {
    fn new(
        args: &ModelArgs,
        find: impl Fn(&str) -> Result<B::Device, DeviceError>,
        describe: impl Fn(&B::Device) -> DeviceInfo,
    ) -> Result<Self, Failure> {
        let device = find(&args.device)?;
        let about = describe(&device);
        let dtype = match args.dtype {
            ElementType::F64 => DType::F64,
            ElementType::F32 => DType::F32,
            ElementType::F16 => DType::F16,
            ElementType::Bf16 => DType::BF16,
        };
        if !about.element_types.contains(&dtype) {
            let what = format!("the device does not compute in {}: {about}", dtype.name());
            return Err(Failure::usage(what, "take another --dtype or --device"));
        }
        Ok(Self { device, about, dtype, backend: args.backend.name() })
    }
}

impl<B: Backend> Place<B> {
    /// Bytes that may be taken for what is computed, if nobody says: a quarter of what the device has.
    pub(crate) fn memory(&self) -> usize {
        /// More makes nothing faster.
        const ENOUGH: u64 = 4 << 30;
        let share = self.about.memory.map_or(1 << 30, |memory| memory / 4);
        usize::try_from(share.min(ENOUGH)).unwrap_or(usize::MAX)
    }
}

/// Does the work on the backend that was asked for.
pub(crate) fn dispatch(args: &ModelArgs, work: impl OnBackend) -> Result<(), Failure> {
    match args.backend {
        #[cfg(feature = "cpu")]
        BackendName::Cpu => {
            work.run::<stepfn_cpu::Backend>(Place::new(args, stepfn_cpu::device, stepfn_cpu::describe)?)
        }
        #[cfg(feature = "wgpu")]
        BackendName::Wgpu => {
            work.run::<stepfn_wgpu::Backend>(Place::new(args, stepfn_wgpu::device, stepfn_wgpu::describe)?)
        }
        #[cfg(feature = "cuda")]
        BackendName::Cuda => {
            work.run::<stepfn_cuda::Backend>(Place::new(args, stepfn_cuda::device, stepfn_cuda::describe)?)
        }
        #[allow(unreachable_patterns, reason = "with all features on there is no other")]
        absent => Err(Failure::usage(
            format!("this program was built without the backend {}", absent.name()),
            format!("build it with `cargo build --release -p stepfn-cli --features {}`", absent.name()),
        )),
    }
}

/// From now on, the program keeps freed memory for reuse.
///
/// # Safety
/// No other thread may be running.
#[allow(unsafe_code, reason = "setting up the allocator is unsafe while other threads run")]
pub(crate) unsafe fn keep_memory() {
    #[cfg(all(feature = "cpu", feature = "allocator"))]
    // SAFETY: the caller guarantees that no other thread is running.
    unsafe {
        stepfn_cpu::allocator::keep_memory();
    }
}

/// Gives memory that was freed back to the operating system.
pub(crate) fn give_memory_back() {
    #[cfg(all(feature = "cpu", feature = "allocator"))]
    stepfn_cpu::allocator::give_memory_back();
}

/// The backends of this program, each with what it says of its first device.
pub(crate) fn all() -> Vec<(&'static str, Result<DeviceInfo, DeviceError>)> {
    vec![
        #[cfg(feature = "cpu")]
        ("cpu", stepfn_cpu::device("0").map(|device| stepfn_cpu::describe(&device))),
        #[cfg(feature = "wgpu")]
        ("wgpu", stepfn_wgpu::device("0").map(|device| stepfn_wgpu::describe(&device))),
        #[cfg(feature = "cuda")]
        ("cuda", stepfn_cuda::device("0").map(|device| stepfn_cuda::describe(&device))),
    ]
}

/// What there is to score with: the same on all backends.
pub(crate) fn step_functions() -> Vec<About> {
    #[cfg(feature = "cpu")]
    type Any = stepfn_cpu::Backend;
    #[cfg(all(feature = "wgpu", not(feature = "cpu")))]
    type Any = stepfn_wgpu::Backend;
    #[cfg(all(feature = "cuda", not(any(feature = "cpu", feature = "wgpu"))))]
    type Any = stepfn_cuda::Backend;
    stepfn_core::Registry::<Any>::default().iter().cloned().collect()
}
