#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wsgate_fuzz::config(bytes);
});
