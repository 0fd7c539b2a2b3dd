//! What one line is, given the command that is outstanding.
//!
//! The order of the questions matters: a banner ends everything, an echo must not count as an answer, a final result is
//! exact, an answer line belongs to the command by name, and only what is left can be unsolicited.

use crate::command::{Command, Form, is_sensitive_name};
use crate::result::{CommandError, ReportedError, Success};

/// What the application says about itself, unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Banner {
    /// `Ready`: start-up finished, or the port woke from idle. Treat it as a restart until proven otherwise.
    Ready,
    /// `INIT ERROR`: started, but a service failed.
    InitError,
    /// `Bootloader mode ready`: only firmware update commands work.
    BootloaderReady,
}

/// What a line turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Banner(Banner),
    Echo,
    Final(Result<Success, CommandError>),
    /// Data of the outstanding command.
    Info,
    /// Data of the outstanding command that is also a status report of the application.
    InfoAndUrc,
    Urc,
    /// Well formed, of no known name.
    Stranger,
    Noise,
}

/// The outstanding command and how far its answer has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outstanding<'a> {
    pub(crate) command: &'a Command,
    /// No line has been seen since it was sent.
    pub(crate) first_line: bool,
    /// It already has a data line.
    pub(crate) has_info: bool,
}

pub(crate) fn classify(line: &str, outstanding: Option<Outstanding<'_>>) -> Kind {
    if let Some(banner) = banner(line) {
        return Kind::Banner(banner);
    }
    if is_echo(line, outstanding) {
        return Kind::Echo;
    }
    if let Some(result) = final_result(line, outstanding) {
        return Kind::Final(result);
    }
    let name = name_of(line);
    if let Some(outstanding) = outstanding {
        if outstanding.command.lists_commands() && starts_with_at(line) {
            return Kind::Info;
        }
        if name == Some(outstanding.command.name())
            && let Some(kind) = own_line(line, outstanding)
        {
            return kind;
        }
    }
    match name {
        Some(name) if is_urc_name(name) => Kind::Urc,
        // Nobody asked for it, and whoever logs strangers must not log an identity.
        Some(name) if is_sensitive_name(name) => Kind::Noise,
        Some(_) => Kind::Stranger,
        None if outstanding.is_some_and(|it| is_bare_answer(line, it.command)) => Kind::Info,
        None => Kind::Noise,
    }
}

/// The name before the colon, with its sign: `+CEREG` of `+CEREG: 1`.
pub(crate) fn name_of(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(':')?;
    let mut bytes = name.bytes();
    let sign = matches!(bytes.next(), Some(b'+' | b'%' | b'#'));
    (sign && name.len() > 1 && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some(name)
}

/// Noise at power-up, and the answer that the restart cut off, may stand directly before the banner: nothing ends the line before it.
/// So only the end must fit. No answer ends this way.
fn banner(line: &str) -> Option<Banner> {
    let banner = [
        ("Bootloader mode ready", Banner::BootloaderReady),
        ("INIT ERROR", Banner::InitError),
        ("Ready", Banner::Ready),
    ]
    .into_iter()
    .find_map(|(text, banner)| line.ends_with(text).then_some(banner))?;
    (!starts_with_at(line)).then_some(banner)
}

fn is_echo(line: &str, outstanding: Option<Outstanding<'_>>) -> bool {
    match outstanding {
        Some(it) if it.command.lists_commands() => it.first_line && line == it.command.text(),
        // Behind noise it would pass for the bare answer of some commands.
        Some(it) if it.command.form() != Form::Basic && line.ends_with(it.command.text()) => true,
        // No answer begins with AT, so an echo of an earlier command is recognised too.
        _ => starts_with_at(line),
    }
}

fn starts_with_at(line: &str) -> bool {
    let bytes = line.as_bytes();
    bytes.get(..2).is_some_and(|head| head.eq_ignore_ascii_case(b"AT"))
        && matches!(bytes.get(2), None | Some(b'+' | b'%' | b'#' | b'E' | b'e'))
}

fn final_result(line: &str, outstanding: Option<Outstanding<'_>>) -> Option<Result<Success, CommandError>> {
    match line {
        "OK" => return Some(Ok(Success::Ok)),
        "ERROR" => return Some(Err(CommandError::Error)),
        // A word like this could be part of an answer; only +CGDATA ends with it.
        "CONNECT" if outstanding.is_some_and(|it| it.command.name() == "+CGDATA") => {
            return Some(Ok(Success::Connect));
        }
        _ => {}
    }
    if let Some(number) = line.strip_prefix("+CME ERROR:") {
        return Some(Err(CommandError::Cme(ReportedError::new(number))));
    }
    line.strip_prefix("+CMS ERROR:").map(|number| Err(CommandError::Cms(ReportedError::new(number))))
}

/// A line with the outstanding command's own name: an answer, or an unsolicited report that happens to share the name?
fn own_line(line: &str, outstanding: Outstanding<'_>) -> Option<Kind> {
    let command = outstanding.command;
    match (command.name(), command.form()) {
        // The read form has one leading number more than the report, and comes once. Firmwares older than the Serial
        // Modem may slip a report in between.
        ("+CEREG" | "+CSCON", Form::Read) => {
            (!outstanding.has_info && second_field_is_a_number(line)).then_some(Kind::Info)
        }
        // Subscribing answers with nothing but a final result.
        (name, Form::Set) if !name.starts_with('#') && is_urc_name(name) => None,
        ("%NCELLMEAS", Form::Action) => None,
        // It asks how full the area of an update is, and says so in a line that is no report.
        ("#XFOTA", Form::Set) if command.arguments() == "7" => Some(Kind::Info),
        (name, Form::Set) if name.starts_with('#') => Some(Kind::InfoAndUrc),
        _ => Some(Kind::Info),
    }
}

pub(crate) fn second_field_is_a_number(line: &str) -> bool {
    line.split(',').nth(1).is_some_and(|field| {
        let field = field.trim();
        !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_bare_answer(line: &str, command: &Command) -> bool {
    command.answers_bare()
        && match command.name() {
            "+CGSN" | "+CIMI" => line.bytes().all(|byte| byte.is_ascii_digit()),
            _ => line.bytes().all(|byte| (0x20..=0x7e).contains(&byte)),
        }
}

/// Names that are reported unasked. `#X...` of the application may come at any time, before or after `OK`.
pub(crate) fn is_urc_name(name: &str) -> bool {
    name.starts_with("#X")
        || matches!(
            name,
            "+CEREG"
                | "+CSCON"
                | "+CGEV"
                | "+CNEC_ESM"
                | "+CNEC_EMM"
                | "+CIND"
                | "+CEDRXP"
                | "+CMT"
                | "+CMTI"
                | "+CDS"
                | "%CESQ"
                | "%MDMEV"
                | "%NCELLMEAS"
                | "%XMODEMSLEEP"
                | "%XSIM"
                | "%XT3412"
                | "%XTIME"
                | "%XVBATLOWLVL"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, line: &str) -> Kind {
        let command = Command::new(text).unwrap();
        classify(line, Some(Outstanding { command: &command, first_line: true, has_info: false }))
    }

    #[test]
    fn banners_are_found_behind_power_up_noise() {
        assert_eq!(classify("Ready", None), Kind::Banner(Banner::Ready));
        assert_eq!(classify("\u{fffd}~xReady", None), Kind::Banner(Banner::Ready));
        assert_eq!(with("AT+CGDCONT?", "+CGDCONT: 0,\"IP\u{fffd}Ready"), Kind::Banner(Banner::Ready));
        assert_eq!(with("AT%XMONITOR", "%XMONITOR: 1,\"Ready\""), Kind::Info);
        assert_eq!(classify("INIT ERROR", None), Kind::Banner(Banner::InitError));
        assert_eq!(classify("Bootloader mode ready", None), Kind::Banner(Banner::BootloaderReady));
        assert_eq!(with("AT+CPIN?", "+CPIN: READY"), Kind::Info);
    }

    #[test]
    fn final_results_are_exact() {
        assert_eq!(with("AT", "OK"), Kind::Final(Ok(Success::Ok)));
        assert_eq!(with("AT", "OKAY"), Kind::Noise);
        assert_eq!(with("AT+CIMI", "ERROR"), Kind::Final(Err(CommandError::Error)));
        assert_eq!(
            with("AT%XSYSTEMMODE=1,0,1,0", "+CME ERROR: 518"),
            Kind::Final(Err(CommandError::Cme(ReportedError::new("518"))))
        );
        assert_eq!(with("AT+CGDATA=\"PPP\"", "CONNECT"), Kind::Final(Ok(Success::Connect)));
        assert_eq!(with("AT+CGMR", "CONNECT"), Kind::Info);
    }

    #[test]
    fn bare_answers_belong_to_the_commands_that_give_them() {
        assert_eq!(with("AT+CGSN", "352656106647673"), Kind::Info);
        assert_eq!(with("AT+CGSN", "3526\u{fffd}6106647673"), Kind::Noise);
        assert_eq!(with("AT+CGMR", "mfw_nrf91x1_2.0.4"), Kind::Info);
        assert_eq!(with("AT+CGSN=1", "352656106647673"), Kind::Noise);
        assert_eq!(classify("352656106647673", None), Kind::Noise);
    }

    #[test]
    fn a_report_between_command_and_answer_is_not_the_answer() {
        assert_eq!(with("AT+CEREG?", "+CEREG: 2,\"0901\",\"02024720\",7"), Kind::Urc);
        assert_eq!(with("AT+CEREG?", "+CEREG: 4"), Kind::Urc);
        assert_eq!(with("AT+CEREG?", "+CEREG: 5,4"), Kind::Info);
        assert_eq!(with("AT+CEREG?", "+CEREG: 1,1,"), Kind::Info);
        assert_eq!(with("AT%CESQ=1", "%CESQ: 52,2,4,0"), Kind::Urc);
        assert_eq!(with("AT%XSIM=1", "%XSIM: 0,9"), Kind::Urc);
        assert_eq!(with("AT%XSIM?", "%XSIM: 1"), Kind::Info);
        assert_eq!(with("AT+CGSN", "+CEREG: 1"), Kind::Urc);
        assert_eq!(with("AT%NCELLMEAS", "%NCELLMEAS: 1"), Kind::Urc);
    }

    #[test]
    fn an_application_line_is_data_and_report() {
        assert_eq!(with("AT#XGNSS=1,0,0,0", "#XGNSS: 1,1"), Kind::InfoAndUrc);
        assert_eq!(with("AT#XSMVER", "#XSMVER: \"v1.99.0\",\"3.3.99\""), Kind::Info);
        assert_eq!(with("AT#XFOTA=7", "#XFOTA: 2621440,0"), Kind::Info);
        assert_eq!(with("AT#XFOTA=1,\"u\"", "#XFOTA: 0,0"), Kind::InfoAndUrc);
        assert_eq!(with("AT+CGMR", "#XGNSS: 1,0"), Kind::Urc);
        assert_eq!(classify("#XMODEM: FAULT,0x1,0x2", None), Kind::Urc);
    }

    #[test]
    fn an_identity_nobody_asked_for_is_noise() {
        assert_eq!(classify("+CGSN: \"352656106647673\"", None), Kind::Noise);
        assert_eq!(with("AT+CGMR", "%XICCID: 8901234567012345678F"), Kind::Noise);
        assert_eq!(with("AT+CGMR", "+CNEW: 1"), Kind::Stranger);
    }

    #[test]
    fn echoes_of_this_and_earlier_commands_are_recognised() {
        assert_eq!(with("AT+CGSN", "AT+CGSN"), Kind::Echo);
        assert_eq!(with("AT+CGSN", "at+cimi"), Kind::Echo);
        assert_eq!(with("AT+CGMR", "9hAT+CGMR"), Kind::Echo);
        assert_eq!(with("AT+CGSN", "AT"), Kind::Echo);
        assert_eq!(with("AT+CGMM", "ATLAS 1"), Kind::Info);
    }

    #[test]
    fn a_list_of_commands_is_not_a_series_of_echoes() {
        let command = Command::new("AT#XCLAC").unwrap();
        let at = |first_line, line| {
            classify(line, Some(Outstanding { command: &command, first_line, has_info: !first_line }))
        };
        assert_eq!(at(true, "AT#XCLAC"), Kind::Echo);
        assert_eq!(at(false, "AT#XSMVER"), Kind::Info);
        assert_eq!(at(false, "AT#XCLAC"), Kind::Info);
    }
}
