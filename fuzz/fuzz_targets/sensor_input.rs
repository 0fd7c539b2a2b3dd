#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fieldgate_fuzz_bodies::run("sensor_input", data);
});
