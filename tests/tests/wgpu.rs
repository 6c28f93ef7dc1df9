//! Step functions and dropout masks on wgpu; Mesa's software Vulkan is enough.

#![cfg(feature = "wgpu")]
#![allow(clippy::print_stdout, reason = "the log should show which device was tested")]

use stepfn_tests::suite;

/// Runs the suite on the device in `STEPFN_WGPU_DEVICE`, or on the best one.
#[test]
fn step_functions_on_wgpu() {
    let index = std::env::var("STEPFN_WGPU_DEVICE").unwrap_or_else(|_| "0".to_owned());
    match stepfn_wgpu::device(&index) {
        Ok(device) => {
            println!("on {}", stepfn_wgpu::describe(&device));
            suite::run::<stepfn_wgpu::Backend>(&device);
        }
        Err(error) => suite::skip("wgpu", &error),
    }
}
