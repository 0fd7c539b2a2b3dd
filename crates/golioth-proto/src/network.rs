//! The serving cell, as a stream message that Golioth's `location` transformer resolves: a map with the list `cell`.
//!
//! There is no path of its own: an operator names the stream and gives it a pipeline with that transformer.

use crate::cbor::Writer;

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// NB-IoT; else LTE-M.
    pub narrowband: bool,
    /// Mobile country code.
    pub country: u16,
    /// Mobile network code.
    pub network: u16,
    /// E-UTRAN cell identity, 28 bits (3GPP TS 36.413, 9.2.1.38).
    pub id: u32,
    /// RSRP, dBm.
    pub strength_dbm: Option<i16>,
}

impl Cell {
    /// The payload, CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(64);
        let mut writer = Writer::new(&mut payload);
        writer.map(1);
        writer.text("cell");
        writer.array(1);
        writer.map(if self.strength_dbm.is_some() { 5 } else { 4 });
        writer.text("type");
        writer.text(if self.narrowband { "nbiot" } else { "ltecatm" });
        for (key, value) in
            [("mcc", u32::from(self.country)), ("mnc", u32::from(self.network)), ("id", self.id)]
        {
            writer.text(key);
            writer.unsigned(value.into());
        }
        if let Some(dbm) = self.strength_dbm {
            writer.text("strength");
            writer.integer(dbm.into());
        }
        payload
    }
}
