//! Mbed TLS's return codes in words an operator can act on.

use core::fmt;

use crate::Refusal;
use crate::ffi;

/// A code from Mbed TLS with its meaning. `Display` gives both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LibraryError {
    code: i32,
}

impl LibraryError {
    pub(crate) fn new(code: i32) -> Self {
        Self { code }
    }

    /// The library's own (negative) number.
    pub fn code(self) -> i32 {
        self.code
    }

    pub(crate) fn refusal(self) -> Option<Refusal> {
        match self.code {
            ffi::code::INVALID_MAC => Some(Refusal::WrongKey),
            ffi::code::UNKNOWN_IDENTITY => Some(Refusal::UnknownIdentity),
            ffi::code::HANDSHAKE_FAILURE | ffi::code::BAD_PROTOCOL_VERSION => Some(Refusal::NothingInCommon),
            _ => None,
        }
    }

    fn meaning(self) -> &'static str {
        match self.code {
            ffi::code::INVALID_MAC => {
                "a protected record did not verify: the pre-shared keys probably differ; compare them"
            }
            ffi::code::UNKNOWN_IDENTITY => {
                "no key is known for the client's identity: enrol it or correct it"
            }
            ffi::code::HANDSHAKE_FAILURE => {
                "no agreement with the peer, usually no cipher suite in common: compare both lists"
            }
            ffi::code::BAD_PROTOCOL_VERSION => "the peer does not speak DTLS 1.2",
            ffi::code::ILLEGAL_PARAMETER => "the peer answered with something that was not offered",
            ffi::code::UNSUPPORTED_EXTENSION => "the peer used an extension that was not offered",
            ffi::code::DECODE_ERROR => "a handshake message from the peer is malformed",
            ffi::code::UNEXPECTED_MESSAGE => "the peer sent a message that has no place at this point",
            ffi::code::TIMEOUT => "the peer stopped answering",
            ffi::code::ALLOC_FAILED | ffi::code::MPI_ALLOC_FAILED => "out of memory",
            ffi::code::COUNTER_WRAPPING => "the record sequence numbers are used up: connect again",
            ffi::code::NO_RNG => "the random source failed",
            ffi::code::BAD_CERTIFICATE | ffi::code::CERT_VERIFY_FAILED => {
                "the peer's certificate is not acceptable: check its issuer, its validity and this clock"
            }
            ffi::code::INTERNAL_ERROR => "the library found itself in an impossible state: report this",
            _ => "an error inside the DTLS library",
        }
    }
}

impl fmt::Display for LibraryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (Mbed TLS -0x{:04X})", self.meaning(), self.code.unsigned_abs())
    }
}

impl std::error::Error for LibraryError {}
