//! Message codes (RFC 7252 §3 and §12.1): one byte, three bits of class and five of detail.
//!
//! A [`Code`] is kept raw so that codes registered after this crate was written survive a round trip.

use core::fmt;

/// A request or response code, `class.detail`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u8);

impl Code {
    /// 0.00, an Empty message.
    pub const EMPTY: Code = Code(0x00);
    /// 2.01 Created.
    pub const CREATED: Code = Code::new(2, 1);
    /// 2.02 Deleted.
    pub const DELETED: Code = Code::new(2, 2);
    /// 2.03 Valid.
    pub const VALID: Code = Code::new(2, 3);
    /// 2.04 Changed.
    pub const CHANGED: Code = Code::new(2, 4);
    /// 2.05 Content.
    pub const CONTENT: Code = Code::new(2, 5);
    /// 2.31 Continue (RFC 7959 §2.9.1).
    pub const CONTINUE: Code = Code::new(2, 31);
    /// 4.00 Bad Request.
    pub const BAD_REQUEST: Code = Code::new(4, 0);
    /// 4.01 Unauthorized.
    pub const UNAUTHORIZED: Code = Code::new(4, 1);
    /// 4.02 Bad Option.
    pub const BAD_OPTION: Code = Code::new(4, 2);
    /// 4.03 Forbidden.
    pub const FORBIDDEN: Code = Code::new(4, 3);
    /// 4.04 Not Found.
    pub const NOT_FOUND: Code = Code::new(4, 4);
    /// 4.05 Method Not Allowed.
    pub const METHOD_NOT_ALLOWED: Code = Code::new(4, 5);
    /// 4.06 Not Acceptable.
    pub const NOT_ACCEPTABLE: Code = Code::new(4, 6);
    /// 4.08 Request Entity Incomplete (RFC 7959 §2.9.2).
    pub const REQUEST_ENTITY_INCOMPLETE: Code = Code::new(4, 8);
    /// 4.12 Precondition Failed.
    pub const PRECONDITION_FAILED: Code = Code::new(4, 12);
    /// 4.13 Request Entity Too Large.
    pub const REQUEST_ENTITY_TOO_LARGE: Code = Code::new(4, 13);
    /// 4.15 Unsupported Content-Format.
    pub const UNSUPPORTED_CONTENT_FORMAT: Code = Code::new(4, 15);
    /// 4.22 Unprocessable Entity (RFC 8132 §4).
    pub const UNPROCESSABLE_ENTITY: Code = Code::new(4, 22);
    /// 4.29 Too Many Requests (RFC 8516).
    pub const TOO_MANY_REQUESTS: Code = Code::new(4, 29);
    /// 5.00 Internal Server Error.
    pub const INTERNAL_SERVER_ERROR: Code = Code::new(5, 0);
    /// 5.01 Not Implemented.
    pub const NOT_IMPLEMENTED: Code = Code::new(5, 1);
    /// 5.02 Bad Gateway.
    pub const BAD_GATEWAY: Code = Code::new(5, 2);
    /// 5.03 Service Unavailable.
    pub const SERVICE_UNAVAILABLE: Code = Code::new(5, 3);
    /// 5.04 Gateway Timeout.
    pub const GATEWAY_TIMEOUT: Code = Code::new(5, 4);
    /// 5.05 Proxying Not Supported.
    pub const PROXYING_NOT_SUPPORTED: Code = Code::new(5, 5);

    /// Builds `class.detail`; only the low three bits of `class` and five of `detail` are kept.
    #[must_use]
    pub const fn new(class: u8, detail: u8) -> Code {
        Code((class & 0x07) << 5 | (detail & 0x1f))
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// The code a byte on the wire stands for.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Code {
        Code(byte)
    }

    /// 0 for requests; 2, 4 or 5 for responses.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The digits after the dot.
    #[must_use]
    pub const fn detail(self) -> u8 {
        self.0 & 0x1f
    }

    /// Any 2.xx code, known or not.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }

    /// Any 2.xx, 4.xx or 5.xx code.
    #[must_use]
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2 | 4 | 5)
    }

    /// Any 0.xx code but 0.00, known or not.
    #[must_use]
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Request methods (RFC 7252 §5.8, RFC 8132).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// 0.01
    Get,
    /// 0.02
    Post,
    /// 0.03
    Put,
    /// 0.04
    Delete,
    /// 0.05
    Fetch,
    /// 0.06
    Patch,
    /// 0.07
    IPatch,
}

impl Method {
    /// The request code.
    #[must_use]
    pub const fn code(self) -> Code {
        Code::new(
            0,
            match self {
                Method::Get => 1,
                Method::Post => 2,
                Method::Put => 3,
                Method::Delete => 4,
                Method::Fetch => 5,
                Method::Patch => 6,
                Method::IPatch => 7,
            },
        )
    }

    /// The method of a request code; `None` when it is not one of the seven known here.
    #[must_use]
    pub const fn from_code(code: Code) -> Option<Method> {
        Some(match code.to_byte() {
            1 => Method::Get,
            2 => Method::Post,
            3 => Method::Put,
            4 => Method::Delete,
            5 => Method::Fetch,
            6 => Method::Patch,
            7 => Method::IPatch,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_print_the_way_the_rfcs_write_them() {
        assert_eq!(Code::CONTINUE.to_string(), "2.31");
        assert_eq!(Code::REQUEST_ENTITY_INCOMPLETE.to_string(), "4.08");
        assert_eq!(format!("{:?}", Method::Get.code()), "0.01");
        assert_eq!(Code::TOO_MANY_REQUESTS.to_byte(), 0x9d);
    }

    #[test]
    fn every_byte_survives_and_falls_in_at_most_one_kind() {
        for byte in 0..=255u8 {
            let code = Code::from_byte(byte);
            assert_eq!(code.to_byte(), byte);
            assert_eq!(Code::new(code.class(), code.detail()), code);
            assert!(!(code.is_request() && code.is_response()));
            if let Some(method) = Method::from_code(code) {
                assert_eq!(method.code(), code);
                assert!(code.is_request());
            }
        }
        assert!(!Code::EMPTY.is_request() && !Code::EMPTY.is_response());
        for reserved in [1, 3, 6, 7] {
            assert!(!Code::new(reserved, 1).is_response() && !Code::new(reserved, 1).is_request());
        }
    }
}
