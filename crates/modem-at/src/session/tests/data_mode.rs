//! The guard of data mode: payloads, multiplexing, and the way out.

use super::*;

#[test]
fn multiplexing_hands_the_line_over() {
    let mut desk = Desk::in_step();
    desk.submit("AT+CMUX=0");
    desk.sent();
    desk.hears("\r\nOK\r\n\u{f9}\u{3}?");
    assert_eq!(desk.done().result, Ok(Success::Ok));
    assert_eq!(desk.session.submit(desk.now, Command::attention()), Err(SubmitError::DataMode));
    let mut desk = Desk::in_step();
    desk.submit("AT+CMUX=0");
    desk.sent();
    desk.hears("\r\nERROR\r\n");
    assert_eq!(desk.done().result, Err(CommandError::Error));
    assert!(desk.session.submit(desk.now, Command::attention()).is_ok(), "a refusal changes nothing");
}

impl Desk {
    /// Sends `text` with `payload` and returns what went out first.
    fn submit_with(&mut self, text: &str, payload: &[u8]) -> CommandId {
        let command = Command::new(text).unwrap().with_payload(payload.to_vec()).unwrap();
        self.session.submit(self.now, command).unwrap()
    }
}

#[test]
fn no_command_is_ever_sent_into_data_mode() {
    let mut desk = Desk::in_step();
    let bare = Command::new("AT#XSEND").unwrap();
    assert_eq!(desk.session.submit(desk.now, bare), Err(SubmitError::NeedsPayload));
    let first = desk.submit_with("AT#XSEND=1", b"21.5");
    let next = desk.submit("AT+CFUN?");
    assert_eq!(desk.sent().as_deref(), Some("AT#XSEND=1\r\n"));
    desk.hears("\r\nOK\r\n");
    assert_eq!(desk.sent().as_deref(), Some("21.5+++"));
    assert_eq!((desk.sent(), desk.event()), (None, None), "the payload is under way");
    desk.hears("\r\n#XDATAMODE: 0\r\n");
    let done = desk.done();
    assert_eq!((done.id, done.result), (first, Ok(Success::Ok)));
    assert_eq!(desk.sent().as_deref(), Some("AT+CFUN?\r\n"));
    desk.hears("+CFUN: 1\r\nOK\r\n");
    assert_eq!(desk.done().id, next);
}

#[test]
fn a_piece_of_firmware_is_counted_and_its_report_comes_after() {
    let mut desk = Desk::in_step();
    desk.submit_with("AT#XDFUWRITE=0,4096,6", b"+++\r\n\x1a");
    assert_eq!(desk.sent().as_deref(), Some("AT#XDFUWRITE=0,4096,6\r"));
    desk.hears("\r\nOK\r\n");
    assert_eq!(desk.sent().as_deref(), Some("+++\r\n\u{1a}"));
    desk.hears("\r\n#XDATAMODE: 0\r\n\r\n#XDFU: 0,1,0\r\n");
    assert_eq!(desk.done().result, Ok(Success::Ok));
    assert!(
        matches!(desk.event(), Some(Event::Urc(Urc::Application(ApplicationReport::Image(it)))) if it.ok)
    );
}

#[test]
fn a_payload_the_application_does_not_take_fails_its_command_only() {
    let mut desk = Desk::in_step();
    desk.submit_with("AT#XSEND=1", b"21.5");
    desk.sent();
    desk.hears("\r\nOK\r\n");
    desk.sent();
    desk.hears("\r\n#XDATAMODE: -1\r\n");
    assert_eq!(desk.done().result, Err(CommandError::PayloadRefused));
    // A refusal of the command itself never gets to the payload.
    desk.submit_with("AT#XSEND=1", b"21.5");
    assert_eq!(desk.sent().as_deref(), Some("AT#XSEND=1\r\n"));
    desk.hears("\r\nERROR\r\n");
    assert_eq!(desk.done().result, Err(CommandError::Error));
    assert_eq!(desk.sent(), None);
}

#[test]
fn a_payload_that_never_ends_is_escaped_from() {
    let mut desk = Desk::in_step();
    desk.submit_with("AT#XSEND=1", b"21.5");
    desk.submit("AT+CFUN?");
    desk.sent();
    desk.hears("\r\nOK\r\n");
    desk.sent();
    // Not a sign of anything: it may be what the far end sent.
    desk.hears("OK\r\n");
    desk.wait(Duration::from_secs(5));
    assert!(matches!(desk.done().result, Err(CommandError::TimedOut { .. })));
    assert_eq!(desk.sent().as_deref(), Some("+++"));
    desk.hears("\r\n#XDATAMODE: 0\r\n");
    desk.wait(Duration::from_millis(200));
    assert_eq!(desk.sent().as_deref(), Some("\r\nAT\r\n"));
    desk.hears("\r\nOK\r\n");
    desk.wait(SETTLE);
    assert_eq!(desk.sent().as_deref(), Some("AT+CFUN?\r\n"));
}

/// A line that lost bytes of a counted payload: the application waits for the rest and takes everything for it.
#[test]
fn a_counted_payload_that_lost_bytes_is_made_up_for() {
    let mut desk = Desk::in_step();
    desk.submit_with("AT#XDFUWRITE=0,0,512", &[7; 512]);
    desk.sent();
    desk.hears("\r\nOK\r\n");
    assert_eq!(desk.session.poll_transmit().map(|bytes| bytes.len()), Some(512));
    desk.wait(Duration::from_secs(10));
    assert!(matches!(desk.done().result, Err(CommandError::TimedOut { .. })));
    assert_eq!(desk.sent(), Some("+".repeat(512)));
    desk.wait(Duration::from_millis(200));
    assert_eq!(desk.sent().as_deref(), Some("\r\nAT\r\n"));
}

#[test]
fn a_line_found_silent_is_escaped_from_before_it_is_given_up() {
    let mut desk = Desk::new();
    desk.submit("AT+CFUN?");
    let mut sent = Vec::new();
    for _ in 0..400 {
        desk.wait(Duration::from_millis(100));
        sent.extend(std::iter::from_fn(|| desk.sent()));
    }
    assert_eq!(sent, ["AT\r\n", "\r\nAT\r\n", "\r\nAT\r\n", "+++", "\r\nAT\r\n", "\r\nAT\r\n"]);
}
