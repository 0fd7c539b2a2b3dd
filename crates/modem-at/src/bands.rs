//! LTE bands: the mask of `%XBANDLOCK`, the band in use and the bands the modem has (`%XCBAND`).

use std::fmt;

use crate::fields::{DecodeError, Fields};

/// Highest band a mask can name.
const LAST_BAND: u8 = 88;

/// A set of bands, written as a text of `0` and `1` whose last character is band 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BandMask(u128);

impl BandMask {
    /// Decodes at most 88 characters `0` or `1`; leading zeros may be left out.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let fits = (1..=usize::from(LAST_BAND)).contains(&text.len());
        (fits && text.bytes().all(|byte| matches!(byte, b'0' | b'1')))
            .then(|| u128::from_str_radix(text, 2).ok().map(Self))
            .flatten()
    }

    /// The set of `bands`; `None` where one is not 1 to 88.
    #[must_use]
    pub fn of(bands: &[u8]) -> Option<Self> {
        bands.iter().try_fold(Self(0), |mask, band| {
            (1..=LAST_BAND).contains(band).then(|| Self(mask.0 | 1 << (band - 1)))
        })
    }

    /// The bands, lowest first.
    pub fn bands(self) -> impl Iterator<Item = u8> {
        (1..=LAST_BAND).filter(move |band| self.0 >> (band - 1) & 1 == 1)
    }

    /// No band is in it: the modem refuses such a mask.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// As the command takes it, without leading zeros.
impl fmt::Display for BandMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:b}", self.0)
    }
}

/// The band in use, from `%XCBAND: <band>`, the answer of `AT%XCBAND`.
///
/// # Errors
/// Another line, or no number: the answer of `AT%XCBAND=?` is for [`supported_bands`].
pub fn current_band(line: &str) -> Result<u16, DecodeError> {
    Fields::of(line, "%XCBAND")?.number(0, "band")
}

/// The bands the modem has, from `%XCBAND: (1,2,3,...)`, the answer of `AT%XCBAND=?`.
///
/// # Errors
/// Another line, or no list.
pub fn supported_bands(line: &str) -> Result<Vec<u32>, DecodeError> {
    let fields = Fields::of(line, "%XCBAND")?;
    fields.numbers(0).ok_or(DecodeError::Malformed { line: "%XCBAND", field: "band" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bands(text: &str) -> Vec<u8> {
        BandMask::decode(text).unwrap().bands().collect()
    }

    #[test]
    fn the_last_character_is_band_one() {
        assert_eq!(bands("1000"), [4]);
        assert_eq!(bands("1000000001000"), [4, 13]);
        assert_eq!(bands(&format!("1{}", "0".repeat(87))), [88]);
        assert!(BandMask::decode("0000").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        for text in ["", "2", "+1", "1 0", &"1".repeat(89)] {
            assert_eq!(BandMask::decode(text), None, "{text}");
        }
        assert_eq!((BandMask::of(&[0]), BandMask::of(&[3, 89])), (None, None));
    }

    #[test]
    fn the_band_in_use_and_the_bands_there_are() {
        assert_eq!(current_band("%XCBAND: 13").unwrap(), 13);
        assert!(current_band("%XCBAND: (1,2)").is_err());
        let supported = supported_bands("%XCBAND: (2,3,4,8,12,13,20,28)").unwrap();
        assert_eq!(supported, [2, 3, 4, 8, 12, 13, 20, 28]);
        assert!(supported_bands("%XCBAND: 13").is_err());
    }

    proptest! {
        #[test]
        fn a_mask_is_read_as_it_was_written(chosen in prop::collection::btree_set(1u8..=LAST_BAND, 1..20)) {
            let chosen: Vec<u8> = chosen.into_iter().collect();
            let mask = BandMask::of(&chosen).unwrap();
            prop_assert_eq!(BandMask::decode(&mask.to_string()), Some(mask));
            prop_assert_eq!(mask.bands().collect::<Vec<_>>(), chosen);
        }
    }
}
