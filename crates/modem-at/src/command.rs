//! A command as text that is known to be well formed.
//!
//! The grammar is the Serial Modem application's: `AT`, `ATE0`, `ATE1`, or `AT` with one of `+ % #`, a name, and nothing,
//! `?`, `=?` or `=` with arguments. Everything else (chains, `ATI`, `A/`) is refused here because that application answers
//! it with a bare `ERROR`, and because a chain would hide a second command from whoever allowed the first.

use core::time::Duration;
use std::fmt;

use crate::payload::{self, Afterwards, InvalidPayload};

/// Longest command, in bytes; the Serial Modem application takes 8192 with the terminator.
const COMMAND_MAX: usize = 8000;

/// What ends a command on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminator {
    /// CR LF: understood by builds that wait for CR and by builds that wait for CR LF.
    CrLf,
    /// CR alone: needed where the next byte is already payload (`AT#XDFUWRITE`).
    Cr,
    /// LF alone: the only thing an LF build understands.
    Lf,
}

impl Terminator {
    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::CrLf => b"\r\n",
            Self::Cr => b"\r",
            Self::Lf => b"\n",
        }
    }
}

/// The four forms of 3GPP TS 27.007, and the two basic commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `AT`, `ATE0`, `ATE1`.
    Basic,
    /// `AT+NAME`.
    Action,
    /// `AT+NAME?`: reads without changing anything.
    Read,
    /// `AT+NAME=?`: lists what is possible.
    Test,
    /// `AT+NAME=...`.
    Set,
}

/// Why a text is not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommand {
    /// It does not begin with `AT`.
    #[error("a command begins with AT")]
    NotAt,
    /// After `AT` comes something other than `E0`, `E1` or one of `+ % #` and a name.
    #[error("after AT comes E0, E1, or one of + % # and a name; write for instance AT+CEREG?")]
    Name,
    /// After the name comes something other than nothing, `?`, `=?` or `=...`.
    #[error("after the name comes nothing, ?, =? or = and arguments")]
    Form,
    /// A byte that may not stand where it stands.
    #[error("only printable ASCII is allowed, line ends only inside quotes, and no second command after ;")]
    Character,
    /// A quote was opened and not closed.
    #[error("a quoted argument is not closed")]
    OpenQuote,
    /// Too long.
    #[error("the command is longer than {COMMAND_MAX} bytes")]
    TooLong,
}

/// One AT command, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    text: String,
    name: String,
    form: Form,
    deadline: Duration,
    terminator: Option<Terminator>,
    payload: Option<Vec<u8>>,
}

impl Command {
    /// Checks `text`, which is the command without a terminator, and gives it the usual deadline of its name.
    ///
    /// # Errors
    /// [`InvalidCommand`] says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, InvalidCommand> {
        let text = text.trim();
        if text.len() > COMMAND_MAX {
            return Err(InvalidCommand::TooLong);
        }
        if !text.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("AT")) {
            return Err(InvalidCommand::NotAt);
        }
        let rest = text.get(2..).unwrap_or_default();
        let (name, form) = name_and_form(rest)?;
        check_arguments(rest)?;
        let deadline = usual_deadline(&name, form);
        Ok(Self { text: text.to_owned(), name, form, deadline, terminator: None, payload: None })
    }

    /// `AT`: is anybody there?
    #[must_use]
    pub fn attention() -> Self {
        Self {
            text: "AT".to_owned(),
            name: String::new(),
            form: Form::Basic,
            deadline: DEFAULT_DEADLINE,
            terminator: None,
            payload: None,
        }
    }

    /// The command as it goes out, without its terminator.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name with its sign in upper case, for instance `%XMONITOR`; empty for [`Form::Basic`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The form.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// How long an answer may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// With another deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// With a terminator other than the session's.
    #[must_use]
    pub fn with_terminator(mut self, terminator: Terminator) -> Self {
        self.terminator = Some(terminator);
        self
    }

    /// With the data that follows it in data mode. The session sends it once the command was answered with `OK`, ends data
    /// mode, and reports the end of both as the command's end.
    ///
    /// Where the command announces a length, it is ended by CR alone: the application counts from the next byte on. Give
    /// another terminator after this where the application waits for one.
    ///
    /// # Errors
    /// [`InvalidPayload`]: the command takes no data, or not these.
    pub fn with_payload(mut self, payload: Vec<u8>) -> Result<Self, InvalidPayload> {
        payload::check(&self, &payload)?;
        if self.afterwards() != Afterwards::Payload(None) {
            self.terminator = Some(Terminator::Cr);
        }
        self.payload = Some(payload);
        Ok(self)
    }

    /// What stands after `=`; empty for every other form.
    #[must_use]
    pub fn arguments(&self) -> &str {
        match self.form {
            Form::Set => self.text.split_once('=').map_or("", |(_, arguments)| arguments),
            _ => "",
        }
    }

    /// The bytes that follow the command once it was answered well, with what ends them.
    pub(crate) fn payload(&self) -> Option<Vec<u8>> {
        let payload = self.payload.as_ref()?;
        let end = if self.afterwards() == Afterwards::Payload(None) { payload::ESCAPE } else { b"" };
        Some([payload, end].concat())
    }

    pub(crate) fn has_payload(&self) -> bool {
        self.payload.is_some()
    }

    /// How many `+` end data mode, should its payload not have arrived whole; none without a payload. A counted payload ends by its
    /// count alone, so they must make up for all of it; in command mode they are junk.
    pub(crate) fn pluses_to_escape(&self) -> usize {
        match (&self.payload, self.afterwards()) {
            (None, _) => 0,
            (Some(payload), Afterwards::Payload(Some(_))) => payload.len().max(payload::ESCAPE.len()),
            (Some(_), _) => payload::ESCAPE.len(),
        }
    }

    pub(crate) fn afterwards(&self) -> Afterwards {
        payload::afterwards(self)
    }

    /// Its arguments or its answer hold a credential or a subscriber or device identity: never to be printed whole.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        is_sensitive_name(&self.name)
    }

    pub(crate) fn wire(&self, session: Terminator) -> Vec<u8> {
        let mut bytes = self.text.clone().into_bytes();
        bytes.extend_from_slice(self.terminator.unwrap_or(session).bytes());
        bytes
    }

    /// These answer with lines that carry no name.
    pub(crate) fn answers_bare(&self) -> bool {
        self.form == Form::Action
            && matches!(self.name.as_str(), "+CGSN" | "+CGMI" | "+CGMM" | "+CGMR" | "+CIMI")
    }

    /// These list commands, so a line that begins with `AT` is an answer and not an echo.
    pub(crate) fn lists_commands(&self) -> bool {
        matches!(self.name.as_str(), "+CLAC" | "#XCLAC")
    }
}

/// Commands whose arguments or answers hold a credential or an identity.
pub(crate) fn is_sensitive_name(name: &str) -> bool {
    matches!(
        name,
        "+CGSN"
            | "+CIMI"
            | "%XICCID"
            | "+CRSM"
            | "+CNUM"
            | "%CMNG"
            | "+CPIN"
            | "+CLCK"
            | "+CPWD"
            | "+CGAUTH"
            | "#XUUID"
    )
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_sensitive() && self.form == Form::Set {
            write!(f, "Command(AT{}=..)", self.name)
        } else {
            write!(f, "Command({})", self.text)
        }
    }
}

const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// The vendor documents no upper bounds; these are generous for a detach, a network scan or a flash erase.
fn usual_deadline(name: &str, form: Form) -> Duration {
    let seconds = match (name, form) {
        ("+COPS", Form::Test) => 180,
        ("#XDFUINIT", Form::Set) => 120,
        // The application writes flash before it answers.
        ("#XDFUWRITE" | "#XDFUAPPLY", Form::Set) => 10,
        ("+CFUN" | "+COPS" | "+CGATT", Form::Set) => 60,
        ("#XMODEMRESET" | "#XSLEEP", _) => 60,
        ("%CONEVAL", Form::Action | Form::Set) => 30,
        _ => return DEFAULT_DEADLINE,
    };
    Duration::from_secs(seconds)
}

fn name_and_form(rest: &str) -> Result<(String, Form), InvalidCommand> {
    if rest.is_empty() || rest.eq_ignore_ascii_case("E0") || rest.eq_ignore_ascii_case("E1") {
        return Ok((String::new(), Form::Basic));
    }
    if !rest.starts_with(['+', '%', '#']) {
        return Err(InvalidCommand::Name);
    }
    let body = rest.get(1..).unwrap_or_default();
    let length = body.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    if length == 0 {
        return Err(InvalidCommand::Name);
    }
    let name = rest.get(..=length).unwrap_or_default().to_ascii_uppercase();
    let form = match body.get(length..).unwrap_or_default() {
        "" => Form::Action,
        "?" => Form::Read,
        "=?" => Form::Test,
        tail if tail.starts_with('=') => Form::Set,
        _ => return Err(InvalidCommand::Form),
    };
    Ok((name, form))
}

fn check_arguments(rest: &str) -> Result<(), InvalidCommand> {
    let mut in_quotes = false;
    for byte in rest.bytes() {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\r' | b'\n' if in_quotes => {}
            b';' if !in_quotes => return Err(InvalidCommand::Character),
            0x20..=0x7e => {}
            _ => return Err(InvalidCommand::Character),
        }
    }
    if in_quotes { Err(InvalidCommand::OpenQuote) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_are_told_apart() {
        for (text, name, form) in [
            ("AT", "", Form::Basic),
            ("ate0", "", Form::Basic),
            ("AT+CGSN", "+CGSN", Form::Action),
            ("at+cereg?", "+CEREG", Form::Read),
            ("AT+COPS=?", "+COPS", Form::Test),
            ("AT%CESQ=1", "%CESQ", Form::Set),
            ("AT+CPSMS=", "+CPSMS", Form::Set),
            ("AT#XSMVER", "#XSMVER", Form::Action),
            ("AT+CGDCONT=0,\"IP\",\"a;b\"", "+CGDCONT", Form::Set),
        ] {
            let command = Command::new(text).unwrap();
            assert_eq!((command.name(), command.form()), (name, form), "{text}");
        }
    }

    #[test]
    fn what_the_application_would_refuse_is_refused_before_it_is_sent() {
        for (text, error) in [
            ("", InvalidCommand::NotAt),
            ("A/", InvalidCommand::NotAt),
            ("ATI", InvalidCommand::Name),
            ("AT&F", InvalidCommand::Name),
            ("ATZ", InvalidCommand::Name),
            ("ATD*99#", InvalidCommand::Name),
            ("ATH", InvalidCommand::Name),
            ("AT+A;+B", InvalidCommand::Form),
            ("AT+", InvalidCommand::Name),
            ("AT+CFUN!", InvalidCommand::Form),
            ("AT+CEREG=1;+CFUN=0", InvalidCommand::Character),
            ("AT+CFUN=1\r\nAT+CFUN=0", InvalidCommand::Character),
            ("AT+CGDCONT=0,\"IP", InvalidCommand::OpenQuote),
            ("AT+X=\u{e9}", InvalidCommand::Character),
        ] {
            assert_eq!(Command::new(text), Err(error), "{text}");
        }
        assert_eq!(Command::new(&format!("AT+X={}", "1".repeat(COMMAND_MAX))), Err(InvalidCommand::TooLong));
    }

    #[test]
    fn slow_commands_get_their_time() {
        let seconds = |text: &str| Command::new(text).unwrap().deadline().as_secs();
        assert_eq!(seconds("AT+CGMR"), 5);
        assert_eq!(seconds("AT+CFUN=0"), 60);
        assert_eq!(seconds("AT+CFUN?"), 5);
        assert_eq!(seconds("AT+COPS=?"), 180);
        assert_eq!(seconds("AT%CONEVAL"), 30);
        assert_eq!(seconds("AT#XDFUINIT=1,200000"), 120);
    }

    #[test]
    fn a_counted_payload_begins_right_after_the_command() {
        let command = Command::new("AT#XDFUWRITE=0,0,5").unwrap().with_payload(b"a+++b".to_vec()).unwrap();
        assert_eq!(command.wire(Terminator::CrLf), b"AT#XDFUWRITE=0,0,5\r");
        assert_eq!(command.payload().as_deref(), Some(b"a+++b".as_slice()));
        let command = Command::new("AT#XSEND=1").unwrap().with_payload(b"hello".to_vec()).unwrap();
        assert_eq!(command.wire(Terminator::CrLf), b"AT#XSEND=1\r\n");
        assert_eq!(command.payload().as_deref(), Some(b"hello+++".as_slice()));
        assert!(!format!("{command:?}").contains("hello"));
    }

    #[test]
    fn arguments_are_what_follows_the_sign() {
        let arguments = |text: &str| Command::new(text).unwrap().arguments().to_owned();
        assert_eq!(arguments("AT+CGDCONT=0,\"a=b\""), "0,\"a=b\"");
        assert_eq!((arguments("AT+CPSMS="), arguments("AT+CPSMS=?")), (String::new(), String::new()));
    }

    #[test]
    fn a_credential_is_not_printed() {
        let command = Command::new("AT%CMNG=0,16,3,\"c0ffee\"").unwrap();
        assert_eq!(format!("{command:?}"), "Command(AT%CMNG=..)");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_an_accepted_one_is_one_line_or_quoted(text in "\\PC{0,40}") {
            if let Ok(command) = Command::new(&text) {
                prop_assert!(command.text().is_ascii());
            }
        }
    }
}
