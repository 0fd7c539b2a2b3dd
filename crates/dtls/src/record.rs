//! The clear-text part of DTLS records (RFC 6347 section 4.1, RFC 9146 section 4), as much as routing needs.
//!
//! Nothing here is authenticated: it decides which session looks at a datagram, never what a session believes.

/// Record content types.
pub(crate) mod kind {
    pub(crate) const ALERT: u8 = 21;
    pub(crate) const HANDSHAKE: u8 = 22;
    /// `tls12_cid`: the real type is inside.
    pub(crate) const CONNECTION_ID: u8 = 25;
}

/// One record's header and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: u8,
    pub(crate) epoch: u16,
    /// 48 bits, per epoch.
    pub(crate) sequence: u64,
    /// Empty unless the kind is `CONNECTION_ID`.
    pub(crate) cid: &'a [u8],
    pub(crate) body: &'a [u8],
    /// Header and body.
    pub(crate) whole: &'a [u8],
}

/// The records of a datagram until its end or the first that is malformed. `cid_length` is the length of Connection IDs
/// towards this side: it is not on the wire.
pub(crate) fn records(datagram: &[u8], cid_length: usize) -> impl Iterator<Item = Record<'_>> {
    let mut rest = datagram;
    core::iter::from_fn(move || {
        let (record, after) = split_record(rest, cid_length)?;
        rest = after;
        Some(record)
    })
}

fn split_record(bytes: &[u8], cid_length: usize) -> Option<(Record<'_>, &[u8])> {
    let &[kind, 0xFE, 0xFF | 0xFD, e1, e0, s5, s4, s3, s2, s1, s0, ref rest @ ..] = bytes else {
        return None;
    };
    let (cid, rest) = rest.split_at_checked(if kind == kind::CONNECTION_ID { cid_length } else { 0 })?;
    let &[l1, l0, ref rest @ ..] = rest else { return None };
    let (body, after) = rest.split_at_checked(usize::from(u16::from_be_bytes([l1, l0])))?;
    let whole = bytes.get(..bytes.len() - after.len())?;
    let epoch = u16::from_be_bytes([e1, e0]);
    let sequence = u64::from_be_bytes([0, 0, s5, s4, s3, s2, s1, s0]);
    Some((Record { kind, epoch, sequence, cid, body, whole }, after))
}

/// What a ClientHello shows before anything is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientHello<'a> {
    /// The same in both hellos of a cookie exchange and in every retransmission; another for every new attempt.
    pub(crate) random: [u8; 32],
    /// Offered suites, two bytes each.
    suites: &'a [u8],
}

impl ClientHello<'_> {
    /// The ClientHello a datagram begins with, if it begins with one that is whole.
    pub(crate) fn peek(datagram: &[u8]) -> Option<ClientHello<'_>> {
        let (record, _) = split_record(datagram, 0)?;
        if record.kind != kind::HANDSHAKE || record.epoch != 0 {
            return None;
        }
        // msg_type, length (3), message_seq (2), fragment_offset (3), fragment_length (3)
        let &[1, l2, l1, l0, _, _, 0, 0, 0, f2, f1, f0, ref body @ ..] = record.body else { return None };
        if [l2, l1, l0] != [f2, f1, f0] {
            return None;
        }
        let body = body.get(..usize::try_from(u32::from_be_bytes([0, l2, l1, l0])).ok()?)?;
        let (_version, body) = body.split_at_checked(2)?;
        let (random, body) = body.split_first_chunk::<32>()?;
        let (_session_id, body) = split_vector8(body)?;
        let (_cookie, body) = split_vector8(body)?;
        let &[s1, s0, ref body @ ..] = body else { return None };
        let suites = body.get(..usize::from(u16::from_be_bytes([s1, s0])))?;
        Some(ClientHello { random: *random, suites })
    }

    pub(crate) fn offers(&self, suite: u16) -> bool {
        self.suites.chunks_exact(2).any(|pair| pair == suite.to_be_bytes())
    }
}

fn split_vector8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(length))
}

/// A fatal alert in clear text.
pub(crate) fn plaintext_alert(description: u8) -> Vec<u8> {
    vec![kind::ALERT, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, description]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_are_split_where_their_lengths_say() {
        let mut datagram = plaintext_alert(49);
        datagram.extend([25, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 1, 2, 0xAA, 0xBB, 0, 1, 7]);
        datagram.extend([22, 0xFE]);
        let found: Vec<_> = records(&datagram, 2).collect();
        assert_eq!(found.len(), 2, "the stub at the end is no record");
        assert_eq!((found[0].kind, found[0].epoch, found[0].body), (21, 0, [2, 49].as_slice()));
        assert_eq!(found[1].cid, [0xAA, 0xBB]);
        assert_eq!((found[1].epoch, found[1].sequence, found[1].body), (1, 258, [7].as_slice()));
    }

    #[test]
    fn what_does_not_begin_like_dtls_has_no_records() {
        for datagram in
            [b"GET / HTTP/1.1".as_slice(), b"", &[22], &[22, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(records(datagram, 8).count(), 0);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_without_overrunning(datagram: Vec<u8>, cid_length in 0usize..40) {
            let total: usize = records(&datagram, cid_length).map(|record| record.whole.len()).sum();
            prop_assert!(total <= datagram.len());
            let _ = ClientHello::peek(&datagram);
        }

        #[test]
        fn a_hello_cut_short_is_never_a_hello(cut in 0usize..60) {
            let body = [&[0xFE, 0xFD][..], &[9; 32], &[0, 0, 0, 2, 0xC0, 0xA8, 1, 0]].concat();
            let length = u8::try_from(body.len()).unwrap();
            let message = [&[1, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, length][..], &body].concat();
            let record_length = u8::try_from(message.len()).unwrap();
            let header = [22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, record_length];
            let datagram = [&header[..], &message].concat();
            let hello = ClientHello::peek(&datagram).unwrap();
            prop_assert!(hello.offers(0xC0A8) && !hello.offers(0x00A8));
            prop_assert_eq!(hello.random, [9; 32]);
            let cut = cut.min(datagram.len() - 1);
            prop_assert_eq!(ClientHello::peek(&datagram[..cut]), None);
        }
    }
}
