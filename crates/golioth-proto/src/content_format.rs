//! CoAP Content-Format numbers that Golioth's device services use (RFC 7252 §12.3; CBOR: RFC 8949 §9.4).

/// What a payload is, as said in the Content-Format and Accept options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentFormat {
    /// `application/octet-stream`: firmware blocks, certificates.
    OctetStream,
    /// `application/json`.
    Json,
    /// `application/cbor`: everything else this crate writes.
    Cbor,
}

impl ContentFormat {
    /// The option's value.
    pub const fn number(self) -> u16 {
        match self {
            Self::OctetStream => 42,
            Self::Json => 50,
            Self::Cbor => 60,
        }
    }

    /// The format of an option's value; `None` for one Golioth does not use.
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            42 => Some(Self::OctetStream),
            50 => Some(Self::Json),
            60 => Some(Self::Cbor),
            _ => None,
        }
    }
}
