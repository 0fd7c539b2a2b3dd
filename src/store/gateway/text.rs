//! Bytes as hexadecimal text and back.

use std::fmt;

pub(super) fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

/// `None` unless the text is exactly `N` bytes in lower-case hexadecimal: one value has one text.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (high, low) = (digit(*pair.first()?)?, digit(*pair.get(1)?)?);
        *byte = high << 4 | low;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::unhex;

    #[test]
    fn only_the_one_text_of_some_bytes_is_read() {
        assert_eq!(unhex::<2>("0aff"), Some([10, 255]));
        for bad in ["0aFF", "0af", "0aff0", "0ag0", "", "é0a"] {
            assert_eq!(unhex::<2>(bad), None, "{bad}");
        }
    }
}
