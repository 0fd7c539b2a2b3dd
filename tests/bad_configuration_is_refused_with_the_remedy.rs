//! The promise: a bad configuration is refused as a whole, with file, line, key and remedy for everything that
//! is wrong in it; and a good one on real files is taken, with its secrets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a failed test")]

use std::fs::{DirBuilder, OpenOptions, Permissions, set_permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fieldgate::config::{self, Config, GoliothCredential, Loaded, Secret};
use tempfile::TempDir;

/// A configuration directory as an operator would have it.
struct Etc(TempDir);

impl Etc {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        DirBuilder::new().recursive(true).mode(0o755).create(path.parent().unwrap()).unwrap();
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&path).unwrap();
        file.write_all(content.as_ref()).unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn main(&self, content: &str) {
        self.write("fieldgate.toml", 0o644, content);
    }

    fn load(&self, credentials: Option<&Path>) -> Result<Loaded, Vec<String>> {
        config::load(&self.path("fieldgate.toml"), credentials)
            .map_err(|refused| refused.0.iter().map(ToString::to_string).collect())
    }

    fn taken(&self, credentials: Option<&Path>) -> Config {
        self.load(credentials).unwrap().config
    }

    fn refused(&self, credentials: Option<&Path>) -> Vec<String> {
        self.load(credentials).unwrap_err()
    }
}

fn golioth(secret: &str) -> String {
    format!("[gateway]\nserial = \"gw\"\n[golioth]\npsk_id = \"a@p\"\n{secret}\n")
}

/// Of the configuration's `[golioth]`.
fn key(config: &Config) -> &Secret {
    match &config.golioth.as_ref().unwrap().credential {
        GoliothCredential::Psk { key, .. } => key,
        GoliothCredential::Certificate { .. } => panic!("a certificate"),
    }
}

#[test]
fn everything_wrong_in_all_files_is_told_at_once_in_order() {
    let etc = Etc::new();
    etc.main("[gateway]\nserail = \"gw\"\n\n[store]\ncommit_window = \"2m\"\n[golioth]\npsk_id = \"a@p\"\npsk = \"k\"\n");
    etc.write(
        "conf.d/20-pumps.toml",
        0o644,
        "[[bus]]\nname = \"field\"\nkind = \"modbus-rtu\"\nport = \"/dev/ttyS1\"\n\
         [[bus.slave]]\nname = \"pump\"\nunit = 300\n",
    );
    etc.write("conf.d/10-store.toml", 0o644, "[store]\ncommit_window = \"1s\"\n");
    assert_eq!(
        etc.refused(None),
        [
            "fieldgate.toml:1: gateway.serial: this key is required. Write serial = \"gw-0042\", for example.",
            "fieldgate.toml:2: gateway.serail: this key is unknown. Did you mean \"serial\"? \
             Known here: name, serial, state_dir.",
            "fieldgate.toml:5: store.commit_window: \"2m\" is out of range. Use \"0s\" to \"60s\".",
            "fieldgate.toml:8: golioth.psk: a secret must not stand in the configuration. Put it alone into a \
             file only fieldgate can read and write psk_file = \"/path\", or pass it by systemd and write \
             psk_credential = \"name\". Change it if others could read it here.",
            "conf.d/10-store.toml:2: store.commit_window: this is already set at fieldgate.toml:5. \
             Keep one of the two.",
            "conf.d/20-pumps.toml:7: bus.slave.unit: 300 is not a Modbus unit. Use 1 to 247.",
        ]
    );
}

#[test]
fn files_in_conf_d_are_added_in_the_order_of_their_names_and_others_passed_over() {
    let etc = Etc::new();
    etc.main("[gateway]\nserial = \"gw\"\n");
    for name in ["b", "a", "c"] {
        let bus = format!(
            "[[bus]]\nname = \"{name}\"\nkind = \"modbus-rtu\"\nport = \"/dev/serial/by-id/{name}\"\n"
        );
        etc.write(&format!("conf.d/{name}.toml"), 0o644, bus);
    }
    etc.write("conf.d/.hidden.toml", 0o644, "not toml");
    etc.write("conf.d/a.toml.bak", 0o644, "not toml");
    let config = etc.taken(None);
    assert_eq!(config.buses.iter().map(|bus| bus.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(!config.gateway.name.is_empty(), "the host's name stands in");
}

#[test]
fn a_secret_others_can_read_is_refused_with_the_command_that_closes_it() {
    let etc = Etc::new();
    let psk = etc.write("psk", 0o644, "0123456789abcdef\n");
    etc.main(&golioth(&format!("psk_file = {psk:?}")));
    assert_eq!(
        etc.refused(None),
        [format!(
            "fieldgate.toml:5: golioth.psk_file: the secret is open to every user (mode 0644). Run: chmod o-rwx {}",
            psk.display()
        )]
    );
    set_permissions(&psk, Permissions::from_mode(0o640)).unwrap();
    let config = etc.taken(None);
    assert_eq!(key(&config).expose(), b"0123456789abcdef");
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
}

#[test]
fn one_line_break_is_taken_off_a_secret_and_nothing_else() {
    let etc = Etc::new();
    for (content, expected) in [("key", "key"), ("key\n", "key"), ("key\r\n", "key"), (" key ", " key ")] {
        let psk = etc.write("psk", 0o600, content);
        etc.main(&golioth(&format!("psk_file = {psk:?}")));
        assert_eq!(key(&etc.taken(None)).expose_str(), Some(expected));
    }
    etc.write("psk", 0o600, "key\n\n");
    assert_eq!(
        etc.refused(None),
        ["fieldgate.toml:5: golioth.psk_file: the secret is not one line of text. \
          Put the secret alone on one line, as text."]
    );
}

#[test]
fn a_credential_is_read_below_the_directory_systemd_passed() {
    let etc = Etc::new();
    let credentials = etc.path("credentials");
    etc.write("credentials/golioth-psk", 0o444, "from systemd");
    etc.main(&golioth("psk_credential = \"golioth-psk\""));
    let config = etc.taken(Some(&credentials));
    assert_eq!(key(&config).expose(), b"from systemd");
    assert_eq!(
        etc.refused(None),
        ["fieldgate.toml:5: golioth.psk_credential: systemd passed no credentials. \
          Start by systemd with LoadCredential= for this name in the unit, or use a file."]
    );
    etc.main(&golioth("psk_credential = \"other\""));
    assert_eq!(
        etc.refused(Some(&credentials)),
        ["fieldgate.toml:5: golioth.psk_credential: the secret cannot be read: \
          No such file or directory (os error 2). \
          Add LoadCredential= for this name to the unit and restart it."]
    );
}

#[test]
fn a_secret_that_is_no_file_or_far_too_long_is_refused_without_waiting() {
    let etc = Etc::new();
    let pipe = etc.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let directory = etc.0.path();
    let huge = etc.write("huge", 0o600, vec![b'a'; 20_000]);
    for (path, why) in [
        (pipe.as_path(), "not a regular file"),
        (directory, "not a regular file"),
        (huge.as_path(), "larger than 16 KiB"),
        (Path::new("/nonexistent/psk"), "No such file or directory (os error 2)"),
    ] {
        etc.main(&golioth(&format!("psk_file = {path:?}")));
        assert_eq!(
            etc.refused(None),
            [format!(
                "fieldgate.toml:5: golioth.psk_file: the secret cannot be read: {why}. \
                 Put the secret alone into that file, owned by the user fieldgate, mode 0600."
            )]
        );
    }
}

#[test]
fn a_configuration_that_cannot_be_read_says_which_file_and_where() {
    let etc = Etc::new();
    let main = etc.path("fieldgate.toml");
    let missing = format!(
        "{}: it cannot be read: No such file or directory (os error 2). \
         Write the file, or name another with --config, and let fieldgate read it.",
        main.display()
    );
    assert_eq!(etc.refused(None), [missing.as_str()]);

    etc.write("conf.d/1.toml", 0o644, b"[gateway]\nname = \"\xff\"\n");
    assert_eq!(
        etc.refused(None),
        [missing.as_str(), "conf.d/1.toml:2: this is not UTF-8 text. Save the file as UTF-8."]
    );

    etc.write("conf.d/1.toml", 0o644, "#".repeat((1 << 20) + 1));
    etc.main("gateway.serial = \"gw\"");
    let large = etc.path("conf.d/1.toml");
    assert_eq!(
        etc.refused(None),
        [format!("{}: it is larger than 1 MiB. Split it into files in conf.d.", large.display())]
    );
}

#[test]
fn too_many_files_are_refused() {
    let etc = Etc::new();
    etc.main("gateway.serial = \"gw\"");
    for at in 0..65 {
        etc.write(&format!("conf.d/{at}.toml"), 0o644, "");
    }
    assert_eq!(etc.refused(None), ["conf.d: 65 files are too many. Keep at most 64."]);
}

#[test]
fn the_shipped_example_is_taken_once_its_credentials_exist() {
    let etc = Etc::new();
    etc.main(config::example());
    etc.write("credentials/golioth-psk", 0o400, "0123456789abcdef");
    etc.write("credentials/plant-password", 0o400, "secret");
    let loaded = etc.load(Some(&etc.path("credentials"))).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.gateway.serial, "gw-0042");
}
