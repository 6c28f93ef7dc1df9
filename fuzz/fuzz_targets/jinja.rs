#![no_main]

libfuzzer_sys::fuzz_target!(
    init: stepfn_tests::fuzz::let_caught_panics_pass(),
    |bytes: &[u8]| stepfn_tests::fuzz::jinja(bytes)
);
