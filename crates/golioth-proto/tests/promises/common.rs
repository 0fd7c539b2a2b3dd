//! Vectors in hexadecimal, and a CBOR transcoder that owes nothing to the crate under test.

/// Bytes of a vector: pairs of hexadecimal digits, spaces between; `'text'` stands for its characters.
pub(crate) fn bytes(vector: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in vector.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u32> = part
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_digit(16).expect("a hexadecimal digit"))
            .collect();
        assert_eq!(digits.len() % 2, 0, "{part:?} is not made of pairs");
        bytes.extend(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8));
    }
    bytes
}

/// The same document with every map, array and string of indefinite length, strings in chunks of one character or
/// byte, and every integer in nine bytes.
pub(crate) fn widest(document: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let end = widen(document, 0, &mut out);
    assert_eq!(end, document.len(), "one document");
    out
}

fn widen(input: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let major = input[at] >> 5;
    let info = input[at] & 31;
    let (argument, mut next) = match info {
        0..=23 => (u64::from(info), at + 1),
        24..=27 => {
            let width = 1usize << (info - 24);
            let argument = input[at + 1..at + 1 + width].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
            (argument, at + 1 + width)
        }
        _ => panic!("a definite document"),
    };
    let length = argument as usize;
    match major {
        0 | 1 => {
            out.push(major << 5 | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
        2 => {
            out.push(0x5f);
            for byte in &input[next..next + length] {
                out.extend_from_slice(&[0x41, *byte]);
            }
            out.push(0xff);
            next += length;
        }
        3 => {
            out.push(0x7f);
            for character in std::str::from_utf8(&input[next..next + length]).expect("text").chars() {
                out.push(0x60 | character.len_utf8() as u8);
                out.extend_from_slice(character.to_string().as_bytes());
            }
            out.push(0xff);
            next += length;
        }
        4 | 5 => {
            out.push(major << 5 | 31);
            for _ in 0..length * usize::from(major - 3) {
                next = widen(input, next, out);
            }
            out.push(0xff);
        }
        _ => out.extend_from_slice(&input[at..next]),
    }
    next
}
