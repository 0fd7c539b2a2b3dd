//! Remote procedure calls. The cloud queues none and gives up on one after some seconds: an answer goes before what waits.

use fieldgate_coap as coap;
use fieldgate_golioth_proto::content_format::ContentFormat;
use fieldgate_golioth_proto::{paths, rpc};
use serde_json::{Map, Value};

use super::value;
use crate::uplink::link::{Call, CloudEvent, Report};

pub(super) fn get() -> coap::Request {
    // Each is another call, not a newer state of one: none is passed over for having been overtaken.
    coap::Request::get(paths::RPC).accept(ContentFormat::Cbor.number()).events(true)
}

/// A call, or nothing for the greeting. One without an id cannot even be refused.
pub(super) fn read(payload: &[u8]) -> Result<Option<CloudEvent>, String> {
    match rpc::decode(payload).map_err(|error| error.to_string())? {
        rpc::Notification::Greeting => Ok(None),
        rpc::Notification::Call(rpc::Call { id, method, params, fault }) => {
            let params = params.into_iter().map(value).collect();
            let fault = fault.map(|fault| format!("the parameters: {fault}"));
            Ok(Some(CloudEvent::Call(Call { id, method, params, fault })))
        }
    }
}

/// The answer to a call.
pub(super) fn answer(
    id: &str,
    code: u8,
    detail: Option<&Map<String, Value>>,
) -> Result<coap::Request, &'static str> {
    let status = rpc::StatusCode::from_code(code).ok_or("a status code that is none of gRPC's")?;
    let body = rpc::Reply { id, status, detail }.encode();
    Ok(coap::Request::post(paths::RPC_STATUS).payload(ContentFormat::Cbor.number(), body).urgent(true))
}

/// The answer to a call for which there is no place.
pub(in crate::clouds::golioth) fn too_many(call: Call) -> Report {
    let code = rpc::StatusCode::ResourceExhausted.code();
    Report::CallAnswer { id: call.id, code, detail: None }
}
