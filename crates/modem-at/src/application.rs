//! What the serial application in front of the modem reports with names of its own (`#X...`), in both generations. Its crash
//! reports are [`crate::FaultEvent`].
//!
//! The application sends most of these lines both as an answer and unasked, before or after `OK`.

use crate::fields::{DecodeError, Fields};
use crate::navigation::{Fix, NavigationStatus, navigation};
use crate::update::{ImageReport, UpdateReport};

/// A report of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplicationReport {
    /// `#XDATAMODE: 0` or `-1`: the line takes commands again.
    DataModeLeft {
        /// The data before it was taken.
        taken: bool,
    },
    /// `#XGNSS: <service>,<status>` (`#XGPS` of the older generation).
    Navigation {
        /// Number of the service.
        service: u8,
        /// What it does.
        status: NavigationStatus,
    },
    /// A position.
    Fix(Box<Fix>),
    /// `#XFOTA`: an update the modem downloads by itself.
    Update(UpdateReport),
    /// `#XDFU: <type>,<step>,<result>`: an update handed over the line.
    Image(ImageReport),
    /// `#XPPP: <running>,<peer>,<cid>`.
    Ppp {
        /// PPP runs.
        running: bool,
        /// A peer is connected.
        peer: bool,
        /// The context it carries.
        cid: u8,
    },
    /// Anything else, as it came.
    Other(String),
}

impl ApplicationReport {
    /// Decodes one `#X...` line. Never fails: what is not understood is [`ApplicationReport::Other`].
    #[must_use]
    pub fn parse(line: &str) -> Self {
        Self::typed(line).unwrap_or_else(|_| Self::Other(line.to_owned()))
    }

    fn typed(line: &str) -> Result<Self, DecodeError> {
        const OTHER: DecodeError = DecodeError::Name { expected: "#X" };
        let name = crate::classify::name_of(line).ok_or(OTHER)?;
        Ok(match name {
            "#XDATAMODE" => match Fields::of(line, "#XDATAMODE")?.number::<i32>(0, "result")? {
                0 => Self::DataModeLeft { taken: true },
                -1 => Self::DataModeLeft { taken: false },
                _ => return Err(OTHER),
            },
            "#XGNSS" => navigation(&Fields::of(line, "#XGNSS")?)?,
            "#XGPS" => navigation(&Fields::of(line, "#XGPS")?)?,
            "#XGNSSPOS" => Self::Fix(Box::new(Fix::read(&Fields::of(line, "#XGNSSPOS")?)?)),
            "#XFOTA" => Self::Update(UpdateReport::parse(line)?),
            "#XDFU" => Self::Image(ImageReport::parse(line)?),
            "#XPPP" => {
                let fields = Fields::of(line, "#XPPP")?;
                let flag = |index, field| fields.number::<u8>(index, field).map(|it| it != 0);
                Self::Ppp {
                    running: flag(0, "running")?,
                    peer: flag(1, "peer_connected")?,
                    cid: fields.number(2, "cid")?,
                }
            }
            _ => return Err(OTHER),
        })
    }

    /// The name of the line, which holds nothing private.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::DataModeLeft { .. } => "#XDATAMODE",
            Self::Navigation { .. } => "#XGNSS",
            Self::Fix(_) => "#XGNSSPOS",
            Self::Update(_) => "#XFOTA",
            Self::Image(_) => "#XDFU",
            Self::Ppp { .. } => "#XPPP",
            Self::Other(line) => line.split(':').next().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_data_mode_says_whether_the_data_was_taken() {
        let parse = ApplicationReport::parse;
        assert_eq!(parse("#XDATAMODE: 0"), ApplicationReport::DataModeLeft { taken: true });
        assert_eq!(parse("#XDATAMODE: -1"), ApplicationReport::DataModeLeft { taken: false });
        assert_eq!(parse("#XDATAMODE: 7"), ApplicationReport::Other("#XDATAMODE: 7".to_owned()));
    }

    #[test]
    fn ppp_says_whether_anybody_is_there() {
        let parse = ApplicationReport::parse;
        assert_eq!(parse("#XPPP: 1,0,0"), ApplicationReport::Ppp { running: true, peer: false, cid: 0 });
        assert_eq!(parse("#XPPP: 1"), ApplicationReport::Other("#XPPP: 1".to_owned()));
    }

    #[test]
    fn a_report_is_named_without_its_content() {
        for line in
            ["#XDATAMODE: 0", "#XGNSS: 1,4", "#XFOTA: 4,0", "#XDFU: 0,1,0", "#XPPP: 1,0,0", "#XNEW: secret"]
        {
            assert_eq!(ApplicationReport::parse(line).name(), line.split(':').next().unwrap());
        }
    }
}
