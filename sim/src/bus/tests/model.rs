//! Any steps, against a client that keeps its own account.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Read { unit: u8, address: u16, count: u16 },
    Bytes(Vec<u8>),
    Fault(Fault, When),
    Clear,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let unit = prop_oneof![Just(17_u8), Just(18), Just(19), Just(20)];
    let fault = prop_oneof![
        Just(Fault::Silent),
        (0..3000_u64).prop_map(|ms| Fault::Late(Duration::from_millis(ms))),
        Just(Fault::BadCrc),
        Just(Fault::FlippedBit),
        (0..20_usize).prop_map(Fault::Truncated),
        (0..20_usize).prop_map(Fault::NoiseBefore),
        (0..20_usize).prop_map(Fault::NoiseInto),
        Just(Fault::Exception(ExceptionCode::ServerDeviceFailure)),
    ];
    let when =
        prop_oneof![Just(When::Always), (0..3_u32).prop_map(When::Next), (0..4_u32).prop_map(When::OneIn)];
    prop_oneof![
        6 => (unit, 0..10_u16, 0..9_u16).prop_map(|(unit, address, count)| Step::Read { unit, address, count }),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Step::Bytes),
        2 => (fault, when).prop_map(|(fault, when)| Step::Fault(fault, when)),
        2 => Just(Step::Clear),
        2 => (0..2000_u16).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn any_bytes_in_any_chunks_give_the_same_answers(
        seed: u64, bursts in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..60), 0..4_usize, 1..9_usize), 0..12),
    ) {
        let run = |chunked: bool| {
            let mut bench = Bench { bus: SimBus::new(three_slaves(), 9600, seed).unwrap(), now: Duration::ZERO };
            let mut said = Vec::new();
            for (junk, requests, size) in &bursts {
                let mut bytes = junk.clone();
                for n in 0..*requests {
                    bytes.extend(read_frame(17 + n as u8, 4, 0, 2));
                }
                for chunk in bytes.chunks(if chunked { *size } else { bytes.len().max(1) }) {
                    bench.send(chunk);
                }
                said.extend(bench.listen());
            }
            (said, bench.bus.ledger())
        };
        prop_assert_eq!(run(false), run(true));
    }

    #[test]
    fn the_ledger_is_what_a_careful_client_decoded(seed: u64, steps in proptest::collection::vec(step(), 1..80)) {
        let mut bench = Bench { bus: SimBus::new(three_slaves(), 19_200, seed).unwrap(), now: Duration::ZERO };
        // What the client saw of each 32-bit point of the tank and the weather station: counters in order.
        let mut seen: std::collections::BTreeMap<(u8, String), Vec<u64>> = std::collections::BTreeMap::new();
        for step in steps {
            match step {
                Step::Read { unit, address, count } => {
                    let function = if unit == 18 { 3 } else { 4 };
                    bench.send(&read_frame(unit, function, address, count));
                    for (_, frame) in bench.listen() {
                        let Some(words) = decode(&frame, unit, function) else { continue };
                        prop_assert_eq!(words.len(), usize::from(count));
                        note(&mut seen, &bench, unit, address, &words);
                    }
                }
                Step::Bytes(bytes) => { bench.send(&bytes); bench.listen(); }
                Step::Fault(fault, when) => for unit in 17..=19 {
                    let _ = bench.bus.set_fault(unit, fault, when);
                },
                Step::Clear => for unit in 17..=19 { bench.bus.clear_faults(unit).unwrap(); },
                Step::Wait(ms) => bench.now += MS * u32::from(ms),
            }
        }
        for slave in &bench.bus.ledger().slaves {
            prop_assert_eq!(slave.waiting, 0);
            prop_assert_eq!(slave.requests, slave.answered + slave.exceptions + slave.broken + slave.unanswered);
            for point in slave.points.iter().filter(|p| p.counted) {
                let counters = seen.remove(&(slave.unit, point.name.clone())).unwrap_or_default();
                prop_assert_eq!(counters, (1..=point.produced).collect::<Vec<_>>(), "{} {}", &slave.name, &point.name);
                prop_assert_eq!(point.overtaken, 0);
            }
        }
        prop_assert!(seen.is_empty());
    }
}

/// The client's register map, written out a second time on purpose: the constructor's layout is a promise.
const MAP: &[(u8, &str, u16, Encoding, WordOrder)] = &[
    (17, "level", 0, Encoding::I32, WordOrder::Abcd),
    (17, "temperature", 2, Encoding::I16, WordOrder::Abcd),
    (17, "fills", 3, Encoding::U32, WordOrder::Abcd),
    (17, "volume", 5, Encoding::I32, WordOrder::Abcd),
    (18, "starts", 0, Encoding::U32, WordOrder::Cdab),
    (18, "flow", 2, Encoding::I32, WordOrder::Cdab),
    (18, "power", 4, Encoding::F32, WordOrder::Cdab),
    (18, "winding", 6, Encoding::U16, WordOrder::Abcd),
    (18, "hours", 7, Encoding::U32, WordOrder::Cdab),
    (19, "rain", 0, Encoding::U32, WordOrder::Dcba),
    (19, "wind", 2, Encoding::U32, WordOrder::Abcd),
    (19, "pressure", 4, Encoding::I32, WordOrder::Badc),
    (19, "humidity", 6, Encoding::U16, WordOrder::Abcd),
    (19, "gusts", 7, Encoding::U16, WordOrder::Abcd),
];

fn note(
    seen: &mut std::collections::BTreeMap<(u8, String), Vec<u64>>,
    bench: &Bench,
    unit: u8,
    address: u16,
    words: &[u16],
) {
    let ledger = bench.bus.ledger();
    for (_, name, first, encoding, order) in MAP.iter().filter(|entry| entry.0 == unit) {
        let width = usize::from(encoding.registers());
        let Some(at) = first.checked_sub(address).map(usize::from) else { continue };
        let Some(words) = words.get(at..at + width) else { continue };
        let value = match *words {
            [one] => f64::from(one),
            [one, two] => {
                let ([p, q], [r, s]) = (one.to_be_bytes(), two.to_be_bytes());
                let bits = u32::from_be_bytes(match order {
                    WordOrder::Abcd => [p, q, r, s],
                    WordOrder::Cdab => [r, s, p, q],
                    WordOrder::Badc => [q, p, s, r],
                    WordOrder::Dcba => [s, r, q, p],
                });
                if *encoding == Encoding::F32 { f64::from(f32::from_bits(bits)) } else { f64::from(bits) }
            }
            _ => panic!("no point is wider than two registers"),
        };
        let point = ledger.point(unit, name).unwrap();
        let counter = point.function.wire_counter(value).unwrap();
        assert_eq!(point.function.value(counter), value, "{name}");
        seen.entry((unit, (*name).to_owned())).or_default().push(counter);
    }
}
