//! What the serial application in front of the modem reports and answers with names of its own (`#X...`), in both generations:
//! the end of data mode, satellite navigation, updates, PPP. Its crash reports are [`crate::FaultEvent`].
//!
//! The application sends most of these lines both as an answer and unasked, before or after `OK`.

use std::fmt;

use crate::fields::{DecodeError, Fields, Value};
use crate::time::UtcTime;

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

/// Two fields are a status; seven are a position, of the generations before `#XGNSSPOS`.
fn navigation(fields: &Fields<'_>) -> Result<ApplicationReport, DecodeError> {
    if fields.len() == FIX_FIELDS {
        return Ok(ApplicationReport::Fix(Box::new(Fix::read(fields)?)));
    }
    let status = match fields.number(1, "status")? {
        0 => NavigationStatus::Stopped,
        1 => NavigationStatus::Started,
        2 => NavigationStatus::Woken,
        3 => NavigationStatus::SleepsWithoutFix,
        4 => NavigationStatus::SleepsAfterFix,
        other => NavigationStatus::Other(other),
    };
    Ok(ApplicationReport::Navigation { service: fields.number(0, "service")?, status })
}

/// What satellite navigation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NavigationStatus {
    /// 0.
    Stopped,
    /// 1.
    Started,
    /// 2: woke for the next period.
    Woken,
    /// 3: sleeps; the time ran out before there was a position.
    SleepsWithoutFix,
    /// 4: sleeps after a position.
    SleepsAfterFix,
    /// Any other number.
    Other(u8),
}

/// A position, by satellites: `<latitude>,<longitude>,<altitude>,<accuracy>,<speed>,<heading>,"<time>"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Degrees, north positive.
    pub latitude: Millionths,
    /// Degrees, east positive.
    pub longitude: Millionths,
    /// Metres above the ellipsoid of WGS 84.
    pub altitude: Millionths,
    /// Metres, one standard deviation.
    pub accuracy: Millionths,
    /// Metres a second.
    pub speed: Millionths,
    /// Degrees from north, clockwise.
    pub heading: Millionths,
    /// Universal time.
    pub time: UtcTime,
}

const FIX_FIELDS: usize = 7;

impl Fix {
    fn read(fields: &Fields<'_>) -> Result<Self, DecodeError> {
        let wrong = |field| DecodeError::Malformed { line: "#XGNSSPOS", field };
        let number = |index, field| Millionths::decode(fields.text(index, field)?).ok_or(wrong(field));
        let fix = Self {
            latitude: number(0, "latitude")?,
            longitude: number(1, "longitude")?,
            altitude: number(2, "altitude")?,
            accuracy: number(3, "accuracy")?,
            speed: number(4, "speed")?,
            heading: number(5, "heading")?,
            time: date_and_time(fields.text(6, "datetime")?).ok_or(wrong("datetime"))?,
        };
        let within = |value: Millionths, degrees: u64| value.0.unsigned_abs() <= degrees * 1_000_000;
        if !within(fix.latitude, 90) {
            return Err(wrong("latitude"));
        }
        if !within(fix.longitude, 180) {
            return Err(wrong("longitude"));
        }
        Ok(fix)
    }
}

/// `YYYY-MM-DD HH:MM:SS`.
fn date_and_time(text: &str) -> Option<UtcTime> {
    let (date, time) = text.split_once(' ')?;
    let mut date = date.splitn(3, '-');
    let mut time = time.splitn(3, ':');
    let year = date.next().filter(|year| year.len() == 4)?.parse().ok()?;
    let two = |text: Option<&str>| text.filter(|text| text.len() == 2)?.parse().ok();
    let time = UtcTime {
        year,
        month: two(date.next())?,
        day: two(date.next())?,
        hour: two(time.next())?,
        minute: two(time.next())?,
        second: two(time.next())?,
    };
    time.is_valid().then_some(time)
}

/// A decimal number in millionths of its unit: as exact as the application writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millionths(pub i64);

impl Millionths {
    /// Decodes an optional sign, at most ten digits, and a point with at most six digits.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let number = |text: &str, most: usize| {
            let fits = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| text.parse::<i64>().ok()).flatten()
        };
        let scale = 10i64.pow(u32::try_from(6usize.checked_sub(part.len())?).ok()?);
        let value = number(whole, 10)? * 1_000_000 + number(part, 6)? * scale;
        Some(Self(if negative { -value } else { value }))
    }

    /// In the unit itself.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "a position in millionths of a degree has fewer bits than a mantissa"
    )]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, value) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        write!(f, "{sign}{}.{:06}", value / 1_000_000, value % 1_000_000)
    }
}

/// `#XFOTA: <stage>,<status>[,<info>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateReport {
    /// How far it is.
    pub stage: UpdateStage,
    /// How the stage went.
    pub status: UpdateStatus,
    /// Percent while downloading; a cause after an error: see [`UpdateReport::meaning`].
    pub info: Value<u32>,
}

/// Stage of an update the modem downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStage {
    /// 0.
    Start,
    /// 1.
    Download,
    /// 2: the old image must be erased first.
    ErasePending,
    /// 3.
    Erased,
    /// 4: a restart brings it into use.
    Downloaded,
    /// 5: reported after that restart.
    Complete,
}

/// How a stage went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStatus {
    /// 0.
    Ok,
    /// 1.
    Error,
    /// 2.
    Cancelled,
    /// 3: the old image is back.
    Reverted,
}

impl UpdateReport {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or a stage or status that is none: the answer of `AT#XFOTA=7` is for [`UpdateArea`].
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "#XFOTA")?;
        let stage = match fields.number::<u32>(0, "stage")? {
            0 => UpdateStage::Start,
            1 => UpdateStage::Download,
            2 => UpdateStage::ErasePending,
            3 => UpdateStage::Erased,
            4 => UpdateStage::Downloaded,
            5 => UpdateStage::Complete,
            _ => return Err(DecodeError::Malformed { line: "#XFOTA", field: "stage" }),
        };
        let status = match fields.number::<u32>(1, "status")? {
            0 => UpdateStatus::Ok,
            1 => UpdateStatus::Error,
            2 => UpdateStatus::Cancelled,
            3 => UpdateStatus::Reverted,
            _ => return Err(DecodeError::Malformed { line: "#XFOTA", field: "status" }),
        };
        Ok(Self { stage, status, info: fields.value(2) })
    }

    /// What an error's info means, where it is known.
    #[must_use]
    pub fn meaning(&self) -> Option<&'static str> {
        let Value::Known(info) = self.info else { return None };
        Some(match (self.stage, self.status, info) {
            (UpdateStage::Download, UpdateStatus::Error, 1) => "the download failed",
            (UpdateStage::Download, UpdateStatus::Error, 2) => "the image was refused",
            (UpdateStage::Download, UpdateStatus::Error, 3) => "it is an image of another kind",
            (UpdateStage::Complete, _, 71_303_169) => "internal error of the modem",
            (UpdateStage::Complete, _, 71_303_170) => "hardware error of the modem",
            (UpdateStage::Complete, _, 71_303_171) => "the modem does not accept the signature",
            (UpdateStage::Complete, _, 71_303_172) => "the image is for another modem firmware",
            (UpdateStage::Complete, _, 71_303_173) => "the supply was too low; the modem tries again",
            _ => return None,
        })
    }
}

/// `#XFOTA: <size>,<offset>`, the answer of `AT#XFOTA=7`: the area a modem update is collected in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateArea {
    /// Bytes.
    pub size: u32,
    /// Bytes in it; 2621440 means that it must be erased before it is used.
    pub offset: u32,
}

impl UpdateArea {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or fewer than two numbers.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "#XFOTA")?;
        Ok(Self { size: fields.number(0, "size")?, offset: fields.number(1, "offset")? })
    }

    /// It must be erased before an update is written to it.
    #[must_use]
    pub fn is_dirty(self) -> bool {
        self.offset == 2_621_440
    }
}

/// `#XDFU: <type>,<step>,<result>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageReport {
    /// 0 application, 1 modem difference, 2 whole modem, 3 bootloader.
    pub kind: u8,
    /// It was to be brought into use (2), not written (1).
    pub applying: bool,
    /// It worked.
    pub ok: bool,
}

impl ImageReport {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or a step other than 1 and 2.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "#XDFU")?;
        let applying = match fields.number::<u8>(1, "operation")? {
            1 => false,
            2 => true,
            _ => return Err(DecodeError::Malformed { line: "#XDFU", field: "operation" }),
        };
        let ok = fields.number::<i32>(2, "result")? == 0;
        Ok(Self { kind: fields.number(0, "type")?, applying, ok })
    }
}

/// `#XMODEMRESET: 0` or `<step>,<error>`, the answer of `AT#XMODEMRESET`. The radio is off after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModemReset {
    /// It worked.
    Done,
    /// It did not.
    Failed {
        /// Which step failed.
        step: u8,
        /// The error.
        error: i32,
    },
}

impl ModemReset {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or no number.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "#XMODEMRESET")?;
        Ok(match fields.number(0, "step")? {
            0 => Self::Done,
            step => Self::Failed { step, error: fields.number(1, "error")? },
        })
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
    fn a_position_is_told_from_a_status_by_its_fields() {
        let line =
            "#XGNSSPOS: 35.457576,139.625090,121.473785,22.199919,0.442868,0.000000,\"2021-06-02 06:25:48\"";
        let ApplicationReport::Fix(fix) = ApplicationReport::parse(line) else { panic!("no position") };
        assert_eq!((fix.latitude, fix.longitude), (Millionths(35_457_576), Millionths(139_625_090)));
        assert_eq!(
            (fix.altitude.to_string(), fix.accuracy.to_string()),
            ("121.473785".into(), "22.199919".into())
        );
        assert_eq!((fix.speed, fix.heading), (Millionths(442_868), Millionths(0)));
        assert_eq!(fix.time.to_string(), "2021-06-02T06:25:48Z");
        assert!((fix.latitude.as_f64() - 35.457576).abs() < 1e-9);
        for older in ["#XGNSS", "#XGPS"] {
            let report = ApplicationReport::parse(&line.replace("#XGNSSPOS", older));
            assert_eq!(report, ApplicationReport::Fix(fix.clone()), "{older}");
        }
        assert_eq!(
            ApplicationReport::parse("#XGNSS: 1,4"),
            ApplicationReport::Navigation { service: 1, status: NavigationStatus::SleepsAfterFix }
        );
        assert_eq!(
            ApplicationReport::parse("#XGPS: 1,9"),
            ApplicationReport::Navigation { service: 1, status: NavigationStatus::Other(9) }
        );
    }

    #[test]
    fn an_impossible_position_is_kept_as_it_came() {
        for line in [
            "#XGNSSPOS: 95.0,139.6,1,2,3,4,\"2021-06-02 06:25:48\"",
            "#XGNSSPOS: 35.0,181.0,1,2,3,4,\"2021-06-02 06:25:48\"",
            "#XGNSSPOS: 35.0,139.6,1,2,3,4,\"2021-13-02 06:25:48\"",
            "#XGNSSPOS: 35.0,139.6,1,2,3,4,\"21-6-2 6:25:48\"",
            "#XGNSSPOS: x,139.6,1,2,3,4,\"2021-06-02 06:25:48\"",
        ] {
            assert_eq!(ApplicationReport::parse(line), ApplicationReport::Other(line.to_owned()), "{line}");
        }
    }

    #[test]
    fn decimals_are_exact() {
        for (text, millionths) in [("0", 0), ("-0.000001", -1), ("12.5", 12_500_000), ("-90", -90_000_000)] {
            assert_eq!(Millionths::decode(text), Some(Millionths(millionths)), "{text}");
        }
        assert_eq!(Millionths(-1).to_string(), "-0.000001");
        for text in ["", "-", ".5", "5.", "1.2345678", "1e3", "+1", "--1", "1.-5", "12345678901"] {
            assert_eq!(Millionths::decode(text), None, "{text}");
        }
    }

    #[test]
    fn an_update_tells_stage_progress_and_cause() {
        let parse = |line| UpdateReport::parse(line).unwrap();
        let progress = parse("#XFOTA: 1,0,40");
        assert_eq!(
            (progress.stage, progress.status, progress.info.clone()),
            (UpdateStage::Download, UpdateStatus::Ok, Value::Known(40))
        );
        assert_eq!(progress.meaning(), None);
        assert_eq!(parse("#XFOTA: 1,1,3").meaning(), Some("it is an image of another kind"));
        assert_eq!(parse("#XFOTA: 5,1,71303171").meaning(), Some("the modem does not accept the signature"));
        assert_eq!(parse("#XFOTA: 5,3").status, UpdateStatus::Reverted);
        assert!(UpdateReport::parse("#XFOTA: 2621440,0").is_err());
        let area = UpdateArea::parse("#XFOTA: 2621440,2621440").unwrap();
        assert!(area.is_dirty());
        assert!(!UpdateArea::parse("#XFOTA: 2621440,0").unwrap().is_dirty());
    }

    #[test]
    fn images_ppp_and_resets() {
        let parse = ApplicationReport::parse;
        let image = |kind, applying, ok| ApplicationReport::Image(ImageReport { kind, applying, ok });
        assert_eq!(parse("#XDFU: 0,1,0"), image(0, false, true));
        assert_eq!(parse("#XDFU: 1,2,-1"), image(1, true, false));
        assert_eq!(parse("#XPPP: 1,0,0"), ApplicationReport::Ppp { running: true, peer: false, cid: 0 });
        assert_eq!(ModemReset::parse("#XMODEMRESET: 0").unwrap(), ModemReset::Done);
        assert_eq!(
            ModemReset::parse("#XMODEMRESET: 2,-5").unwrap(),
            ModemReset::Failed { step: 2, error: -5 }
        );
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
