use super::*;
use proptest::prelude::*;

const TYPES: [(ValueType, usize); 8] = [
    (ValueType::Uint16, 2),
    (ValueType::Int16, 2),
    (ValueType::Uint32, 4),
    (ValueType::Int32, 4),
    (ValueType::Uint64, 8),
    (ValueType::Int64, 8),
    (ValueType::Float32, 4),
    (ValueType::Float64, 8),
];
const ORDERS: [WordOrder; 4] = [WordOrder::Abcd, WordOrder::Cdab, WordOrder::Badc, WordOrder::Dcba];

fn number(value_type: ValueType, order: WordOrder) -> Layout {
    Layout::Number { value_type, order }
}

/// The model permutes bytes by their names: what stands at each place of the wire, `a` being byte 0.
fn wire_order(order: WordOrder, width: usize) -> Vec<usize> {
    let last = width - 1;
    (0..width)
        .map(|place| match order {
            WordOrder::Abcd => place,
            WordOrder::Cdab => (last / 2 - place / 2) * 2 + place % 2,
            WordOrder::Badc => place ^ 1,
            WordOrder::Dcba => last - place,
        })
        .collect()
}

/// The registers in which these big-endian bytes arrive.
fn sent(order: WordOrder, bytes: &[u8]) -> Vec<u16> {
    let wire: Vec<u8> = wire_order(order, bytes.len()).iter().map(|place| bytes[*place]).collect();
    wire.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

/// What a number of that type with these bytes is, by Rust's own types.
fn meant(value_type: ValueType, bytes: &[u8]) -> Raw {
    macro_rules! whole {
        ($kind:ty) => {
            Raw::Integer(i128::from(<$kind>::from_be_bytes(bytes.try_into().unwrap())))
        };
    }
    match value_type {
        ValueType::Uint16 => whole!(u16),
        ValueType::Int16 => whole!(i16),
        ValueType::Uint32 => whole!(u32),
        ValueType::Int32 => whole!(i32),
        ValueType::Uint64 => whole!(u64),
        ValueType::Int64 => whole!(i64),
        ValueType::Float32 => {
            let number = f64::from(f32::from_be_bytes(bytes.try_into().unwrap()));
            Raw::Float { pattern: u64::from(u32::from_be_bytes(bytes.try_into().unwrap())), number }
        }
        ValueType::Float64 => {
            let pattern = u64::from_be_bytes(bytes.try_into().unwrap());
            Raw::Float { pattern, number: f64::from_bits(pattern) }
        }
        ValueType::Bool => panic!("a bit has no bytes"),
    }
}

/// As `==`, but what is no number is the same as itself.
fn same(a: &Raw, b: &Raw) -> bool {
    match (a, b) {
        (Raw::Float { pattern: a, .. }, Raw::Float { pattern: b, .. }) => a == b,
        _ => a == b,
    }
}

#[test]
fn the_model_of_orders_is_what_their_names_say() {
    let name = |order| wire_order(order, 4).iter().map(|n| char::from(b'a' + *n as u8)).collect::<String>();
    assert_eq!(ORDERS.map(name), ["abcd", "cdab", "badc", "dcba"]);
    assert_eq!(wire_order(WordOrder::Cdab, 8), [6, 7, 4, 5, 2, 3, 0, 1]);
}

#[test]
fn the_four_orders_of_a_float_on_real_frames() {
    // 23.5 is 0x41BC0000.
    for (order, words) in [
        (WordOrder::Abcd, [0x41bc, 0x0000]),
        (WordOrder::Cdab, [0x0000, 0x41bc]),
        (WordOrder::Badc, [0xbc41, 0x0000]),
        (WordOrder::Dcba, [0x0000, 0xbc41]),
    ] {
        let read = number(ValueType::Float32, order).read(&words);
        assert_eq!(read, Some(Raw::Float { pattern: 0x41bc_0000, number: 23.5 }), "{order:?}");
    }
}

#[test]
fn bits_are_counted_from_the_least_significant() {
    let field = |first, last| Layout::Field {
        value_type: ValueType::Uint16,
        order: WordOrder::Abcd,
        bits: Bits::new(ValueType::Uint16, first, last).unwrap(),
    };
    assert_eq!(field(0, 0).read(&[0b1]), Some(Raw::Flag(true)));
    assert_eq!(field(15, 15).read(&[0x7fff]), Some(Raw::Flag(false)));
    assert_eq!(field(2, 3).read(&[0b1011]), Some(Raw::Integer(0b10)));
    assert_eq!(field(0, 15).read(&[0xffff]), Some(Raw::Integer(0xffff)));
    assert_eq!(Bits::new(ValueType::Uint16, 0, 16), Err(BitsRefused::Beyond(15)));
    assert_eq!(Bits::new(ValueType::Uint32, 5, 4), Err(BitsRefused::Reversed));
    assert_eq!(Bits::new(ValueType::Float32, 0, 0), Err(BitsRefused::NotWhole));
    assert_eq!(Bits::new(ValueType::Uint64, 60, 63).map(Bits::range), Ok(60..=63));
}

#[test]
fn text_ends_at_a_nul_and_loses_its_padding() {
    let text = |order| Layout::Text { registers: 3, order };
    let read = |order, words: [u16; 3]| text(order).read(&words);
    assert_eq!(read(WordOrder::Abcd, [0x5448, 0x2d31, 0x0000]), Some(Raw::Text("TH-1".into())));
    assert_eq!(read(WordOrder::Badc, [0x4854, 0x312d, 0x2020]), Some(Raw::Text("TH-1".into())));
    assert_eq!(read(WordOrder::Cdab, [0x2020, 0x2d31, 0x5448]), Some(Raw::Text("TH-1".into())));
    assert_eq!(read(WordOrder::Abcd, [0x5400, 0x4142, 0x4344]), Some(Raw::Text("T".into())));
    assert_eq!(read(WordOrder::Abcd, [0xffff, 0, 0]), None, "no UTF-8");
    assert_eq!(read(WordOrder::Abcd, [0x0141, 0, 0]), None, "a control character");
}

#[test]
fn a_wrong_number_of_registers_is_not_read() {
    let counter = number(ValueType::Uint32, WordOrder::Abcd);
    assert_eq!((counter.read(&[1]), counter.read(&[1, 2, 3])), (None, None));
    assert_eq!(number(ValueType::Bool, WordOrder::Abcd).read(&[1]), None);
}

#[test]
fn what_does_not_fit_is_not_written() {
    let small = number(ValueType::Int16, WordOrder::Abcd);
    assert_eq!(small.write(&Raw::Integer(-55)), Some(vec![0xffc9]));
    assert_eq!(small.write(&Raw::Integer(32_768)), None);
    let float = number(ValueType::Float32, WordOrder::Cdab);
    assert_eq!(float.write(&Raw::Float { pattern: 0, number: 23.5 }), Some(vec![0, 0x41bc]));
    assert_eq!(float.write(&Raw::Float { pattern: 0, number: 1e300 }), None);
    assert_eq!(float.write(&Raw::Integer(1)), None);
    let text = Layout::Text { registers: 2, order: WordOrder::Abcd };
    assert_eq!(text.write(&Raw::Text("TH1".into())), Some(vec![0x5448, 0x3100]));
    assert_eq!(text.write(&Raw::Text("TH-12".into())), None);
}

proptest! {
    #[test]
    fn every_type_is_read_and_written_in_every_order(bytes in any::<[u8; 8]>(), which in 0usize..8, order in 0usize..4) {
        let ((value_type, width), order) = (TYPES[which], ORDERS[order]);
        let bytes = &bytes[..width];
        let (layout, words, meant) = (number(value_type, order), sent(order, bytes), meant(value_type, bytes));
        let read = layout.read(&words).unwrap();
        prop_assert!(same(&read, &meant), "{:?} {:?}", read, meant);
        // A signalling NaN of 32 bits becomes a quiet one on its way through 64.
        if !matches!(meant, Raw::Float { number, .. } if number.is_nan()) {
            prop_assert_eq!(layout.write(&read), Some(words));
        }
    }

    #[test]
    fn bits_of_every_whole_type_are_those_of_the_number(
        bytes in any::<[u8; 8]>(), which in 0usize..6, order in 0usize..4, a in 0u8..64, b in 0u8..64,
    ) {
        let ((value_type, width), order) = (TYPES[which], ORDERS[order]);
        let top = width as u8 * 8;
        let (first, last) = ((a % top).min(b % top), (a % top).max(b % top));
        let bits = Bits::new(value_type, first, last).unwrap();
        let number = bytes[..width].iter().fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
        let expected = (first..=last).rev().fold(0i128, |sum, bit| sum << 1 | (number >> bit & 1) as i128);
        let expected = if first == last { Raw::Flag(expected == 1) } else { Raw::Integer(expected) };
        let layout = Layout::Field { value_type, order, bits };
        prop_assert_eq!(layout.read(&sent(order, &bytes[..width])), Some(expected));
    }

    #[test]
    fn text_survives_every_order(text in "[ -~äöü]{0,20}", order in 0usize..4) {
        let layout = Layout::Text { registers: 20, order: ORDERS[order] };
        let words = layout.write(&Raw::Text(text.clone())).unwrap();
        prop_assert_eq!(layout.read(&words), Some(Raw::Text(text.trim().to_owned())));
    }
}
