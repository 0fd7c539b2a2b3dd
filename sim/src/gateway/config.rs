//! The configuration of a simulated installation, as its operator could have written it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Trouble, points};

/// The gateway's device name.
pub const SERIAL: &str = "gw-demo";
/// The project at the simulated cloud.
pub const PROJECT: &str = "field-demo";
/// The device's key there.
pub const PSK: &str = "a-demonstration-key";
/// The management key there.
pub const API_KEY: &str = "demo-management-key";
/// How long a slave may take to answer.
pub const BUS_TIMEOUT: Duration = Duration::from_secs(2);
/// The Golioth destination, as routes and the API name it.
pub const GOLIOTH: &str = "golioth";

/// What differs from one installation to another.
#[derive(Debug, Clone)]
pub struct Installation {
    /// Where the daemon's state goes.
    pub state_dir: PathBuf,
    /// Where its page listens.
    pub http: SocketAddr,
    /// The bus's port.
    pub bus_port: PathBuf,
    /// Its speed.
    pub baud: u32,
    /// How often every point is read.
    pub period: Duration,
    /// The modem's port, if there is one.
    pub modem_port: Option<PathBuf>,
    /// Where the cloud is reached: the relay.
    pub cloud: SocketAddr,
    /// The cloud's management API, if it is used.
    pub rest: Option<SocketAddr>,
    /// `store.commit_window`.
    pub commit_window: Duration,
    /// `uplink.linger`.
    pub linger: Duration,
    /// `uplink.window`.
    pub window: u8,
}

impl Installation {
    /// Writes the configuration and the files with secrets into `folder`; gives the configuration's path.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, Trouble> {
        let psk = folder.join("golioth-psk");
        secret(&psk, PSK)?;
        let api_key = folder.join("golioth-api-key");
        secret(&api_key, API_KEY)?;
        let config = folder.join("fieldgate.toml");
        file(&config, &self.toml(&psk, &api_key), 0o644)?;
        Ok(config)
    }

    fn toml(&self, psk: &Path, api_key: &Path) -> String {
        let modem = self.modem_port.as_ref().map_or(String::new(), |port| {
            format!("[modem]\nport = \"{}\"\nflow_control = false\npoll = \"5s\"\n\n", port.display())
        });
        let rest = self.rest.map_or(String::new(), |rest| {
            format!(
                "[golioth.rest]\nurl = \"http://{rest}\"\napi_key_file = \"{}\"\npoll = \"15s\"\n\n",
                api_key.display()
            )
        });
        let cell = if self.modem_port.is_some() {
            "[[firmware.component]]\npackage = \"cell\"\nversion_from = \"modem\"\n\n"
        } else {
            ""
        };
        format!(
            "# A pump house: a tank, a pump and a weather station on one Modbus line, and an nRF9151.\n\n\
             [gateway]\nserial = \"{SERIAL}\"\nname = \"pump house\"\nstate_dir = \"{state}\"\n\n\
             [store]\ncommit_window = \"{commit}ms\"\n\n\
             [time]\ntrust_system_clock = true\n\n\
             [uplink]\nlinger = \"{linger}ms\"\nwindow = {window}\n\n\
             [http]\nlisten = \"{http}\"\n\n\
             {modem}\
             [golioth]\nendpoint = \"{cloud}\"\npsk_id = \"{SERIAL}@{PROJECT}\"\npsk_file = \"{psk}\"\n\n\
             {rest}\
             [[firmware.component]]\npackage = \"main\"\n\n\
             {cell}\
             [[firmware.component]]\npackage = \"sensor-board\"\nversion_from = \"fixed\"\nversion = \"1.2.3\"\n\n\
             [[bus]]\nname = \"{bus}\"\nkind = \"modbus-rtu\"\nport = \"{bus_port}\"\nbaud = {baud}\ntimeout = \"{timeout}ms\"\n{slaves}",
            state = self.state_dir.display(),
            commit = self.commit_window.as_millis(),
            linger = self.linger.as_millis(),
            window = self.window,
            http = self.http,
            cloud = self.cloud,
            psk = psk.display(),
            bus = points::BUS,
            bus_port = self.bus_port.display(),
            baud = self.baud,
            timeout = BUS_TIMEOUT.as_millis(),
            slaves = points::slave_tables(self.period),
        )
    }
}

/// A loopback address that was free a moment ago.
///
/// # Errors
/// When the system gives none.
pub fn free_address() -> Result<SocketAddr, Trouble> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Trouble::system("find a free port"))
}

/// Writes a whole file.
///
/// # Errors
/// When it cannot be written.
pub fn file(path: &Path, text: &str, mode: u32) -> Result<(), Trouble> {
    std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Trouble::system(format!("write {}", path.display())))
}

fn secret(path: &Path, text: &str) -> Result<(), Trouble> {
    file(path, text, 0o600)
}
