//! Updates of application and modem as the serial application reports them, and the reset of the modem alone.

use crate::fields::{DecodeError, Fields, Value};

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
    use crate::application::ApplicationReport;

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
    fn images_and_resets() {
        let parse = ApplicationReport::parse;
        let image = |kind, applying, ok| ApplicationReport::Image(ImageReport { kind, applying, ok });
        assert_eq!(parse("#XDFU: 0,1,0"), image(0, false, true));
        assert_eq!(parse("#XDFU: 1,2,-1"), image(1, true, false));
        assert_eq!(ModemReset::parse("#XMODEMRESET: 0").unwrap(), ModemReset::Done);
        assert_eq!(
            ModemReset::parse("#XMODEMRESET: 2,-5").unwrap(),
            ModemReset::Failed { step: 2, error: -5 }
        );
    }
}
