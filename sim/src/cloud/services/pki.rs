//! Certificate signing, `v1/csr`: DER in, DER out.
//!
//! Nothing is signed here: that is up to the [`Issuer`] an operator put there. A project without one has no PKI provider.

use std::fmt;

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
    let Some(issuer) = &mut plane.issuer else {
        return Response::new(Code::FORBIDDEN)
            .payload(format::TEXT, "the project has no PKI provider")
            .into();
    };
    match (issuer.0)(&owner.name, &request.payload) {
        Some(certificate) => Response::new(Code::CREATED).payload(format::OCTET_STREAM, certificate).into(),
        None => bad_request("the PKI provider does not certify this").into(),
    }
}

/// What a certification request, of the device of this name and in DER, is answered with; `None` where it is refused.
type Issue = dyn FnMut(&str, &[u8]) -> Option<Vec<u8>> + Send;

/// A PKI provider.
pub(in crate::cloud) struct Issuer(Box<Issue>);

impl Issuer {
    pub(in crate::cloud) fn new(issue: impl FnMut(&str, &[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        Self(Box::new(issue))
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issuer(..)")
    }
}
