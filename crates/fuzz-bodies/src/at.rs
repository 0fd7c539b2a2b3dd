//! What a modem's line may carry: a session of commands, every decoder of a line, and what a person types for it.

use core::time::Duration;
use std::collections::VecDeque;

use fieldgate_modem_at as at;
use fieldgate_modem_at::{Command, LINE_MAX, LineSplitter, Session, Terminator};

use crate::feed::Feed;

const COMMANDS: [&str; 8] =
    ["AT", "AT+CFUN?", "AT+CEREG=5", "AT%XMONITOR", "AT+COPS=?", "AT%CMNG=1", "AT#XSLMVER", "AT+CGDCONT?"];
/// Events kept while nobody fetches them, with room for the results of every command that waits.
const MOST_EVENTS: usize = 256 + 64 + 8;
const MOST_TIMERS: usize = 20_000;

/// Bytes, commands and time in any order; at the end the line goes silent, and every command ends once.
pub(crate) fn session(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let terminators = [Terminator::Cr, Terminator::CrLf, Terminator::Lf];
    let terminator = terminators[usize::from(feed.byte() % 3)];
    let mut session = Session::new(terminator);
    let mut probe = at::Probe::new(Duration::ZERO);
    let mut now = Duration::ZERO;
    let (mut submitted, mut done, mut spoke) = (0, 0, false);
    let mut drain = |session: &mut Session, done: &mut usize| {
        let mut events = 0;
        while let Some(event) = session.poll_event() {
            events += 1;
            match event {
                at::Event::CommandDone(result) => {
                    *done += 1;
                    spoke |= result.result.is_ok();
                }
                at::Event::Urc(_) | at::Event::Banner(_) => spoke = true,
                at::Event::Silent | at::Event::Noise(_) => {}
            }
        }
        assert!(events <= MOST_EVENTS, "{events} events waited");
        while session.poll_transmit().is_some() {}
    };
    while let Some(act) = feed.next() {
        match act % 8 {
            0 => {
                now += feed.pause();
                session.handle_timeout(now);
                probe.handle_timeout(now);
            }
            1 | 2 => {
                let command = COMMANDS[usize::from(act >> 3) % COMMANDS.len()];
                let Ok(command) = Command::new(command) else { continue };
                submitted += usize::from(session.submit(now, command).is_ok());
            }
            3 => {
                if let Ok(command) = Command::new(&feed.text()) {
                    // With a payload, where it takes one.
                    let with = command.clone().with_payload(feed.chunk().to_vec());
                    let command = with.unwrap_or(command);
                    submitted += usize::from(session.submit(now, command).is_ok());
                }
            }
            4 => session.handle_bytes(now, if act & 0x10 == 0 { b"OK\r\n" } else { b"#XDATAMODE: 0\r\n" }),
            _ => {
                let bytes = feed.chunk();
                session.handle_bytes(now, bytes);
                probe.handle_bytes(now, bytes);
            }
        }
        if act < 0xc0 {
            drain(&mut session, &mut done);
        }
        while probe.poll_transmit().is_some() {}
    }
    let mut timers = 0;
    while let Some(next) = session.poll_timeout() {
        now = now.max(next);
        session.handle_timeout(now);
        drain(&mut session, &mut done);
        timers += 1;
        assert!(timers < MOST_TIMERS, "it never comes to rest");
    }
    drain(&mut session, &mut done);
    while let Some(next) = probe.poll_timeout().filter(|_| probe.outcome().is_none()) {
        now = now.max(next);
        probe.handle_timeout(now);
        while probe.poll_transmit().is_some() {}
        timers += 1;
        assert!(timers < 2 * MOST_TIMERS, "the probe never ends");
    }
    assert!(probe.outcome().is_some(), "the probe waits for nothing");
    assert_eq!(submitted, done, "every command ends once");
    spoke
}

/// Cuts the bytes into lines, in pieces of two sizes, and hands each line to every decoder.
pub(crate) fn decoders(data: &[u8]) -> bool {
    let (mut whole, mut pieces) = (VecDeque::new(), VecDeque::new());
    LineSplitter::new().push(data, &mut whole);
    let mut splitter = LineSplitter::new();
    data.chunks(3).for_each(|piece| splitter.push(piece, &mut pieces));
    assert_eq!(whole, pieces, "where the bytes are cut does not matter");
    whole.iter().fold(false, |any, line| {
        // What is not UTF-8 becomes three bytes a byte.
        assert!(line.len() <= 3 * LINE_MAX);
        let urc = !matches!(at::Urc::parse(line), at::Urc::Other(_));
        decode(line) || urc || any
    })
}

/// What a person may type: taken, it is one printable line that means the same when it is typed again.
pub(crate) fn console(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let mut any = false;
    for line in text.split('\n') {
        let Ok(command) = at::ConsoleCommand::parse(line) else { continue };
        any = true;
        let sent = command.text();
        assert!(sent.starts_with("AT") && sent.len() <= line.len());
        assert!(sent.bytes().all(|byte| (0x20..=0x7e).contains(&byte) && byte != b';'));
        assert_eq!(at::ConsoleCommand::parse(sent).as_ref(), Ok(&command));
        // What is let through without a right is of a form that sets nothing, or of a name known to read.
        if command.class().is_default() {
            let set = sent.contains('=') && !sent.ends_with("=?");
            let reads = ["AT#XBOOTINFO=", "AT#XFOTA=7", "AT+CGPADDR=", "AT+CPINR="];
            assert!(!set || reads.iter().any(|name| sent.starts_with(name)), "{sent}");
        }
    }
    any
}

/// Whether any decoder takes the line; what it gives must be fit to be shown.
fn decode(line: &str) -> bool {
    let mut any = false;
    macro_rules! take {
        ($($decoder:expr),+ $(,)?) => {$(
            if let Ok(decoded) = $decoder(line) {
                any = true;
                assert!(!format!("{decoded:?}").is_empty());
            }
        )+};
    }
    take!(
        at::Registration::parse_urc,
        at::Registration::parse_read,
        at::Operator::parse,
        at::parse_scan,
        at::CesqReport::parse,
        at::Signal::parse,
        at::imei,
        at::imei_bare,
        at::iccid,
        at::imsi,
        at::manufacturer,
        at::model,
        at::revision,
        at::hardware_version,
        at::Edrx::parse,
        at::Monitor::parse,
        |line| at::Monitor::parse(line)
            .map(|monitor| monitor.camped.map(|camped| (camped.psm(), camped.grade()))),
        at::ConnectionStatistics::parse,
        at::ConnectionEvaluation::parse,
        at::ClockReading::parse,
        at::NetworkTime::parse,
        at::parse_voltage,
        at::parse_temperature,
        at::SimState::parse,
        at::SystemMode::parse,
        at::FunctionalMode::parse,
        at::PinState::parse,
        at::PinRetries::parse,
        at::PdnContext::parse,
        at::PdnAddress::parse,
        at::PdnState::parse,
        at::NetworkCause::parse,
        at::Credential::parse,
        at::current_band,
        at::supported_bands,
        at::iccid_of_file,
        at::short_version,
        at::firmware_uuid,
        at::device_uuid,
        at::UpdateReport::parse,
        at::UpdateArea::parse,
        at::ImageReport::parse,
        at::ModemReset::parse,
        at::ClockReading::parse_with_daylight_saving,
        at::ModemEvent::parse,
        at::PdnEvent::parse,
        at::Signalling::parse_urc,
        at::Signalling::parse_read,
        at::FaultEvent::parse,
    );
    if let Ok(measured) = at::NeighbourCells::parse(line) {
        any = true;
        let fields = at::Fields::of(line, "%NCELLMEAS").map_or(0, |fields| fields.len());
        let neighbours: usize = measured.cells.iter().map(|cell| cell.neighbours.len()).sum();
        // A cell has nine fields at least, a neighbour five: a line cannot make more of them than it has.
        assert!(measured.cells.len() * 9 + neighbours * 5 < fields.max(1));
    }
    if let Ok(credential) = at::Credential::parse(line) {
        assert!(credential.digest.is_none_or(|digest| digest.len() == 64));
    }
    let report = at::ApplicationReport::parse(line);
    assert!(line.starts_with(report.name()) || line.starts_with("#XGPS") || line.starts_with("#XGNSS"));
    if let Ok(clock) = at::ClockReading::parse(line) {
        let (from, until) = clock.may_mean();
        assert!(from <= until);
    }
    any
}
