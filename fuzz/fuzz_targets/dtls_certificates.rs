#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fieldgate_fuzz_bodies::run("dtls_certificates", data);
});
