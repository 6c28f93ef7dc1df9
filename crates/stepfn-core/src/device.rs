//! What each backend crate reports about its devices.

use core::fmt;

use burn::tensor::DType;
use burn::tensor::backend::{Backend, BackendTypes};

/// A backend and its devices: what a backend crate implements, on a type of its own, and all that the rest of stepfn knows of it.
pub trait Devices: 'static {
    /// The backend.
    type Backend: Backend;
    /// The name that people choose it by, and that its feature has: `cpu`, for example.
    const NAME: &'static str;

    /// The device of that index.
    ///
    /// # Errors
    /// If there is none; the error lists those that there are.
    fn find(index: &str) -> Result<DeviceOf<Self>, DeviceError>;

    /// What a device can do.
    fn describe(device: &DeviceOf<Self>) -> DeviceInfo;
}

/// The device type of a backend.
pub type DeviceOf<D> = <<D as Devices>::Backend as BackendTypes>::Device;

/// A device, described for people.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceInfo {
    /// The index that the backend crate's `device(…)` accepts.
    pub index: String,
    /// Its name, and its driver.
    pub name: String,
    /// Its memory in bytes, if known.
    pub memory: Option<u64>,
    /// The types that models can run in on it: floating-point types, and `I8` for weights of 8 bits with everything else in single precision.
    pub element_types: Vec<DType>,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.index, self.name)?;
        if let Some(memory) = self.memory {
            write!(f, ", {:.1} GiB", memory as f64 / f64::from(1 << 30))?;
        }
        let element_types: Vec<_> = self.element_types.iter().map(|&dtype| type_name(dtype)).collect();
        write!(f, " ({})", element_types.join(", "))
    }
}

/// What people call a type that models run in: `f32`, `int8`, …
pub fn type_name(dtype: DType) -> &'static str {
    match dtype {
        DType::I8 => "int8",
        dtype => dtype.name(),
    }
}

/// Why a device is not available.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no device with that index.
    #[error("no {backend} device `{asked}`; available: {}", list(available))]
    Unknown {
        /// The backend.
        backend: &'static str,
        /// The requested index.
        asked: String,
        /// The devices that exist.
        available: Vec<String>,
    },
    /// The backend has no device at all.
    #[error("no {backend} device: {reason}")]
    NoDevice {
        /// The backend.
        backend: &'static str,
        /// What is missing, and what to do.
        reason: String,
    },
}

fn list(available: &[String]) -> String {
    if available.is_empty() { "none".to_owned() } else { available.join("; ") }
}
