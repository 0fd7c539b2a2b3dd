//! The names a line is given, among them those of lines that are sampled at another speed than they are sent.

use super::*;
use crate::line::{LinePiece, Lines};
use crate::nmea::{Sentence, SentenceError};
use crate::wire::misread;
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(100);
const FIX: &[u8] = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n";

fn health(carries: Carries) -> LineHealth {
    LineHealth::new(carries, Duration::from_secs(30))
}

/// Listens to `bytes` as a line of NMEA.
fn listen(bytes: &[u8]) -> LineHealth {
    let mut health = health(Carries::Text);
    let (mut lines, mut rest) = (Lines::new(256), bytes);
    health.heard(NOW, bytes);
    while let Some(piece) = lines.next(&mut rest) {
        match piece {
            LinePiece::Overlong => health.fault(Fault::Overlong),
            LinePiece::Line(line) => match Sentence::parse(line) {
                Ok(_) => health.good(),
                Err(SentenceError::NoStart) => health.fault(Fault::Foreign),
                Err(SentenceError::Checksum { .. }) => health.fault(Fault::Checksum),
                Err(_) => health.fault(Fault::Malformed),
            },
        }
    }
    health
}

#[test]
fn a_line_read_at_its_own_speed_is_fine() {
    let sent = FIX.repeat(12);
    assert_eq!(misread(&sent, 9_600, 9_600), sent);
    let health = listen(&sent);
    assert_eq!(health.verdict(NOW), Verdict::Fine);
    assert_eq!((health.tally().good, health.tally().damaged()), (12, 0));
}

#[test]
fn a_wrong_baud_rate_is_named_whatever_the_two_rates_are() {
    let sent = FIX.repeat(30);
    let rates = [4_800, 9_600, 19_200, 38_400, 57_600, 115_200];
    for sent_at in rates {
        for heard_at in rates.into_iter().filter(|rate| *rate != sent_at) {
            let heard = misread(&sent, sent_at, heard_at);
            let health = listen(&heard);
            assert_eq!(
                health.verdict(NOW),
                Verdict::WrongSpeed,
                "{sent_at} heard at {heard_at}: {:?}",
                health.tally()
            );
        }
    }
}

#[test]
fn a_line_without_a_byte_and_one_that_fell_silent_are_told_apart() {
    let mut health = health(Carries::Text);
    assert_eq!(health.verdict(NOW), Verdict::NeverHeard);
    health.heard(NOW, FIX);
    health.good();
    assert_eq!(health.verdict(NOW + Duration::from_secs(30)), Verdict::Fine);
    assert_eq!(health.verdict(NOW + Duration::from_secs(31)), Verdict::Silent(Duration::from_secs(31)));
}

#[test]
fn flipped_bits_make_a_line_noisy() {
    let mut sent = FIX.repeat(20);
    for damaged in 0..4 {
        sent[damaged * FIX.len() + 20] ^= 1;
    }
    let verdict = listen(&sent).verdict(NOW);
    assert_eq!(verdict, Verdict::Noisy(20));
    assert!(verdict.words().contains("termination"));
}

#[test]
fn readable_lines_of_another_format_are_named_so() {
    assert_eq!(listen(&b"{\"t\":21.5,\"h\":40}\r\n".repeat(8)).verdict(NOW), Verdict::OtherFormat);
}

#[test]
fn text_with_letters_beyond_ascii_is_text() {
    let degrees = "T=21.5\u{b0}C \u{3b5}=3\r\n".repeat(8);
    assert_eq!(listen(degrees.as_bytes()).verdict(NOW), Verdict::OtherFormat);
}

#[test]
fn text_without_an_end_is_named_so() {
    assert_eq!(listen(&b"t=21.5;".repeat(200)).verdict(NOW), Verdict::NoEnds);
}

#[test]
fn a_few_bytes_are_no_reason_for_a_verdict() {
    assert_eq!(listen(b"\xff\xf8G").verdict(NOW), Verdict::Listening);
}

#[test]
fn binary_frames_of_which_none_is_whole_are_unreadable_and_never_called_text() {
    let mut health = health(Carries::Frames);
    health.heard(NOW, &[0x80; 200]);
    assert_eq!(health.verdict(NOW), Verdict::NoEnds);
    (0..5).for_each(|_| health.fault(Fault::Checksum));
    assert_eq!(health.verdict(NOW), Verdict::Unreadable);
}

#[test]
fn a_line_that_was_repaired_is_soon_called_fine() {
    let mut health = listen(&misread(&FIX.repeat(60), 9_600, 115_200));
    assert_eq!(health.verdict(NOW), Verdict::WrongSpeed);
    for _ in 0..400 {
        health.heard(NOW, FIX);
        health.good();
    }
    assert_eq!(health.verdict(NOW), Verdict::Fine);
    assert!(health.tally().odd_bytes > 1_000, "the books keep what was");
}

proptest! {
    #[test]
    fn any_bytes_get_a_name_and_are_all_counted(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let health = listen(&bytes);
        prop_assert_eq!(health.tally().bytes, bytes.len() as u64);
        prop_assert!(!health.verdict(NOW).words().is_empty());
        prop_assert!(!health.verdict(NOW).name().is_empty());
    }
}
