//! Answers as chronyd 4.3 gave them on loopback, and what must not be believed.

use proptest::prelude::*;

use super::Server::{Chrony, Ntp};
use super::*;

const NONCE: u64 = 0x0102_0304_0506_0708;

/// `chronyc tracking` said of it: stratum 4, 2026-11-20 15:22:06.044473883, 1.408 us fast, delay 5.762 us.
const TRACKING: &str = "060200000021000500000000000000000807060500000000000000007f0000017f000001000000000000000000000000\
                        0001000000040000000000006b00659e02a69e1bdd433096d69a26fdd6eec0d3facd34b1f69f9d7ffce90adee0c15734\
                        de89591e048252d2";
/// The same moment, asked in NTP.
const SERVED: &str =
    "240400e600000001000000017f000001eeaae41e0b62a3f10102030405060708eeaae41fc8730705eeaae41fc87442ac";
/// A second after its start: it follows nobody yet.
const FRESH: [&str; 2] = [
    "0602000000210005000000000000000008070605000000000000000000000000000000000000000000000000000000000000000000000003\
     000000000000000000000000000000000000000000000000000000000000000000000000048000000480000000000000",
    "e40000e600000010000000100000000000000000000000000000000102030405060708eeaae4137977e1d3eeaae4137978f23e",
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

const SYNCHRONISED: Synchronised = Synchronised { at_unix_ms: 1_795_188_126_044, uncertainty_ms: 50 };
const SERVED_AT: i64 = 1_795_188_127_783;

#[test]
fn a_daemon_that_follows_a_server_tells_when_it_last_did_and_how_well() {
    let told = |served_unix_ms| Some(Answer { newest: SYNCHRONISED, served_unix_ms });
    assert_eq!(Chrony.answer(NONCE, &bytes(TRACKING)), told(None));
    assert_eq!(Ntp.answer(NONCE, &bytes(SERVED)), told(Some(SERVED_AT)));
}

#[test]
fn a_chronyd_whose_seconds_have_no_high_half_is_believed_as_one_whose_seconds_have() {
    let mut answer = bytes(TRACKING);
    answer[56..60].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    assert_eq!(Chrony.answer(NONCE, &answer).map(|it| it.newest), Some(SYNCHRONISED));
}

#[test]
fn a_server_is_about_a_clock_that_says_what_it_serves_within_what_is_uncertain_and_no_other() {
    let answer = Ntp.answer(NONCE, &bytes(SERVED)).unwrap();
    for off in [0, 550, -550] {
        assert!(answer.is_about(SERVED_AT + off), "{off}");
    }
    for off in [551, -551, 3_600_000, i64::MIN / 2] {
        assert!(!answer.is_about(SERVED_AT + off), "{off}");
    }
    // Nothing served: 1900, or the year it begins anew.
    let mut silent = bytes(SERVED);
    silent[40..48].fill(0);
    assert!(!Ntp.answer(NONCE, &silent).unwrap().is_about(SERVED_AT));
    assert!(Chrony.answer(NONCE, &bytes(TRACKING)).unwrap().is_about(0), "it tells of the clock it sets");
}

#[test]
fn a_daemon_that_follows_nobody_yet_tells_nothing() {
    for (server, hex) in Server::ALL.into_iter().zip(FRESH) {
        assert_eq!(server.answer(NONCE, &bytes(hex)), None, "{server:?}");
    }
}

#[test]
fn a_daemon_that_follows_its_own_clock_tells_nothing() {
    for (server, hex, at) in [(Chrony, TRACKING, 28), (Ntp, SERVED, 12)] {
        for reference in [[127, 127, 1, 1], [127, 127, 1, 0], *b"LOCL"] {
            let mut answer = bytes(hex);
            answer[at..at + 4].copy_from_slice(&reference);
            assert_eq!(server.answer(NONCE, &answer), None, "{server:?} {reference:?}");
        }
    }
}

#[test]
fn an_answer_to_another_question_is_none() {
    for (server, hex) in [(Chrony, TRACKING), (Ntp, SERVED)] {
        assert_eq!(server.answer(NONCE + 1, &bytes(hex)), None);
        assert_eq!(server.answer(NONCE, &server.question(NONCE)), None, "a question is no answer");
    }
}

#[test]
fn what_may_be_off_by_too_much_is_none_and_less_is_told_with_the_answer() {
    let mut answer = bytes(SERVED);
    // Root delay two seconds, dispersion a quarter of one.
    answer[4..8].copy_from_slice(&(2u32 << 16).to_be_bytes());
    answer[8..12].copy_from_slice(&(1u32 << 14).to_be_bytes());
    assert_eq!(Ntp.answer(NONCE, &answer).map(|it| it.newest.uncertainty_ms), Some(1250));
    answer[8..12].copy_from_slice(&(16u32 << 16).to_be_bytes());
    assert_eq!(Ntp.answer(NONCE, &answer), None);
}

#[test]
fn chronys_floats_are_read_as_chronyc_prints_them() {
    for (bits, printed) in [(0xdd43_3096, -0.000_001_407), (0xfacd_34b1, 0.050), (0xe0c1_5734, 0.000_005_762)]
    {
        let off = (chrony_float(bits) - printed).abs();
        assert!(off < 0.01 * printed.abs(), "{bits:x} is {}, not {printed}", chrony_float(bits));
    }
}

#[test]
fn a_count_that_began_anew_is_of_the_next_era() {
    let mut answer = bytes(SERVED);
    answer[16..20].copy_from_slice(&1u32.to_be_bytes());
    // 2036-02-07T06:28:17Z.
    assert_eq!(Ntp.answer(NONCE, &answer).map(|it| it.newest.at_unix_ms / 1000), Some(2_085_978_497));
}

proptest! {
    #[test]
    fn whatever_comes_is_refused_or_within_the_bounds(
        chrony in any::<bool>(), cut in 0..110_usize, spoilt in prop::collection::vec((0..104_usize, any::<u8>()), 0..8),
    ) {
        let (server, hex) = if chrony { (Chrony, TRACKING) } else { (Ntp, SERVED) };
        let mut answer = bytes(hex);
        for (at, byte) in spoilt {
            if let Some(place) = answer.get_mut(at) {
                *place = byte;
            }
        }
        let whole = answer.len() <= cut;
        answer.truncate(cut);
        if let Some(told) = server.answer(NONCE, &answer) {
            prop_assert!(whole, "half an answer is none");
            prop_assert!((50..=16_000).contains(&told.newest.uncertainty_ms));
        }
    }
}
