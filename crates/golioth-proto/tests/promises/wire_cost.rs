//! What a reading costs on the wire in either encoding.

use fieldgate_golioth_proto::columns::{ColumnsPacker, Reading};
use fieldgate_golioth_proto::rows::{Push, Resolution, Row, RowTime, RowValue, RowsPacker, Value};

/// IP, UDP, DTLS record and CoAP around one message, one way.
const HEADERS_BYTES: usize = 70;
const LIMIT_BYTES: usize = 1000;
const INSTANTS: u64 = 5_000;

/// Seeded, so that the figure is the same every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// About normal, σ = 4: twelve uniform deviates, summed.
    fn step(&mut self) -> i64 {
        let sum: u64 = (0..12).map(|_| self.next() % 1000).sum();
        (sum as i64 - 6000) * 4 / 1000
    }
}

/// Bytes a reading: messages and their headers, over 8 channels an instant at 1 Hz.
fn bytes_per_reading(aliases: [&str; 8], mut sample: impl FnMut(&mut Noise, i64) -> i64) -> f64 {
    let resolution = Resolution::decimal(-1).expect("a tenth");
    let mut noise = Noise(0x5eed_5eed_5eed_5eed);
    let mut mantissas: [i64; 8] = std::array::from_fn(|_| (noise.next() % 65_536) as i64);
    let mut packer = RowsPacker::new(LIMIT_BYTES);
    let mut total = 0;
    for instant in 0..INSTANTS {
        mantissas = mantissas.map(|mantissa| sample(&mut noise, mantissa));
        let values: [RowValue<'_>; 8] = std::array::from_fn(|i| RowValue {
            alias: aliases[i],
            value: Value::Scaled { mantissa: mantissas[i], resolution },
            quality: 0,
        });
        let jitter_ms = (noise.next() % 11) as i64 - 5;
        let row = Row {
            epoch_prefix: [1, 2, 3, 4],
            sequence: 1_000_000 + instant,
            time: RowTime::Wall {
                unix_ms: 1_763_629_200_000 + instant as i64 * 1000 + jitter_ms,
                uncertainty_ms: 50,
            },
            values: &values,
        };
        while packer.push(&row).expect("a row that fits") == Push::Full {
            total += packer.finish().len() + HEADERS_BYTES;
        }
    }
    total += packer.finish().len() + HEADERS_BYTES;
    total as f64 / (INSTANTS * 8) as f64
}

#[test]
fn a_reading_of_eight_channels_an_instant_costs_less_than_12_bytes() {
    let walk = |noise: &mut Noise, mantissa: i64| (mantissa + noise.step()).clamp(0, 65_535);
    let uniform = |noise: &mut Noise, _: i64| (noise.next() % 65_536) as i64;
    let one = ["a", "c", "d", "f", "g", "h", "i", "j"];
    let two = ["t1", "t2", "t3", "t4", "p1", "p2", "h1", "h2"];
    let mixed = ["a", "c", "d", "f", "t1", "t2", "p1", "p2"];
    for (names, aliases) in [("1", one), ("1 and 2", mixed), ("2", two)] {
        let walk = bytes_per_reading(aliases, walk);
        let uniform = bytes_per_reading(aliases, uniform);
        println!("aliases of {names} characters: {walk:.2} B a reading walking, {uniform:.2} B uniform");
        assert!(walk < 12.0 && uniform < 12.0, "{names}: {walk:.2} B and {uniform:.2} B");
    }
}

/// Bytes a reading: bodies of 100 readings of one stream at 1 Hz ± 5 ms, without any headers.
fn dense_bytes_per_reading(mut sample: impl FnMut(&mut Noise, i64) -> i64) -> f64 {
    let mut noise = Noise(0x5eed_5eed_5eed_5eed);
    let mut mantissa = (noise.next() % 65_536) as i64;
    let mut packer = ColumnsPacker::new(LIMIT_BYTES);
    let mut total = 0;
    for batch in 0..50 {
        let mut reading = |i: u64| {
            mantissa = sample(&mut noise, mantissa);
            let instant = batch * 100 + i;
            let jitter_ms = (noise.next() % 11) as i64 - 5;
            let unix_ms = 1_763_629_200_000 + instant as i64 * 1000 + jitter_ms;
            let time = RowTime::Wall { unix_ms, uncertainty_ms: 50 };
            let value = Value::Scaled { mantissa, resolution: Resolution::ONE };
            Reading { group: "g", sequence: 1_000_000 + instant, time, alias: "lv", value, quality: 0 }
        };
        let readings: Vec<Reading<'_>> = (0..100).map(&mut reading).collect();
        assert_eq!(packer.pack([1, 2, 3, 4], &readings), Ok(100));
        total += packer.message().len();
    }
    total as f64 / 5000.0
}

/// Two datagrams without a body are about 160 bytes: with the floor of 5 bytes a reading, that leaves 3.4.
#[test]
fn a_hundred_readings_of_one_stream_take_a_byte_and_a_half_each() {
    let walk = dense_bytes_per_reading(|noise, mantissa| (mantissa + noise.step()).clamp(0, 65_535));
    let uniform = dense_bytes_per_reading(|noise, _| (noise.next() % 65_536) as i64);
    println!("{walk:.2} B a reading walking, {uniform:.2} B uniform");
    assert!(walk < 1.5 && uniform < 3.0, "{walk:.2} B and {uniform:.2} B");
}
