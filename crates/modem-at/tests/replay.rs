//! A recorded line, played to the core again: it writes what it wrote then, says what it said then, and says the same each time,
//! byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use core::time::Duration;

use fieldgate_modem_at::{Command, Session, Terminator};
use proptest::prelude::*;

const RECORDED: &str = include_str!("recordings/a_bad_hour.txt");
const SAID: &str = include_str!("recordings/a_bad_hour.events");

enum Act {
    Ask(Command),
    Wrote(Vec<u8>),
    Read(Vec<u8>),
}

/// Takes a recording apart: milliseconds and acts, in order of time.
fn recorded() -> Vec<(Duration, Act)> {
    let lines = RECORDED.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let acts: Vec<_> = lines
        .map(|line| {
            let mut parts = line.splitn(3, ' ');
            let at = Duration::from_millis(parts.next().unwrap().parse().unwrap());
            let act = match (parts.next().unwrap(), parts.next().unwrap()) {
                ("ask", text) => Act::Ask(command(text)),
                (">", text) => Act::Wrote(unescaped(text)),
                ("<", text) => Act::Read(unescaped(text)),
                other => panic!("{other:?}"),
            };
            (at, act)
        })
        .collect();
    assert!(acts.windows(2).all(|pair| pair[0].0 <= pair[1].0), "in order of time");
    acts
}

fn command(text: &str) -> Command {
    match text.split_once('|') {
        Some((text, payload)) => Command::new(text).unwrap().with_payload(unescaped(payload)).unwrap(),
        None => Command::new(text).unwrap(),
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, byte == b'\\') {
            (byte, false) => byte,
            (_, true) => match rest.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("\\{}", char::from(other)),
            },
        });
    }
    bytes
}

/// Plays the recording, what was read in pieces of `cut` bytes, and gives everything the core said, a line each.
fn replayed(cut: usize) -> String {
    let mut session = Session::new(Terminator::CrLf);
    let (mut said, mut written) = (String::new(), Vec::<String>::new());
    let mut now = Duration::ZERO;
    let mut settle = |session: &mut Session, now: Duration, written: &mut Vec<String>| {
        written.extend(std::iter::from_fn(|| session.poll_transmit()).map(|bytes| wrote(now, &bytes)));
        while let Some(event) = session.poll_event() {
            // An answer that may hold an identity hides its lines by itself.
            said.push_str(&format!("{} {event:?}\n", now.as_millis()));
        }
    };
    let acts = recorded();
    let end = acts.last().map(|(at, _)| *at).unwrap();
    let mut acts = acts.into_iter().peekable();
    let mut expected = Vec::new();
    while now < end || acts.peek().is_some() {
        let due = session.poll_timeout().filter(|due| acts.peek().is_none_or(|(at, _)| due <= at));
        if let Some(due) = due {
            now = now.max(due);
            session.handle_timeout(now);
        } else if let Some((at, act)) = acts.next() {
            now = at;
            match act {
                Act::Ask(command) => drop(session.submit(now, command).unwrap()),
                Act::Wrote(bytes) => expected.push(wrote(now, &bytes)),
                Act::Read(bytes) => bytes.chunks(cut).for_each(|piece| session.handle_bytes(now, piece)),
            }
        }
        settle(&mut session, now, &mut written);
    }
    for (written, expected) in written.iter().zip(&expected) {
        assert_eq!(written, expected, "it writes what it wrote, when it wrote it");
    }
    assert_eq!(written.len(), expected.len(), "it writes as often as it did");
    said
}

fn wrote(now: Duration, bytes: &[u8]) -> String {
    format!("{} {}", now.as_millis(), bytes.escape_ascii())
}

#[test]
fn a_recording_says_what_is_written_beside_it() {
    let said = replayed(usize::MAX);
    for (index, (said, expected)) in said.lines().zip(SAID.lines()).enumerate() {
        assert_eq!(said, expected, "event {}", index + 1);
    }
    assert_eq!(said.lines().count(), SAID.lines().count(), "the events are\n{said}");
}

#[test]
fn a_recording_says_the_same_twice_byte_for_byte() {
    assert_eq!(replayed(512).into_bytes(), replayed(512).into_bytes());
}

#[test]
fn an_identity_in_a_recording_does_not_get_into_what_is_said() {
    assert!(RECORDED.contains("352656106647673"));
    assert!(!replayed(512).contains("352656106647673"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_recording_says_the_same_in_pieces_of_any_size(cut in 1usize..100) {
        prop_assert_eq!(replayed(cut), replayed(usize::MAX));
    }
}
