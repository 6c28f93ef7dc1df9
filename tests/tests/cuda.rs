//! Step functions and dropout masks on CUDA.

#![cfg(feature = "cuda")]
#![allow(clippy::print_stdout, reason = "the log should show which device was tested")]

use stepfn_tests::suite;

/// Runs the suite on the device in `STEPFN_CUDA_DEVICE`, or on the first one.
#[test]
fn step_functions_on_cuda() {
    let index = std::env::var("STEPFN_CUDA_DEVICE").unwrap_or_else(|_| "0".to_owned());
    match stepfn_cuda::device(&index) {
        Ok(device) => {
            println!("on {}", stepfn_cuda::describe(&device));
            suite::run::<stepfn_cuda::Backend>(&device);
        }
        Err(error) => suite::skip("cuda", &error),
    }
}
