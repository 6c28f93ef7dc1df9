#![no_main]

libfuzzer_sys::fuzz_target!(
    // libFuzzer's hook ends the process at every panic, also at those of the tokenizers crate, which are caught and become errors. One that isn't caught
    // ends it all the same.
    init: drop(std::panic::take_hook()),
    |bytes: &[u8]| stepfn_tests::fuzz::gguf(bytes)
);
