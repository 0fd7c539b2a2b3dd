//! Which modem is played: its application, its identity, its network.

use core::time::Duration;

/// The application in front of the modem core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimApplication {
    /// Serial Modem: `AT#XSMVER`, every answer framed by CR LF on both sides, reports held back while a command runs.
    SerialModem,
    /// Serial LTE Modem: `AT#XSLMVER`, CR LF after lines only, reports whenever they happen.
    SerialLteModem,
    /// Modem commands only.
    PlainAt,
}

/// What the application waits for at the end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// CR.
    Cr,
    /// CR LF.
    CrLf,
    /// LF; a CR stays in the command.
    Lf,
}

impl CommandEnd {
    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Cr => b"\r",
            Self::CrLf => b"\r\n",
            Self::Lf => b"\n",
        }
    }
}

/// Everything that stays the same over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModemProfile {
    /// The application.
    pub application: SimApplication,
    /// What ends a command.
    pub command_end: CommandEnd,
    /// Application version, the first field of `#XSMVER` and `#XSLMVER`.
    pub app_version: String,
    /// SDK version, the second field.
    pub sdk_version: String,
    /// 15 digits.
    pub imei: String,
    /// 19 or 20 digits; a 19 digit number is padded with `F` on the wire.
    pub iccid: String,
    /// 15 digits.
    pub imsi: String,
    /// `AT+CGMM`.
    pub model: String,
    /// `AT+CGMR`.
    pub revision: String,
    /// `AT%HWVERSION`.
    pub hardware: String,
    /// The network it finds.
    pub network: SimNetwork,
    /// The network's offset from universal time, quarter hours, daylight saving included.
    pub quarter_hours: i8,
    /// The network sends the time by itself.
    pub sends_time: bool,
    /// Whether the digits of the modem's clock are local time; else they are universal time.
    pub clock_is_local: bool,
    /// What the modem's clock says before the network set it; without this it says `ERROR`.
    pub unset_clock: Option<String>,
    /// How long the start takes.
    pub boot: Duration,
}

/// The one cell there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimNetwork {
    /// Long and short name.
    pub name: String,
    /// Country and network code.
    pub plmn: String,
    /// Registered as a roamer (5) or at home (1).
    pub roaming: bool,
    /// Tracking area code.
    pub tracking_area: u16,
    /// Cell id.
    pub cell: u32,
    /// Physical cell id.
    pub physical_cell: u16,
    /// EARFCN.
    pub earfcn: u32,
    /// Band.
    pub band: u8,
    /// 7 LTE-M, 9 NB-IoT.
    pub access_technology: u8,
}

impl ModemProfile {
    /// An nRF9151 with the Serial Modem application 1.99, roaming on LTE-M.
    #[must_use]
    pub fn serial_modem() -> Self {
        Self {
            application: SimApplication::SerialModem,
            command_end: CommandEnd::Cr,
            app_version: "v1.99.0-67-ga9e396bc3d58".to_owned(),
            sdk_version: "3.3.99".to_owned(),
            imei: "352656106647673".to_owned(),
            iccid: "8901234567012345678".to_owned(),
            imsi: "204080813630037".to_owned(),
            model: "nRF9151-LACA".to_owned(),
            revision: "mfw_nrf91x1_2.0.4".to_owned(),
            hardware: "nRF9151 LACA A1A".to_owned(),
            network: SimNetwork {
                name: "Telia N@".to_owned(),
                plmn: "24202".to_owned(),
                roaming: true,
                tracking_area: 0x0901,
                cell: 0x0202_4720,
                physical_cell: 428,
                earfcn: 6300,
                band: 20,
                access_technology: 7,
            },
            quarter_hours: 8,
            sends_time: true,
            clock_is_local: true,
            unset_clock: None,
            boot: Duration::from_millis(2000),
        }
    }

    /// The same modem with the older Serial LTE Modem application.
    #[must_use]
    pub fn serial_lte_modem() -> Self {
        Self {
            application: SimApplication::SerialLteModem,
            command_end: CommandEnd::CrLf,
            app_version: "2.6.0".to_owned(),
            sdk_version: "2.6.0-lib".to_owned(),
            ..Self::serial_modem()
        }
    }

    /// The same modem with nothing but the modem's own commands.
    #[must_use]
    pub fn plain_at() -> Self {
        Self { application: SimApplication::PlainAt, command_end: CommandEnd::CrLf, ..Self::serial_modem() }
    }
}
