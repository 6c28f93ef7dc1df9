#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stepfn_tests::fuzz::pipeline(bytes));
