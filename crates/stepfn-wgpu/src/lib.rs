//! stepfn on any GPU that [wgpu] supports: Vulkan, Metal, DirectX 12, and software Vulkan for tests.
//!
//! Devices are numbered by expected speed: discrete GPUs first, then integrated, virtual and software ones.
//!
//! [wgpu]: https://wgpu.rs

use burn::tensor::{DType, read_sync};
use burn_wgpu::graphics::{AutoGraphicsApi, GraphicsApi};
use stepfn_core::device::{DeviceError, DeviceInfo, Devices};

/// The backend. `F` is the default float type of tensors created without one.
pub type Backend<F = f32> = burn_wgpu::Wgpu<F, i32>;
/// Its device.
pub type Device = burn_wgpu::WgpuDevice;

/// This backend, for code that is generic over [`Devices`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wgpu;

impl Devices for Wgpu {
    type Backend = Backend;
    const NAME: &'static str = "wgpu";

    fn find(index: &str) -> Result<Device, DeviceError> {
        device(index)
    }

    fn describe(device: &Device) -> DeviceInfo {
        self::describe(device)
    }
}

/// The device with the given index.
///
/// # Errors
/// If there is no such device; the error lists those that exist.
pub fn device(index: &str) -> Result<Device, DeviceError> {
    let adapters = adapters();
    if adapters.is_empty() {
        let reason = "no graphics driver was found (on Linux, install a Vulkan driver; Debian's mesa-vulkan-drivers includes \
                      a software one)";
        return Err(DeviceError::NoDevice { backend: "wgpu", reason: reason.to_owned() });
    }
    let chosen = index.trim().parse().ok().and_then(|index: usize| adapters.get(index));
    match chosen {
        Some((device, _)) => Ok(device.clone()),
        None => {
            let available = adapters.into_iter().map(|(_, info)| info.to_string()).collect();
            Err(DeviceError::Unknown { backend: "wgpu", asked: index.to_owned(), available })
        }
    }
}

/// Describes a device.
pub fn describe(device: &Device) -> DeviceInfo {
    let known = adapters().into_iter().find_map(|(adapter, info)| (adapter == *device).then_some(info));
    known.unwrap_or_else(|| DeviceInfo {
        index: format!("{device:?}"),
        name: "a device that was set up elsewhere in this process".to_owned(),
        memory: None,
        element_types: vec![DType::F32],
    })
}

/// All devices that models can run on, best first.
fn adapters() -> Vec<(Device, DeviceInfo)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: AutoGraphicsApi::backend().into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = read_sync(instance.enumerate_adapters(AutoGraphicsApi::backend().into()));
    let preference = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Cpu => 3,
        wgpu::DeviceType::Other => 4,
    };
    adapters.sort_by_key(preference);
    let mut devices = Vec::new();
    for adapter in &adapters {
        let info = adapter.get_info();
        // burn counts the adapters of each kind separately, and supports only one software adapter.
        let of_this_kind = adapters[..].iter().filter(|other| other.get_info().device_type == info.device_type);
        let before = of_this_kind.take_while(|other| !std::ptr::eq(*other, adapter)).count();
        let device = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => Device::DiscreteGpu(before),
            wgpu::DeviceType::IntegratedGpu => Device::IntegratedGpu(before),
            wgpu::DeviceType::VirtualGpu => Device::VirtualGpu(before),
            wgpu::DeviceType::Cpu if before == 0 => Device::Cpu,
            wgpu::DeviceType::Other if devices.is_empty() => Device::DefaultDevice,
            wgpu::DeviceType::Cpu | wgpu::DeviceType::Other => continue,
        };
        let mut element_types = vec![DType::F32];
        if adapter.features().contains(wgpu::Features::SHADER_F16) {
            element_types.push(DType::F16);
        }
        let index = devices.len().to_string();
        let name = format!("{} ({:?}, {})", info.name, info.backend, info.driver_info);
        devices.push((device, DeviceInfo { index, name, memory: None, element_types }));
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_device_is_an_error_that_lists_devices() {
        let error = device("99").unwrap_err();
        match &error {
            DeviceError::Unknown { available, .. } => assert!(available[0].starts_with("0: "), "{error}"),
            other => assert!(other.to_string().contains("mesa-vulkan-drivers"), "{error}"),
        }
        assert!(device("gpu").is_err());
    }

    #[test]
    fn the_first_device_describes_itself() {
        if let Ok(device) = device("0") {
            let info = describe(&device);
            assert_eq!(info.index, "0");
            assert!(info.element_types.contains(&DType::F32));
        }
    }
}
