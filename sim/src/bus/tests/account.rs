//! Which values are counted, and when.

use super::*;

#[test]
fn each_answer_carries_the_next_counter_of_each_point_it_holds_whole() {
    let mut bench = Bench::new(three_slaves());
    for n in 1..=5_u64 {
        let words = decode(&bench.read(17, 4, 0, 7), 17, 4).unwrap();
        let level = f64::from(u32::from(words[0]) << 16 | u32::from(words[1]));
        let fills = f64::from(u32::from(words[3]) << 16 | u32::from(words[4]));
        let ledger = bench.bus.ledger();
        assert_eq!(ledger.point(17, "level").unwrap().function.wire_counter(level), Some(n));
        assert_eq!(ledger.point(17, "level").unwrap().function.value(n), level);
        assert_eq!(fills, n as f64);
    }
    assert_eq!(bench.produced(17, "level"), 5);
    assert_eq!(bench.produced(17, "temperature"), 5);
    // level, temperature, fills, volume.
    assert_eq!(bench.bus.ledger().produced(), 20);
}

#[test]
fn half_a_point_is_not_a_value() {
    let mut bench = Bench::new(three_slaves());
    let whole = decode(&bench.read(17, 4, 3, 2), 17, 4).unwrap();
    assert_eq!(
        decode(&bench.read(17, 4, 4, 1), 17, 4),
        Some(vec![whole[1]]),
        "the latest value's second word"
    );
    assert_eq!(bench.produced(17, "fills"), 1);
}
