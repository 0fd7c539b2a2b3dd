//! The probe: a message on the path of the readings that holds none. It meets the pipelines that readings would meet.
//!
//! As a batch of rows it is an array of maps, so that the same steps take it; without `e` and `s` no reader takes it for a
//! reading.

use crate::cbor::Writer;

/// One probe, by the mark under which a person finds it at the cloud; `t` is Unix milliseconds, where the time is known.
pub fn encode(mark: &str, unix_ms: Option<i64>) -> Vec<u8> {
    let mut payload = Vec::with_capacity(32 + mark.len());
    let mut writer = Writer::new(&mut payload);
    writer.array(1);
    writer.map(if unix_ms.is_some() { 2 } else { 1 });
    if let Some(unix_ms) = unix_ms {
        writer.text("t");
        writer.integer(unix_ms);
    }
    writer.text("probe");
    writer.text(mark);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_a_map_in_an_array_with_its_mark_and_the_time_if_there_is_one() {
        assert_eq!(encode("1a", None), b"\x81\xa1\x65probe\x621a");
        assert_eq!(encode("1a", Some(1_000)), b"\x81\xa2\x61t\x19\x03\xe8\x65probe\x621a");
    }

    #[test]
    fn a_probe_is_no_reading() {
        assert!(crate::rows::decode_rows(&encode("1a", Some(1_000))).is_err());
    }
}
