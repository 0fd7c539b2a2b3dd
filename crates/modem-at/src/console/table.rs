//! Which class each known command is of, by its form. Kept sorted by name; a form a command does not have is unknown.

use super::ConsoleClass::{
    self, Credentials, DataMode, EndsPath, Identity, NonVolatile, Reads, Settings, Unknown,
};
use crate::command::{Command, Form};

/// Name, class of its read form (`?`), without an ending, and with arguments.
pub(super) type Row = (&'static str, ConsoleClass, ConsoleClass, ConsoleClass);

/// The test form (`=?`) of every one of them reads, unless [`SEARCH`] says otherwise.
pub(super) const ROWS: [Row; 92] = [
    ("#XBOOTINFO", Unknown, Unknown, Reads),
    ("#XCARRIER", Unknown, Unknown, DataMode),
    ("#XCLAC", Unknown, Reads, Unknown),
    ("#XCLOSE", Unknown, EndsPath, EndsPath),
    ("#XCMUX", Reads, DataMode, DataMode),
    ("#XCMUXCLD", Unknown, EndsPath, Unknown),
    ("#XCMUXURC", Reads, Unknown, Settings),
    ("#XDATACTRL", Reads, Unknown, Settings),
    ("#XDFUAPPLY", Unknown, Unknown, NonVolatile),
    ("#XDFUINIT", Unknown, Unknown, NonVolatile),
    ("#XDFUWRITE", Unknown, Unknown, DataMode),
    // With 7 it reads what was collected; see `by_arguments`.
    ("#XFOTA", Unknown, Unknown, NonVolatile),
    ("#XGNSS", Reads, Unknown, Settings),
    ("#XGNSSDEL", Unknown, Unknown, NonVolatile),
    ("#XGPS", Reads, Unknown, Settings),
    ("#XGPSDEL", Unknown, Unknown, NonVolatile),
    ("#XMODEMRESET", Unknown, EndsPath, Unknown),
    ("#XMQTTPUB", Unknown, DataMode, DataMode),
    ("#XNRFCLOUD", Reads, Unknown, DataMode),
    ("#XPPP", Reads, Unknown, DataMode),
    ("#XRESET", Unknown, EndsPath, Unknown),
    ("#XSEND", Unknown, DataMode, DataMode),
    ("#XSENDTO", Unknown, DataMode, DataMode),
    ("#XSHUTDOWN", Unknown, EndsPath, Unknown),
    ("#XSLEEP", Unknown, Unknown, EndsPath),
    ("#XSLMUART", Reads, Unknown, EndsPath),
    ("#XSLMVER", Unknown, Reads, Unknown),
    ("#XSMVER", Unknown, Reads, Unknown),
    ("#XSOCKETSELECT", Reads, Unknown, EndsPath),
    ("#XUUID", Unknown, Identity, Unknown),
    ("%CCLK", Reads, Unknown, Settings),
    ("%CESQ", Unknown, Unknown, Settings),
    ("%CMNG", Unknown, Unknown, Credentials),
    ("%CONEVAL", Unknown, Reads, Unknown),
    ("%HWVERSION", Unknown, Reads, Unknown),
    ("%MDMEV", Unknown, Unknown, Settings),
    // A measurement of some seconds, whose result is reported later.
    ("%NCELLMEAS", Unknown, Settings, Settings),
    ("%NCELLMEASSTOP", Unknown, Settings, Unknown),
    ("%RAI", Reads, Unknown, NonVolatile),
    ("%SHORTSWVER", Unknown, Reads, Unknown),
    ("%XBANDLOCK", Reads, Unknown, NonVolatile),
    ("%XCBAND", Unknown, Reads, Unknown),
    ("%XCONNSTAT", Reads, Unknown, Settings),
    ("%XFACTORYRESET", Unknown, Unknown, NonVolatile),
    ("%XICCID", Unknown, Identity, Unknown),
    ("%XMODEMUUID", Unknown, Reads, Unknown),
    ("%XMONITOR", Unknown, Reads, Unknown),
    ("%XPMNG", Unknown, Unknown, Credentials),
    // The modem then switches its radio off by itself when the supply falls.
    ("%XPOFWARN", Reads, Unknown, EndsPath),
    ("%XPTW", Reads, Unknown, NonVolatile),
    ("%XSIM", Reads, Unknown, Settings),
    ("%XSNRSQ", Reads, Unknown, Settings),
    ("%XSYSTEMMODE", Reads, Unknown, NonVolatile),
    ("%XTEMP", Reads, Unknown, Settings),
    ("%XTIME", Unknown, Unknown, Settings),
    ("%XVBAT", Unknown, Reads, Unknown),
    ("%XVBATLVL", Unknown, Unknown, Settings),
    ("+CCLK", Reads, Unknown, Settings),
    ("+CEDRXRDP", Unknown, Reads, Unknown),
    ("+CEDRXS", Reads, Unknown, NonVolatile),
    ("+CEMODE", Reads, Unknown, NonVolatile),
    ("+CEREG", Reads, Unknown, Settings),
    ("+CESQ", Unknown, Reads, Unknown),
    ("+CFUN", Reads, Unknown, EndsPath),
    ("+CGACT", Reads, Unknown, EndsPath),
    ("+CGATT", Reads, Unknown, EndsPath),
    ("+CGAUTH", Credentials, Unknown, Credentials),
    ("+CGDATA", Unknown, DataMode, DataMode),
    // The default context is the data connection, and it is kept.
    ("+CGDCONT", Reads, Unknown, EndsPath),
    ("+CGEREP", Reads, Unknown, Settings),
    ("+CGMI", Unknown, Reads, Unknown),
    ("+CGMM", Unknown, Reads, Unknown),
    ("+CGMR", Unknown, Reads, Unknown),
    ("+CGPADDR", Unknown, Reads, Reads),
    ("+CGSN", Unknown, Identity, Identity),
    ("+CIMI", Unknown, Identity, Unknown),
    ("+CIND", Reads, Unknown, Settings),
    ("+CLAC", Unknown, Reads, Unknown),
    ("+CLCK", Unknown, Unknown, Credentials),
    ("+CMEE", Reads, Unknown, Settings),
    ("+CMUX", Reads, Unknown, DataMode),
    ("+CNEC", Reads, Unknown, Settings),
    ("+CNUM", Unknown, Identity, Unknown),
    ("+COPS", Reads, Unknown, EndsPath),
    ("+CPIN", Reads, Unknown, Credentials),
    ("+CPINR", Unknown, Reads, Reads),
    ("+CPSMS", Reads, Unknown, NonVolatile),
    ("+CPWD", Unknown, Unknown, Credentials),
    // A file of the card is read or written.
    ("+CRSM", Unknown, Unknown, Credentials),
    ("+CSCON", Reads, Unknown, Settings),
    ("+CSIM", Unknown, Unknown, Credentials),
    ("+IPR", Reads, Unknown, EndsPath),
];

/// Its test form looks for networks: minutes, and the data connection with it.
pub(super) const SEARCH: &str = "+COPS";

pub(super) fn class_of(command: &Command) -> ConsoleClass {
    if command.form() == Form::Basic {
        return if command.text() == "AT" { Reads } else { Settings };
    }
    let Ok(at) = ROWS.binary_search_by_key(&command.name(), |row| row.0) else { return Unknown };
    let Some((name, read, action, set)) = ROWS.get(at).copied() else { return Unknown };
    match command.form() {
        Form::Basic => Reads,
        Form::Read => read,
        Form::Test if name == SEARCH => EndsPath,
        Form::Test => Reads,
        Form::Action => action,
        Form::Set => by_arguments(name, command.arguments()).unwrap_or(set),
    }
}

/// Arguments that make a command harmless which is not so in general. The whole text must fit, so that nothing slips by behind it.
fn by_arguments(name: &str, arguments: &str) -> Option<ConsoleClass> {
    match (name, arguments) {
        ("#XFOTA", "7") => Some(Reads),
        _ => None,
    }
}
