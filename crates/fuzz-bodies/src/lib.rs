//! What the fuzz targets do with their bytes, without a fuzzer: `fuzz/` calls these functions from libFuzzer, and a test calls
//! them with the committed corpus, so that the targets compile and the corpora stay green in `make test`.
//!
//! A body is a function of its bytes: no clock, no socket, no randomness of its own. It panics when a promise is broken, and
//! otherwise says whether the bytes came past the first checks; a corpus of which nothing does is stale. Promises are those
//! of the crates: no panic, bounded queues, every request ends once, what was decoded encodes to the same again.
//!
//! [`TARGETS`] is the only list of them.

mod at;
mod blockwise;
mod certificates;
mod coap;
mod dtls;
mod feed;
mod golioth;
mod inputs;
mod observe;
pub mod seeds;

/// A target's body: takes any bytes, panics when a promise is broken, and tells whether the bytes came past the first checks.
pub type Body = fn(&[u8]) -> bool;

/// Every target: its name, which is that of its corpus under `fuzz/corpus`, and its body.
pub const TARGETS: [(&str, Body); 19] = [
    ("at_console", at::console),
    ("at_decoders", at::decoders),
    ("at_session", at::session),
    ("coap_blockwise", blockwise::blockwise),
    ("coap_endpoint", coap::endpoint),
    ("coap_observe", observe::observe),
    ("cobs", inputs::cobs),
    ("dtls_certificates", certificates::certificates),
    ("dtls_connected", dtls::connected),
    ("dtls_handshake", dtls::handshake),
    ("golioth_columns", golioth::columns),
    ("golioth_inbound", golioth::inbound),
    ("golioth_outbound", golioth::outbound),
    ("golioth_rows", golioth::rows),
    ("json_mapping", inputs::mapping),
    ("modbus_answers", inputs::modbus_answers),
    ("nmea", inputs::nmea),
    ("senml", inputs::senml),
    ("sensor_input", inputs::sensor_input),
];

/// Runs the body of the target of that name.
///
/// # Panics
/// When a promise is broken, or there is no such target.
pub fn run(target: &str, bytes: &[u8]) -> bool {
    let body = TARGETS.iter().find(|(name, _)| *name == target).map(|(_, body)| body);
    assert!(body.is_some(), "no fuzz target {target}");
    body.is_some_and(|body| body(bytes))
}
