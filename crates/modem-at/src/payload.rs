//! Data mode: which commands turn the line over to data, what may be sent then, and how to get out.
//!
//! A sending command of the serial application that comes without its data is answered with `OK`, and what follows on the line
//! is data until so many bytes have passed or the pattern `+++` is seen. Whoever sends a next command then sends it to the far
//! end of a socket. The guard is here: such a command is taken only together with its payload, and the payload is checked.

use crate::command::{Command, Form};

/// Ends data mode from outside, without a pause before it. In command mode it is junk that the application throws away.
pub const ESCAPE: &[u8] = b"+++";
/// How long the application needs after [`ESCAPE`] before it takes a command.
pub const ESCAPE_PAUSE: core::time::Duration = core::time::Duration::from_millis(200);
/// Ends multiplexing (3GPP TS 27.010, basic mode) from outside: flags to wake the far end, then its close-down message. For a
/// modem that was left multiplexing; in command mode it is junk.
pub const CMUX_CLOSE: &[u8] =
    &[0xf9, 0xf9, 0xf9, 0xf9, 0xf9, 0xf9, 0xf9, 0xf9, 0xf9, 0x03, 0xef, 0x05, 0xc3, 0x01, 0xf2, 0xf9];
/// How long the application needs after [`CMUX_CLOSE`].
pub const CMUX_CLOSE_PAUSE: core::time::Duration = core::time::Duration::from_secs(2);
/// Longest payload, in bytes: the application's own buffer.
pub const PAYLOAD_MAX: usize = 4096;

/// Why a payload does not fit its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
    /// The command takes none.
    #[error("this command takes no data")]
    NotExpected,
    /// Nothing to send.
    #[error("there is no data to send")]
    Empty,
    /// More than [`PAYLOAD_MAX`].
    #[error(
        "the data is longer than the {PAYLOAD_MAX} bytes the application takes at once; send it in pieces"
    )]
    TooLong,
    /// The command announces another length.
    #[error("the command announces {announced} bytes of data and {given} were given")]
    Length {
        /// What the command says.
        announced: usize,
        /// What was given.
        given: usize,
    },
    /// It contains the pattern that ends data mode, or runs into it.
    #[error("the data contains +++ or ends with +, which would end it early; send it with a length")]
    EndsEarly,
}

/// What the line carries after a command was answered well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    Commands,
    /// The command's payload, of the announced length where one is.
    Payload(Option<usize>),
    /// Something that is not AT, for good.
    Other,
}

/// Not every form without a payload opens data mode in every generation; a command is safe only where that is known.
pub(crate) fn afterwards(command: &Command) -> Afterwards {
    let asks = matches!(command.form(), Form::Read | Form::Test | Form::Basic);
    let arguments = command.arguments();
    match command.name() {
        _ if asks => Afterwards::Commands,
        "+CGDATA" | "+CMUX" | "#XCMUX" => Afterwards::Other,
        // <type>,<address>,<length>
        "#XDFUWRITE" => {
            let length = arguments.split(',').nth(2).and_then(|it| it.trim().parse().ok());
            Afterwards::Payload(Some(length.unwrap_or(0)))
        }
        "#XNRFCLOUD" if arguments.trim() == "2" => Afterwards::Payload(None),
        "#XSEND" | "#XSENDTO" | "#XMQTTPUB" | "#XCARRIER" => Afterwards::Payload(None),
        _ => Afterwards::Commands,
    }
}

pub(crate) fn check(command: &Command, payload: &[u8]) -> Result<(), InvalidPayload> {
    let Afterwards::Payload(announced) = afterwards(command) else { return Err(InvalidPayload::NotExpected) };
    match (payload, announced) {
        ([], _) => Err(InvalidPayload::Empty),
        _ if payload.len() > PAYLOAD_MAX => Err(InvalidPayload::TooLong),
        (_, Some(announced)) if announced != payload.len() => {
            Err(InvalidPayload::Length { announced, given: payload.len() })
        }
        // The pattern may be glued to the data: a plus before it would be counted to it.
        ([.., b'+'], None) => Err(InvalidPayload::EndsEarly),
        (_, None) if payload.windows(ESCAPE.len()).any(|window| window == ESCAPE) => {
            Err(InvalidPayload::EndsEarly)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Afterwards {
        afterwards(&Command::new(text).unwrap())
    }

    #[test]
    fn commands_that_hand_the_line_over_are_known() {
        for text in ["AT+CGDATA", "AT+CGDATA=\"PPP\",0", "AT+CMUX=0", "AT#XCMUX", "AT#XCMUX=1"] {
            assert_eq!(after(text), Afterwards::Other, "{text}");
        }
        for text in [
            "AT#XSEND",
            "AT#XSEND=1",
            "AT#XSENDTO=\"a\",1",
            "AT#XMQTTPUB=\"t\"",
            "AT#XNRFCLOUD=2",
            "AT#XCARRIER=\"x\"",
        ] {
            assert_eq!(after(text), Afterwards::Payload(None), "{text}");
        }
        assert_eq!(after("AT#XDFUWRITE=0,4096,1024"), Afterwards::Payload(Some(1024)));
        for text in [
            "AT",
            "AT+CMUX?",
            "AT+CMUX=?",
            "AT#XSEND=?",
            "AT#XNRFCLOUD=1",
            "AT#XNRFCLOUD?",
            "AT+CFUN=1",
            "AT#XCMUXCLD",
        ] {
            assert_eq!(after(text), Afterwards::Commands, "{text}");
        }
    }

    #[test]
    fn a_payload_that_does_not_fit_is_refused() {
        let check = |text: &str, payload: &[u8]| check(&Command::new(text).unwrap(), payload);
        assert_eq!(check("AT+CFUN=1", b"x"), Err(InvalidPayload::NotExpected));
        assert_eq!(check("AT+CMUX=0", b"x"), Err(InvalidPayload::NotExpected));
        assert_eq!(check("AT#XSEND", b""), Err(InvalidPayload::Empty));
        assert_eq!(check("AT#XSEND", &[0; PAYLOAD_MAX + 1]), Err(InvalidPayload::TooLong));
        assert_eq!(check("AT#XSEND", b"a+++b"), Err(InvalidPayload::EndsEarly));
        assert_eq!(check("AT#XSEND", b"a+"), Err(InvalidPayload::EndsEarly));
        assert_eq!(check("AT#XSEND", b"a++b"), Ok(()));
        assert_eq!(check("AT#XDFUWRITE=0,0,5", b"a+++b"), Ok(()), "a counted payload may hold anything");
        assert_eq!(
            check("AT#XDFUWRITE=0,0,4", b"a+++b"),
            Err(InvalidPayload::Length { announced: 4, given: 5 })
        );
    }
}
