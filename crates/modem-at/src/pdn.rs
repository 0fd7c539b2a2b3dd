//! Packet data contexts: how they are defined (`+CGDCONT`), which addresses they have (`+CGPADDR`), which are up (`+CGACT`).
//! What happens to them is [`crate::PdnEvent`].

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::fields::{DecodeError, Fields, Tail, Value};

/// Kind of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PdnType {
    /// `IP`.
    Ipv4,
    /// `IPV6`.
    Ipv6,
    /// `IPV4V6`.
    Both,
    /// `Non-IP`: datagrams without addresses.
    NonIp,
}

/// `+CGDCONT: <cid>,"<type>","<apn>","<address>",...`, one line a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PdnContext {
    /// Number of the context; 0 is the default one.
    pub cid: u8,
    /// Kind; absent while not attached.
    pub kind: Value<PdnType>,
    /// Access point name; none while not attached, or where the network chooses.
    pub access_point: Option<String>,
    /// Addresses; none while it is down.
    pub addresses: Addresses,
    /// Header compression and what newer firmware adds.
    pub tail: Tail,
}

impl PdnContext {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or no context number.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "+CGDCONT")?;
        let mut addresses = Addresses::default();
        addresses.add(fields.raw(3));
        Ok(Self {
            cid: fields.number(0, "cid")?,
            kind: Value::read(fields.get(1), |text| {
                Some(match text {
                    "IP" => PdnType::Ipv4,
                    "IPV6" => PdnType::Ipv6,
                    "IPV4V6" => PdnType::Both,
                    "Non-IP" => PdnType::NonIp,
                    _ => return None,
                })
            }),
            access_point: fields.string(2),
            addresses,
            tail: fields.tail(4),
        })
    }
}

/// `+CGPADDR: <cid>[,"<address>"[,"<address>"]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PdnAddress {
    /// Number of the context.
    pub cid: u8,
    /// Its addresses; none while it is down.
    pub addresses: Addresses,
}

impl PdnAddress {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or no context number.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "+CGPADDR")?;
        let mut addresses = Addresses::default();
        fields.from(1).iter().for_each(|field| addresses.add(field.text));
        Ok(Self { cid: fields.number(0, "cid")?, addresses })
    }
}

/// The addresses of a context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6.
    pub v6: Option<Ipv6Addr>,
    /// What is neither, or one too many, as it came.
    pub other: Option<String>,
}

impl Addresses {
    /// Takes a field that holds one address, or two with a space between them.
    fn add(&mut self, text: &str) {
        for part in text.split_ascii_whitespace() {
            if let (None, Ok(address)) = (self.v4, part.parse()) {
                self.v4 = Some(address);
            } else if let (None, Some(address)) = (self.v6, v6(part)) {
                self.v6 = Some(address);
            } else {
                let other = self.other.get_or_insert_default();
                if !other.is_empty() {
                    other.push(' ');
                }
                other.push_str(part);
            }
        }
    }
}

/// With colons, or as 3GPP TS 27.007 writes it by default: sixteen numbers with dots.
fn v6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let mut octets = [0u8; 16];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// `+CGACT: <cid>,<state>`, one line a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PdnState {
    /// Number of the context.
    pub cid: u8,
    /// It is up.
    pub active: bool,
}

impl PdnState {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or a state other than 0 and 1.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "+CGACT")?;
        let active = match fields.number::<u8>(1, "state")? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Malformed { line: "+CGACT", field: "state" }),
        };
        Ok(Self { cid: fields.number(0, "cid")?, active })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_has_a_name_and_an_address_once_it_is_up() {
        let up = PdnContext::parse("+CGDCONT: 0,\"IP\",\"ibasis.iot\",\"10.160.148.98\",0,0").unwrap();
        assert_eq!(
            (up.cid, &up.kind, up.access_point.as_deref()),
            (0, &Value::Known(PdnType::Ipv4), Some("ibasis.iot"))
        );
        assert_eq!(up.addresses.v4, Some(Ipv4Addr::new(10, 160, 148, 98)));
        assert_eq!((up.addresses.v6, up.tail.as_str()), (None, "0,0"));

        let down = PdnContext::parse("+CGDCONT: 0,\"\",\"\",\"\",0,0").unwrap();
        assert_eq!(
            (&down.kind, down.access_point, down.addresses),
            (&Value::Absent, None, Addresses::default())
        );
        assert!(PdnContext::parse("+CGDCONT: ").is_err());
        let odd = PdnContext::parse("+CGDCONT: 1,\"PPP\"").unwrap();
        assert_eq!(odd.kind, Value::Text("PPP".to_owned()));
    }

    #[test]
    fn two_addresses_stand_in_one_field_or_in_two() {
        let v4 = Some(Ipv4Addr::new(10, 0, 0, 7));
        let v6 = Some("2001:db8::17".parse().unwrap());
        let expected = Addresses { v4, v6, other: None };
        let context =
            PdnContext::parse("+CGDCONT: 0,\"IPV4V6\",\"a\",\"10.0.0.7 2001:db8::17\",0,0").unwrap();
        assert_eq!((context.kind, &context.addresses), (Value::Known(PdnType::Both), &expected));
        for line in [
            "+CGPADDR: 0,\"10.0.0.7\",\"2001:db8::17\"",
            "+CGPADDR: 0,10.0.0.7,32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.23",
            "+CGPADDR: 0,\"10.0.0.7 2001:db8::17\"",
        ] {
            assert_eq!(
                PdnAddress::parse(line).unwrap(),
                PdnAddress { cid: 0, addresses: expected.clone() },
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_kept() {
        let odd = PdnAddress::parse("+CGPADDR: 2,\"10.0.0.7\",\"10.0.0.8\",\"x\"").unwrap();
        assert_eq!((odd.cid, odd.addresses.other.as_deref()), (2, Some("10.0.0.8 x")));
        assert_eq!(PdnAddress::parse("+CGPADDR: 1").unwrap().addresses, Addresses::default());
    }

    #[test]
    fn a_context_is_up_or_down() {
        assert_eq!(PdnState::parse("+CGACT: 0,1").unwrap(), PdnState { cid: 0, active: true });
        assert_eq!(PdnState::parse("+CGACT: 0,0").unwrap(), PdnState { cid: 0, active: false });
        assert!(PdnState::parse("+CGACT: 0,2").is_err());
        assert!(PdnState::parse("+CGACT: 0").is_err());
    }
}
