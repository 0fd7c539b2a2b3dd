//! Log lines, on the path that a new project's default pipeline takes into its log view.

use fieldgate_coap as coap;
use fieldgate_golioth_proto::content_format::ContentFormat;
use fieldgate_golioth_proto::logs::{Level, LogRecord};
use fieldgate_golioth_proto::paths;

/// One line.
pub(super) fn line(level: tracing::Level, module: &str, message: &str) -> coap::Request {
    let level = match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    };
    let body = LogRecord { level, module, message }.encode();
    coap::Request::post(paths::LOGS).payload(ContentFormat::Cbor.number(), body)
}
