//! Streams: whatever a pipeline takes. Golioth acknowledges before any pipeline has looked.

use fieldgate_coap as coap;
use fieldgate_golioth_proto::content_format::ContentFormat;
use fieldgate_golioth_proto::network::Cell;
use fieldgate_golioth_proto::probe;

use crate::uplink::link::{Message, ServingCell};

/// Where the firmware log goes: a stream of its own, which a pipeline must take as it takes the readings'.
const FIRMWARE_LOG: &str = ".s/firmware_log";

/// A batch. What does not wait for a commit window does not wait for a congestion window either.
pub(in crate::clouds::golioth) fn post(message: Message) -> coap::Request {
    let path = format!(".s/{}", message.address);
    let urgent = !message.class.waits_for_window();
    coap::Request::post(&path).payload(ContentFormat::Cbor.number(), message.body).urgent(urgent)
}

/// A page of the firmware log.
pub(super) fn firmware_log(page: &[u8]) -> coap::Request {
    coap::Request::post(FIRMWARE_LOG).payload(ContentFormat::Json.number(), page)
}

/// The serving cell, for the `location` transformer.
pub(super) fn network(path: &str, cell: &ServingCell) -> coap::Request {
    let ServingCell { narrowband, country, network, id, strength_dbm } = *cell;
    let body = Cell { narrowband, country, network, id, strength_dbm }.encode();
    coap::Request::post(&format!(".s/{path}")).payload(ContentFormat::Cbor.number(), body)
}

/// What is no reading, on the way of the readings.
pub(super) fn probe(address: &str, mark: &str, unix_ms: Option<i64>) -> coap::Request {
    let body = probe::encode(mark, unix_ms);
    coap::Request::post(&format!(".s/{address}")).payload(ContentFormat::Cbor.number(), body)
}
