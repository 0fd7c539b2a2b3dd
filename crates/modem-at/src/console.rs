//! What a person types: parsed, classed by what it does, and made anew.
//!
//! What is sent is never what was typed but what was understood of it: the name from a table in capitals, the form, and every
//! argument written again. Two texts of one meaning become one, and nothing stands in it that the class was not decided by.
//!
//! Invariants: one command a call; printable ASCII without line ends and without `;`, inside quotes too; a name or form that is
//! not in the table is [`ConsoleClass::Unknown`], and where forms or arguments differ in class and cannot be told apart, the
//! graver one counts.

mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::command::{Command, Form, InvalidCommand};

/// What a command does, from harmless to grave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsoleClass {
    /// It reads and changes nothing: the only class that needs no special right.
    Reads,
    /// It reads a number of the subscriber or the device.
    Identity,
    /// It starts a measurement, or changes what the modem reports and how until it restarts; the daemon sets it again.
    Settings,
    /// It writes to the modem's own flash: it outlives a restart, and wears.
    NonVolatile,
    /// It interrupts the data connection, the modem or the serial port.
    EndsPath,
    /// It lists, reads, writes or deletes a credential, or carries a PIN or password.
    Credentials,
    /// It turns the line over to data, after which no command is understood.
    DataMode,
    /// Not in the table: nobody here knows.
    Unknown,
}

impl ConsoleClass {
    /// It may be sent without more ado.
    #[must_use]
    pub fn is_default(self) -> bool {
        self == Self::Reads
    }

    /// It needs an administrator at the gateway itself, and something that undoes it when nobody confirms in time.
    #[must_use]
    pub fn needs_admin(self) -> bool {
        matches!(
            self,
            Self::NonVolatile | Self::EndsPath | Self::Credentials | Self::DataMode | Self::Unknown
        )
    }

    /// What it does, for whoever is asked or refused.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Reads => "it changes nothing",
            Self::Identity => "it reads a number of the subscriber or the device",
            Self::Settings => {
                "it starts or stops something, or changes what the modem reports until the daemon sets it again"
            }
            Self::NonVolatile => "it writes to the modem's flash and outlives a restart",
            Self::EndsPath => "it interrupts the data connection, the modem or the serial port",
            Self::Credentials => "it touches credentials",
            Self::DataMode => "it turns the line over to data, after which no command is understood",
            Self::Unknown => "it is not known here what it does",
        }
    }
}

impl fmt::Display for ConsoleClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Why a text is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleError {
    /// It is not one well-formed command.
    #[error("{0}")]
    Command(#[from] InvalidCommand),
    /// A character that is never sent from a console.
    #[error("only printable ASCII is sent, and no ; even inside quotes: one command at a time")]
    Character,
    /// An argument that cannot be written again.
    #[error(
        "argument {number} is neither empty, nor a quoted text, nor a number or word without spaces and brackets"
    )]
    Argument {
        /// Counted from one.
        number: usize,
    },
    /// Longer than a person types.
    #[error("the command is longer than {TEXT_MAX} characters")]
    TooLong,
}

/// Longest text taken, in characters.
const TEXT_MAX: usize = 512;

/// One typed command: understood, classed, and written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleCommand {
    command: Command,
    class: ConsoleClass,
}

impl ConsoleCommand {
    /// Parses what a person typed, without a line end. Spaces around it and around arguments are dropped.
    ///
    /// # Errors
    /// [`ConsoleError`] says what is wrong with it, in words for that person.
    pub fn parse(text: &str) -> Result<Self, ConsoleError> {
        if text.len() > TEXT_MAX {
            return Err(ConsoleError::TooLong);
        }
        let text = text.trim_matches(' ');
        if text.bytes().any(|byte| !(0x20..=0x7e).contains(&byte) || byte == b';') {
            return Err(ConsoleError::Character);
        }
        let typed = Command::new(text)?;
        let command = Command::new(&written_again(&typed)?)?;
        let class = table::class_of(&command);
        Ok(Self { command, class })
    }

    /// What it does.
    #[must_use]
    pub fn class(&self) -> ConsoleClass {
        self.class
    }

    /// As it is sent, without a line end.
    #[must_use]
    pub fn text(&self) -> &str {
        self.command.text()
    }

    /// The command itself, for the session.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command
    }
}

fn written_again(typed: &Command) -> Result<String, ConsoleError> {
    let name = typed.name();
    Ok(match typed.form() {
        Form::Basic => typed.text().to_ascii_uppercase(),
        Form::Action => format!("AT{name}"),
        Form::Read => format!("AT{name}?"),
        Form::Test => format!("AT{name}=?"),
        Form::Set => {
            let mut text = format!("AT{name}=");
            for (index, argument) in arguments(typed.arguments()).enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(argument.ok_or(ConsoleError::Argument { number: index + 1 })?);
            }
            text
        }
    })
}

/// Every argument without the spaces around it; `None` for one that cannot be written again as it was meant.
fn arguments(text: &str) -> impl Iterator<Item = Option<&str>> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let from = rest?;
        let mut in_quotes = false;
        let end = from.bytes().position(|byte| {
            in_quotes ^= byte == b'"';
            byte == b',' && !in_quotes
        });
        let (argument, after) = match end {
            Some(at) => (from.get(..at).unwrap_or_default(), from.get(at + 1..)),
            None => (from, None),
        };
        rest = after;
        let argument = argument.trim_matches(' ');
        let quoted = argument.len() >= 2
            && argument.starts_with('"')
            && argument.ends_with('"')
            && argument.bytes().filter(|byte| *byte == b'"').count() == 2;
        // A question mark would make another form of it, an equals sign another command.
        let bare = argument.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-*#.:/_@".contains(&byte));
        Some((quoted || bare).then_some(argument))
    })
}
