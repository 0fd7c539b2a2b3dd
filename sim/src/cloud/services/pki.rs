//! Certificate signing, `v1/csr`: DER in, DER out.
//!
//! Nothing is signed here. What comes back is the DER certificate the operator put there for the device
//! ([`Cloud::set_issued_certificate`](crate::cloud::Cloud::set_issued_certificate)); a project without one has no PKI provider.

use super::{Reaction, bad_request};
use crate::cloud::device::DeviceKey;
use crate::cloud::plane::Plane;
use fieldgate_coap::{Code, IncomingRequest, Method, Response, format};

pub(super) fn sign(plane: &mut Plane, device: DeviceKey, request: &IncomingRequest) -> Reaction {
    if request.method != Method::Post {
        return Code::METHOD_NOT_ALLOWED.into();
    }
    if request.content_format.is_some_and(|format| format != format::OCTET_STREAM) {
        return Code::UNSUPPORTED_CONTENT_FORMAT.into();
    }
    // A certification request is a SEQUENCE (RFC 2986 §4).
    if request.payload.first() != Some(&0x30) {
        return bad_request("the body is no certification request in DER").into();
    }
    let Some(owner) = plane.devices.get_mut(&device) else { return Code::NOT_FOUND.into() };
    owner.signing_request = Some(request.payload.clone());
    match &owner.issued_certificate {
        Some(certificate) => {
            Response::new(Code::CREATED).payload(format::OCTET_STREAM, certificate.clone()).into()
        }
        None => {
            Response::new(Code::FORBIDDEN).payload(format::TEXT, "the project has no PKI provider").into()
        }
    }
}
