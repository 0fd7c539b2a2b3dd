//! Every conversation and every line recorded or documented for these modems, as it stands in its source: understood line by
//! line, in either framing, in whichever pieces it arrives, and the same each time.
//!
//! A transcript holds commands with their answers (`> command < line / OK`, or `command -> line / OK ; ...`) and reports
//! (`< line` alone, or `URC line`). What the core makes of it is written down beside it, one line for each event.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use core::time::Duration;

use fieldgate_modem_at as at;
use fieldgate_modem_at::{Command, CommandDone, Event, Fields, Form, Session, Terminator};
use proptest::prelude::*;

/// Name, what was said, and what it means.
const TRANSCRIPTS: [(&str, &str, &str); 5] = [
    ("roaming", include_str!("transcripts/roaming.txt"), include_str!("transcripts/roaming.events")),
    ("no_sim", include_str!("transcripts/no_sim.txt"), include_str!("transcripts/no_sim.events")),
    ("thingy", include_str!("transcripts/thingy.txt"), include_str!("transcripts/thingy.events")),
    ("navigation", include_str!("transcripts/navigation.txt"), include_str!("transcripts/navigation.events")),
    ("lines", include_str!("transcripts/lines.txt"), include_str!("transcripts/lines.events")),
];

#[test]
fn every_transcript_means_what_is_written_beside_it() {
    for (name, said, meant) in TRANSCRIPTS {
        assert!(meant.lines().count() > 3, "{name}");
        let heard = play(said, Framing::Modem, 4096);
        for (line, (heard, meant)) in heard.lines().zip(meant.lines()).enumerate() {
            assert_eq!(heard, meant, "{name}, line {}", line + 1);
        }
        assert_eq!(heard.lines().count(), meant.lines().count(), "{name}: the events are\n{heard}");
    }
}

#[test]
fn neither_framing_nor_pieces_nor_echo_change_the_meaning() {
    for (name, said, _) in TRANSCRIPTS {
        let reference = play(said, Framing::Modem, 4096);
        for framing in [Framing::Modem, Framing::Application, Framing::Echoing] {
            for cut in [1, 2, 3, 7, 64] {
                assert_eq!(play(said, framing, cut), reference, "{name} {framing:?} in pieces of {cut}");
            }
        }
    }
}

#[test]
fn nothing_said_in_a_transcript_is_noise_or_without_a_meaning() {
    for (name, said, _) in TRANSCRIPTS {
        for event in play(said, Framing::Application, 4096).lines() {
            assert!(!event.contains("Noise"), "{name}: {event}");
            // The indicators of the modem's own keys have no meaning for a gateway: they are kept as they came.
            assert!(!event.contains("Other(") || event.contains("+CIND"), "{name}: {event}");
        }
    }
}

/// The terminators of both generations; nothing a session sends depends on what is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// `line CR LF`, as plain AT firmware writes it.
    Modem,
    /// `CR LF line CR LF`, a blank line before the final result.
    Application,
    /// As the application, and every command repeated first.
    Echoing,
}

enum Turn<'a> {
    Exchange { command: &'a str, answer: Vec<&'a str> },
    Report(&'a str),
}

/// Takes a transcript apart, in either notation.
fn turns(said: &str) -> Vec<Turn<'_>> {
    let mut turns = Vec::new();
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(command) = line.strip_prefix("> ") {
            let (command, answer) = command.split_once(" < ").unwrap();
            turns.push(Turn::Exchange { command: command.trim(), answer: answer.split(" / ").collect() });
            continue;
        }
        if let Some(report) = line.trim_start().strip_prefix("< ") {
            turns.push(Turn::Report(report));
            continue;
        }
        for part in line.split(" ; ") {
            let mut answer = Vec::new();
            let mut reports = Vec::new();
            let (command, rest) = part.split_once(" -> ").map_or((None, part), |(c, rest)| (Some(c), rest));
            for said in rest.split(" / ") {
                match said.trim_end_matches(" ;").strip_prefix("URC ") {
                    Some(report) => reports.push(report),
                    None => answer.push(said.trim_end_matches(" ;")),
                }
            }
            if let Some(command) = command {
                if !answer.last().is_some_and(|last| is_final(last)) {
                    answer.push("OK");
                }
                turns.push(Turn::Exchange { command, answer });
            } else {
                assert_eq!(answer, [""; 0], "a line that is neither: {line}");
            }
            turns.extend(reports.into_iter().map(Turn::Report));
        }
    }
    turns
}

fn is_final(line: &str) -> bool {
    matches!(line, "OK" | "ERROR" | "CONNECT")
        || line.starts_with("+CME ERROR:")
        || line.starts_with("+CMS ERROR:")
}

/// What goes over the wire for `lines`.
fn framed(lines: &[&str], command: Option<&str>, framing: Framing) -> String {
    let mut wire = String::new();
    if framing == Framing::Echoing
        && let Some(command) = command
    {
        wire.push_str(command);
        wire.push_str("\r\n");
    }
    for (index, line) in lines.iter().enumerate() {
        if framing != Framing::Modem && (index == 0 || is_final(line)) {
            wire.push_str("\r\n");
        }
        wire.push_str(line);
        wire.push_str("\r\n");
    }
    wire
}

/// A session that has asked `AT` and heard `OK`.
fn in_step() -> (Session, Duration) {
    let mut session = Session::new(Terminator::CrLf);
    session.submit(Duration::ZERO, Command::attention()).unwrap();
    assert_eq!(session.poll_transmit().as_deref(), Some(b"AT\r\n".as_slice()));
    session.handle_bytes(Duration::ZERO, b"OK\r\n");
    // The quiet moment after it is over: the command itself goes out.
    let now = session.poll_timeout().unwrap();
    session.handle_timeout(now);
    assert_eq!(session.poll_transmit().as_deref(), Some(b"AT\r\n".as_slice()));
    session.handle_bytes(now, b"OK\r\n");
    assert!(matches!(session.poll_event(), Some(Event::CommandDone(_))));
    (session, now)
}

/// Plays a transcript against a session that is in step, and writes down every event.
fn play(said: &str, framing: Framing, cut: usize) -> String {
    let (mut session, now) = in_step();
    let mut out = String::new();
    for turn in turns(said) {
        let (command, lines) = match &turn {
            Turn::Exchange { command, answer } => (Some(*command), answer.as_slice()),
            Turn::Report(report) => (None, std::slice::from_ref(report)),
        };
        if let Some(command) = command {
            session.submit(now, Command::new(command).unwrap()).unwrap();
            let wire = session.poll_transmit().unwrap();
            assert_eq!(wire, format!("{command}\r\n").as_bytes());
        }
        for piece in framed(lines, command, framing).as_bytes().chunks(cut) {
            session.handle_bytes(now, piece);
        }
        while let Some(event) = session.poll_event() {
            let text = match (&event, command) {
                (Event::CommandDone(done), Some(command)) => told(command, done),
                (Event::Urc(urc), _) => format!("{urc:?}"),
                _ => format!("{event:?}"),
            };
            out.push_str(&text);
            out.push('\n');
        }
    }
    out
}

/// A command's end, with its data lines decoded.
fn told(command: &str, done: &CommandDone) -> String {
    let result = match &done.result {
        Ok(success) => format!("{success:?}"),
        Err(error) => error.to_string(),
    };
    let lines: Vec<String> = done.lines.iter().map(|line| format!("; {}", decoded(command, line))).collect();
    format!("{command}: {result}{}", lines.concat())
}

/// The line as its decoder understands it. Every data line of every transcript has one.
fn decoded(command: &str, line: &str) -> String {
    macro_rules! show {
        ($decoder:expr) => {
            format!("{:?}", $decoder(line).unwrap())
        };
    }
    let parsed = Command::new(command).unwrap();
    match (parsed.name(), parsed.form()) {
        ("+CGMI", _) => show!(at::manufacturer),
        ("+CGMM", _) => show!(at::model),
        ("+CGMR", _) => show!(at::revision),
        ("+CGSN", Form::Action) => show!(at::imei_bare),
        ("+CGSN", Form::Set) => show!(at::imei),
        ("+CIMI", _) => show!(at::imsi),
        ("+CRSM", _) => show!(at::iccid_of_file),
        ("%XICCID", _) => show!(at::iccid),
        ("%HWVERSION", _) => show!(at::hardware_version),
        ("%SHORTSWVER", _) => show!(at::short_version),
        ("%XMODEMUUID", _) => show!(at::firmware_uuid),
        ("+CFUN", Form::Read) => show!(at::FunctionalMode::parse),
        ("%XSYSTEMMODE", _) => show!(at::SystemMode::parse),
        ("+CEREG", _) => show!(at::Registration::parse_read),
        ("+COPS", Form::Read) => show!(at::Operator::parse),
        ("+COPS", Form::Test) => show!(at::parse_scan),
        ("+CESQ", _) => show!(at::Signal::parse),
        ("%XMONITOR", _) => show!(at::Monitor::parse),
        ("%CONEVAL", _) => show!(at::ConnectionEvaluation::parse),
        ("%XVBAT", _) => show!(at::parse_voltage),
        ("%XTEMP", _) => show!(at::parse_temperature),
        ("%XSIM", _) => show!(at::SimState::parse),
        ("+CPIN", _) => show!(at::PinState::parse),
        ("+CPINR", _) => show!(at::PinRetries::parse),
        ("%XCBAND", Form::Action) => show!(at::current_band),
        ("%XCBAND", Form::Test) if line.contains("...") => {
            format!("not a list: {}", at::supported_bands(line).unwrap_err())
        }
        ("%XCBAND", Form::Test) => show!(at::supported_bands),
        ("+CEDRXRDP", _) => show!(at::Edrx::parse),
        ("+CCLK", _) => show!(at::ClockReading::parse),
        ("%CCLK", _) => show!(at::ClockReading::parse_with_daylight_saving),
        ("+CGDCONT", _) => show!(at::PdnContext::parse),
        ("+CGPADDR", _) => show!(at::PdnAddress::parse),
        ("+CGACT", _) => show!(at::PdnState::parse),
        ("%XCONNSTAT", _) => show!(at::ConnectionStatistics::parse),
        ("%CMNG", _) => show!(at::Credential::parse),
        ("#XFOTA", _) => show!(at::UpdateArea::parse),
        ("#XMODEMRESET", _) => show!(at::ModemReset::parse),
        ("#XGNSS", _) => show!(|line| Ok::<_, ()>(at::ApplicationReport::parse(line))),
        ("#XSMVER", _) => show!(|line| Fields::of(line, "#XSMVER").map(|fields| fields.from(0).len())),
        // Numbers, or groups of numbers, without more to them.
        (name @ ("+CMEE" | "+CEMODE" | "+CGSN" | "+CFUN" | "+IPR" | "#XSLEEP"), _) => {
            let name =
                ["+CMEE", "+CEMODE", "+CGSN", "+CFUN", "+IPR", "#XSLEEP"].into_iter().find(|it| *it == name);
            let fields = Fields::of(line, name.unwrap()).unwrap();
            let shown = |index| match fields.numbers(index) {
                Some(numbers) => format!("{numbers:?}"),
                None => fields.get(index).unwrap().text.to_owned(),
            };
            (0..fields.len()).map(shown).collect::<Vec<_>>().join(" ")
        }
        other => panic!("no decoder for {line} of {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pieces of any sizes, others in each turn.
    #[test]
    fn pieces_of_any_size_mean_the_same(which in 0..TRANSCRIPTS.len(), cut in 1usize..90) {
        let (_, said, _) = TRANSCRIPTS[which];
        prop_assert_eq!(play(said, Framing::Application, cut), play(said, Framing::Modem, 4096));
    }
}
