//! Columns under any input: every reading comes back exactly as it was, in messages that are never too long; and no bytes
//! bring a decoder down.

use fieldgate_golioth_proto::columns::{ColumnsPacker, MAX_CELLS, Reading, decode_columns};
use fieldgate_golioth_proto::rows::{MAX_BATCH_BYTES, Resolution, RowTime, UNSTATED_UNCERTAINTY_MS, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const EPOCH: [u8; 4] = [9, 8, 7, 6];

/// What a stream tends to say.
#[derive(Clone, Debug)]
enum Habit {
    Walk { resolution: Resolution, from: i64, by: i64 },
    Anything { resolution: Resolution },
    Floats { single: bool },
    Switch,
    Words,
    Changing,
}

#[derive(Clone, Debug)]
struct Stream {
    alias: String,
    habit: Habit,
    /// Of 16 instants: not heard; heard without a value; with a quality.
    absent: u16,
    missing: u16,
    doubted: u16,
}

#[derive(Clone, Debug)]
struct Group {
    name: String,
    streams: Vec<Stream>,
    boot: Option<u64>,
    start: (u64, i64),
    uncertainty_ms: u32,
    /// Of each instant: by how much the sequence and the time go on, and noise for its values.
    instants: Vec<(u64, i64, i64)>,
}

fn resolutions() -> impl Strategy<Value = Resolution> {
    prop_oneof![
        (-18i8..=18).prop_map(|exponent| Resolution::decimal(exponent).expect("within bounds")),
        (1u32.., 1u32..).prop_map(|(n, d)| Resolution::rational(n, d).expect("not zero")),
    ]
}

fn habits() -> impl Strategy<Value = Habit> {
    prop_oneof![
        (resolutions(), -70_000i64..70_000, 0i64..30).prop_map(|(resolution, from, by)| Habit::Walk {
            resolution,
            from,
            by
        }),
        resolutions().prop_map(|resolution| Habit::Anything { resolution }),
        any::<bool>().prop_map(|single| Habit::Floats { single }),
        Just(Habit::Switch),
        Just(Habit::Words),
        Just(Habit::Changing),
    ]
}

/// Seldom, so that runs are sparse; or anything.
fn masks() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), (0u32..16).prop_map(|bit| 1 << bit), any::<u16>()]
}

fn groups() -> impl Strategy<Value = Vec<Group>> {
    let stream = ("[a-z][0-9a-z]{1,6}", habits(), masks(), masks(), masks()).prop_map(
        |(alias, habit, absent, missing, doubted)| Stream {
            alias: format!("x{alias}"),
            habit,
            absent,
            missing,
            doubted,
        },
    );
    let times = prop_oneof![
        4 => 995i64..=1005,
        1 => any::<i64>(),
    ];
    let holes = prop_oneof![8 => Just(1u64), 1 => 2u64..50, 1 => any::<u64>()];
    let instants = vec((holes, times, any::<i64>()), 1..60);
    let group = (
        vec(stream, 1..5),
        proptest::option::of(0u64..=u64::from(u32::MAX)),
        (any::<u64>(), prop_oneof![Just(1_795_132_800_000), any::<i64>()]),
        prop_oneof![Just(20u32), any::<u32>()],
        instants,
    );
    vec(group, 1..4).prop_map(|groups| {
        let named = |(n, (streams, boot, start, uncertainty_ms, instants))| Group {
            name: format!("g{n}"),
            streams,
            boot,
            start,
            uncertainty_ms,
            instants,
        };
        groups.into_iter().enumerate().map(named).collect()
    })
}

const WORDS: [&str; 4] = ["", "running", "Störung", "\u{1F6B1}"];

impl Group {
    /// Its readings, instant by instant.
    fn readings(&self) -> Vec<Vec<Reading<'_>>> {
        let (mut sequence, mut ms) = self.start;
        let mut told = Vec::new();
        for (place, (hole, later, noise)) in self.instants.iter().enumerate() {
            sequence = sequence.wrapping_add(*hole);
            ms = ms.wrapping_add(*later);
            let time = match self.boot {
                Some(boot) => RowTime::Boot { boot, mono_ms: ms.cast_unsigned() },
                None => RowTime::Wall { unix_ms: ms, uncertainty_ms: self.uncertainty_ms },
            };
            let is = |mask: u16| mask >> (place % 16) & 1 == 1;
            let heard = self.streams.iter().filter(|stream| !is(stream.absent));
            let readings = heard.map(|stream| {
                let Stream { alias, habit, missing, doubted, .. } = stream;
                let value = if is(*missing) { Value::Missing } else { habit.value(place, *noise) };
                let quality = if is(*doubted) { (*noise & 0xff) as u8 } else { 0 };
                Reading { group: &self.name, sequence, time, alias, value, quality }
            });
            told.push(readings.collect());
        }
        told
    }
}

impl Habit {
    fn value(&self, place: usize, noise: i64) -> Value<'static> {
        let float = |single: bool| {
            let single_value = f32::from_bits(noise as u32);
            let double = f64::from_bits(noise.cast_unsigned());
            match (single, single_value.is_finite(), double.is_finite()) {
                (true, true, _) => f64::from(single_value),
                (false, _, true) => double,
                _ => -0.0,
            }
        };
        match self {
            Self::Walk { resolution, from, by } => {
                let mantissa = from + by * place as i64 + noise % (by + 1);
                Value::Scaled { mantissa, resolution: *resolution }
            }
            Self::Anything { resolution } => Value::Scaled { mantissa: noise, resolution: *resolution },
            Self::Floats { single } => Value::Float(float(*single)),
            Self::Switch => Value::Bool(noise & 4 == 0),
            Self::Words => Value::Text(WORDS[(noise & 3) as usize]),
            Self::Changing => match noise & 7 {
                0 => Value::Bool(true),
                1 => Value::Text(WORDS[place % 4]),
                2 => Value::Float(float(false)),
                3 => Value::Scaled { mantissa: noise, resolution: Resolution::ONE },
                _ => Value::Integer(noise),
            },
        }
    }
}

/// A reading as the wire can tell it.
fn told(alias: &str, sequence: u64, time: RowTime, value: Value<'_>, quality: u8) -> String {
    let time = match time {
        RowTime::Wall { unix_ms, uncertainty_ms } => {
            RowTime::Wall { unix_ms, uncertainty_ms: uncertainty_ms.max(UNSTATED_UNCERTAINTY_MS) }
        }
        boot => boot,
    };
    let value = match value {
        Value::Integer(mantissa) => Value::Scaled { mantissa, resolution: Resolution::ONE },
        other => other,
    };
    format!("{alias} {sequence} {time:?} {value:?} {quality}")
}

/// Instants of all groups in turn, as a queue has them.
fn interleaved(groups: &[Group]) -> Vec<Reading<'_>> {
    let mut each: Vec<_> = groups.iter().map(|group| group.readings().into_iter()).collect();
    let mut all = Vec::new();
    loop {
        let round: Vec<_> = each.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            return all;
        }
        all.extend(round.into_iter().flatten());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_reading_comes_back_exactly_and_no_message_is_too_long(groups in groups(), limit in 120usize..1200) {
        let readings = interleaved(&groups);
        let mut packer = ColumnsPacker::new(limit);
        let mut at = 0;
        while at < readings.len() {
            let count = packer.pack(EPOCH, &readings[at..]).expect("readings that can be sent");
            prop_assert!(count > 0, "the first fits");
            prop_assert!(packer.message().len() <= limit.min(MAX_BATCH_BYTES));
            let batch = decode_columns(packer.message()).expect("a message");
            prop_assert_eq!(batch.epoch_prefix, EPOCH);
            let mut sent: Vec<String> = readings[at..at + count]
                .iter()
                .map(|r| told(r.alias, r.sequence, r.time, r.value, r.quality))
                .collect();
            let mut came: Vec<String> = batch
                .instants
                .iter()
                .flat_map(|i| i.values.iter().map(|v| told(v.alias, i.sequence, i.time, v.value, v.quality)))
                .collect();
            sent.sort_unstable();
            came.sort_unstable();
            prop_assert_eq!(came, sent);
            at += count;
        }
    }

    /// Almost as many as fit: more than a sixteenth beyond what was packed would not have fitted.
    #[test]
    fn a_message_is_filled(noise in vec(any::<u16>(), 1500), bits in 0u32..16) {
        let readings: Vec<Reading<'_>> = noise
            .iter()
            .enumerate()
            .map(|(i, noise)| Reading {
                group: "g",
                sequence: i as u64,
                time: RowTime::Wall { unix_ms: i as i64 * 1000 + i64::from(noise % 11), uncertainty_ms: 0 },
                alias: "a",
                value: Value::Integer(i64::from(noise >> bits)),
                quality: 0,
            })
            .collect();
        let mut packer = ColumnsPacker::new(600);
        let count = packer.pack(EPOCH, &readings).expect("readings");
        if count < readings.len() {
            let mut whole = ColumnsPacker::new(MAX_BATCH_BYTES);
            let more = count + count / 16 + 1;
            prop_assert_eq!(whole.pack(EPOCH, &readings[..more]), Ok(more));
            prop_assert!(whole.message().len() > 600, "{} of {} readings in {}", more, count, whole.message().len());
        }
    }

    /// Decoders are handed anything; what they take is bounded by the format.
    #[test]
    fn noise_is_a_bounded_message_or_an_error(tables in vec(any::<u8>(), 0..120), noise in vec(any::<u8>(), 0..120)) {
        let mut message = vec![0x83, 0x01, 0x44, 1, 2, 3, 4, 0x58, tables.len() as u8];
        message.extend_from_slice(&tables);
        for document in [&message, &noise] {
            if let Ok(batch) = decode_columns(document) {
                let values: usize = batch.instants.iter().map(|instant| instant.values.len()).sum();
                prop_assert!(values <= MAX_CELLS && batch.instants.len() <= MAX_CELLS);
                prop_assert!(batch.instants.iter().all(|instant| !instant.values.is_empty()));
            }
        }
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(groups in groups(), changes in vec((any::<Index>(), any::<u8>()), 1..4)) {
        let readings = interleaved(&groups);
        let mut packer = ColumnsPacker::new(MAX_BATCH_BYTES);
        prop_assume!(packer.pack(EPOCH, &readings).expect("readings") > 0);
        let sound = packer.message().to_vec();
        let mut damaged = sound.clone();
        for (place, byte) in changes {
            let place = place.index(damaged.len());
            damaged[place] = byte;
        }
        if let Ok(batch) = decode_columns(&damaged) {
            prop_assert!(batch.instants.len() <= MAX_CELLS);
        }
        for length in 0..sound.len().min(40) {
            prop_assert!(decode_columns(&sound[..length]).is_err());
        }
    }
}
