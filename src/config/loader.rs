//! The only part of this room that touches files: configuration texts, secret files, credentials, host name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::parse::{self, Loaded, SecretRefused, SecretSource, Surroundings};
use super::problem::{Problem, Refused};
use super::secret::Secret;

/// Largest configuration file, in bytes.
const MOST_FILE_BYTES: u64 = 1 << 20;
/// Most files in `conf.d`.
const MOST_FILES: usize = 64;
/// Largest secret file, in bytes: far beyond any limit a key has, small enough to read at once.
const MOST_SECRET_BYTES: usize = 16 * 1024;

/// Reads the main file and `conf.d/*.toml` beside it, in the order of their names, and validates them
/// together.
///
/// `credentials_dir` is what systemd names in `$CREDENTIALS_DIRECTORY`. Messages name files relative to the
/// main file's directory. Hidden files and files of other names in `conf.d` are passed over; a directory
/// that does not exist holds none.
pub fn load(path: &Path, credentials_dir: Option<&Path>) -> Result<Loaded, Refused> {
    read(path, |host_name| Machine { host_name, credentials_dir: credentials_dir.map(Path::to_path_buf) })
}

/// The same for whoever only looks: secrets are not read, so a technician without the daemon's rights and without
/// systemd's credentials can ask. The configuration's secrets are then placeholders: never to be used for a connection.
///
/// # Errors
/// Everything [`load`] refuses but for what is wrong with secrets.
pub fn load_without_secrets(path: &Path) -> Result<Loaded, Refused> {
    read(path, |host_name| Onlooker { host_name })
}

fn read<S: Surroundings>(path: &Path, surroundings: impl FnOnce(String) -> S) -> Result<Loaded, Refused> {
    let mut problems = Vec::new();
    let mut texts = Vec::new();
    let main = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    let extra = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let extra_files = list(&extra).unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    let files = core::iter::once((main.into_owned(), path.to_path_buf())).chain(extra_files);
    for (name, path) in files {
        match read_text(&name, &path) {
            Ok(text) => texts.push((name, text)),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Refused(problems));
    }
    let texts: Vec<_> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    parse::parse(&texts, &surroundings(host_name()))
}

/// Sees the host's name and no secret.
struct Onlooker {
    host_name: String,
}

impl Surroundings for Onlooker {
    fn host_name(&self) -> &str {
        &self.host_name
    }

    fn secret(&self, _: &SecretSource) -> Result<Secret, SecretRefused> {
        // Within every length a secret may have.
        Ok(Secret::new(b"not-read-by-an-onlooker".to_vec()))
    }
}

/// `conf.d`: (name as shown, path), sorted by name.
fn list(directory: &Path) -> Result<Vec<(String, PathBuf)>, Problem> {
    let unreadable = |error: io::Error| {
        whole_file(
            &directory.display().to_string(),
            format!("it cannot be read: {error}."),
            "Let the user fieldgate read it, or remove it.",
        )
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".toml") && !name.starts_with('.') {
            files.push((format!("conf.d/{name}"), path));
        }
    }
    if files.len() > MOST_FILES {
        let what = format!("{} files are too many.", files.len());
        return Err(whole_file("conf.d", what, &format!("Keep at most {MOST_FILES}.")));
    }
    files.sort_unstable();
    Ok(files)
}

fn read_text(name: &str, path: &Path) -> Result<String, Problem> {
    let bytes = File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let bytes = bytes.map_err(|error| {
        // By its whole path: which folder was looked into is the news.
        let what = format!("it cannot be read: {error}.");
        whole_file(
            &path.display().to_string(),
            what,
            "Write the file, or name another with --config, and let fieldgate read it.",
        )
    })?;
    if bytes.len() as u64 > MOST_FILE_BYTES {
        let what = "it is larger than 1 MiB.".to_owned();
        return Err(whole_file(&path.display().to_string(), what, "Split it into files in conf.d."));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        let problem = whole_file(name, "this is not UTF-8 text.".to_owned(), "Save the file as UTF-8.");
        Problem { line: Some(line), ..problem }
    })
}

fn whole_file(name: &str, what: String, remedy: &str) -> Problem {
    Problem { file: name.to_owned(), line: None, key: String::new(), what, remedy: remedy.to_owned() }
}

fn host_name() -> String {
    nix::sys::utsname::uname()
        .map(|names| names.nodename().to_string_lossy().into_owned())
        .unwrap_or_default()
}

struct Machine {
    host_name: String,
    credentials_dir: Option<PathBuf>,
}

impl Surroundings for Machine {
    fn host_name(&self) -> &str {
        &self.host_name
    }

    fn secret(&self, source: &SecretSource) -> Result<Secret, SecretRefused> {
        match source {
            SecretSource::File(path) => read_secret(path, Guard::Mode),
            SecretSource::Credential(name) => match &self.credentials_dir {
                // Systemd's directory lets nobody else in, whatever the file's mode.
                Some(directory) => read_secret(&directory.join(name), Guard::Directory),
                None => Err(SecretRefused {
                    what: "systemd passed no credentials.".to_owned(),
                    remedy: "Start by systemd with LoadCredential= for this name in the unit, or use a file."
                        .to_owned(),
                }),
            },
        }
    }
}

/// What keeps others from reading a secret file.
#[derive(Clone, Copy, PartialEq)]
enum Guard {
    /// Its own mode.
    Mode,
    /// The directory it is in.
    Directory,
}

fn read_secret(path: &Path, guard: Guard) -> Result<Secret, SecretRefused> {
    let unreadable = |error: io::Error| SecretRefused {
        what: format!("the secret cannot be read: {error}."),
        remedy: match guard {
            Guard::Mode => "Put the secret alone into that file, owned by the user fieldgate, mode 0600.",
            Guard::Directory => "Add LoadCredential= for this name to the unit and restart it.",
        }
        .to_owned(),
    };
    // Without blocking, so that a pipe is refused below instead of waited for.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("not a regular file")));
    }
    if guard == Guard::Mode && metadata.mode() & 0o007 != 0 {
        return Err(SecretRefused {
            what: format!("the secret is open to every user (mode {:04o}).", metadata.mode() & 0o7777),
            remedy: format!("Run: chmod o-rwx {}", path.display()),
        });
    }
    // Room for everything at once: a vector that grows leaves copies of the secret behind.
    let mut bytes = Vec::with_capacity(MOST_SECRET_BYTES + 64);
    let read = file.take(MOST_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes);
    let too_long = bytes.len() > MOST_SECRET_BYTES;
    trim_line_break(&mut bytes);
    let secret = Secret::new(bytes);
    read.map_err(unreadable)?;
    if too_long {
        return Err(unreadable(io::Error::other("larger than 16 KiB")));
    }
    Ok(secret)
}

/// Takes off the one line break an editor leaves at the end.
fn trim_line_break(bytes: &mut Vec<u8>) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
}
