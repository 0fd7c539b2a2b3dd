//! A session between two runs of the daemon: what is kept of it, under which key, bound to what, and for how long.
//!
//! A session that is used twice would repeat nonces, which gives its keys away, and message ids, which makes the cloud answer a
//! new message with the answer to an old one. So the record is written only at a clean stop, after the session's last datagram;
//! it is taken once, its deletion is on the disk before anything is sent ([`OnceFile`]); and it is used only as the file it was
//! written as, on the same board, beside the same queue, for the same endpoint and credential (`bound`), and with the same modem: a
//! board that has no serial number waits until the modem has said which it is, any other goes on and gives the session up when
//! the modem turns out to be another. A folder that was put back behind our back passes all that. Against it the next run sends one record and waits: the cloud takes no record number twice, so
//! it stays silent, and that silence ends in a handshake (`live`); and it counts on from a random distance, so that no answer
//! the cloud has kept fits (`session`).

mod bound;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fieldgate_coap::{KeptObservation, Request, Token};
use fieldgate_dtls as dtls;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use bound::Names;
pub(super) use bound::Refused;

use super::services::{self, Watched};
use crate::clock::{BootId, Clock};
use crate::config::Secret;
use crate::daemon::rim::{Entropy, Rim};
use crate::store::once::{FileId, OnceFile};

/// The cloud forgets a session that is idle for longer.
pub(super) const SESSION_LIMIT: Duration = Duration::from_secs(3 * 3600);
const FILE: &str = "golioth.session";
const PURPOSE: &str = "fieldgate golioth session 3";

/// What a record is bound to besides its own file.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// Where the record is kept.
    pub state_dir: &'a Path,
    /// Of `queue.db`: what was accepted under another file is not this session's to send.
    pub queue_file_id: u64,
    /// Whether the session of the run before is gone on with, and this one's left for the next. An errand does neither.
    pub passes_on: bool,
    /// A modem is configured, and will say which it is.
    pub modem: bool,
    /// Not bound to, but as old: the newest time that was once certain, Unix milliseconds.
    pub time_floor_unix_ms: Option<i64>,
}

/// A session and the counters that must go on with it.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// The DTLS context.
    #[serde(with = "zeroed")]
    pub(super) session: Zeroizing<Vec<u8>>,
    /// The next ones.
    pub(super) message_id: u16,
    pub(super) token: u64,
    pub(super) observations: Vec<Observed>,
    /// Where the cloud was.
    pub(super) peer: Option<SocketAddr>,
    /// When it was last heard.
    pub(super) heard: Moment,
    /// Who we were and whom we trusted when it was made ([`Loaded`](super::credential::Loaded)).
    pub(super) credential: [u8; 32],
    /// The modem's number, as [`Hidden::digest`](crate::board::Hidden::digest) tells it, where one had said it.
    pub(super) modem: Option<[u8; 32]>,
}

/// As it is sealed.
#[derive(Serialize, Deserialize)]
struct Record {
    names: Names,
    kept: Kept,
}

/// Bytes that are zeroed after use.
pub(super) mod zeroed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use zeroize::Zeroizing;

    pub(in crate::clouds::golioth) fn serialize<S: Serializer>(
        bytes: &Zeroizing<Vec<u8>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_slice().serialize(to)
    }

    pub(in crate::clouds::golioth) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Zeroizing<Vec<u8>>, D::Error> {
        Vec::deserialize(from).map(Zeroizing::new)
    }
}

/// An observation that the cloud serves.
#[derive(Serialize, Deserialize)]
pub(super) struct Observed {
    path: String,
    accept: Option<u16>,
    token: Vec<u8>,
    newest: Option<u32>,
}

impl From<KeptObservation> for Observed {
    fn from(kept: KeptObservation) -> Self {
        Self {
            path: kept.request.path.join("/"),
            accept: kept.request.accept,
            token: kept.token.as_bytes().to_vec(),
            newest: kept.newest,
        }
    }
}

impl Observed {
    /// With the request as it is made today, its limits included. `None` where the token is none, and where this release makes no such
    /// request.
    pub(super) fn to_kept(&self) -> Option<(Watched, KeptObservation)> {
        let get = Request::get(&self.path);
        let watched = services::Observed::watched(&get)?;
        let request = Some(watched.request()).filter(|request| request.accept == self.accept)?;
        let token = Token::new(&self.token)?;
        Some((watched, KeptObservation { request, token, newest: self.newest }))
    }
}

/// An instant that another run, and another boot if both knew the time, can place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moment {
    boot: [u8; 16],
    mono_ms: u64,
    /// If it was trusted.
    unix_ms: Option<i64>,
}

impl Moment {
    /// The moment `ago` before now.
    pub(super) fn ago(clock: &dyn Clock, ago: Duration) -> Self {
        let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let wall = clock.wall();
        Self {
            boot: clock.boot_id().0,
            mono_ms: clock.mono().ms().saturating_sub(ago_ms),
            unix_ms: wall.trusted.then(|| wall.unix_ms.saturating_sub_unsigned(ago_ms)),
        }
    }

    /// How long it is past. `None` where nobody can tell, or where it is yet to come.
    pub(super) fn age(self, clock: &dyn Clock) -> Option<Duration> {
        let wall = clock.wall();
        let age_ms = if clock.boot_id() == BootId(self.boot) {
            clock.mono().ms().checked_sub(self.mono_ms)
        } else {
            let then = self.unix_ms.filter(|_| wall.trusted)?;
            u64::try_from(wall.unix_ms.checked_sub(then)?).ok()
        };
        age_ms.map(Duration::from_millis)
    }
}

/// Where a session waits for the next run. Shared by the lane, which takes and leaves, and the daemon's end, which writes.
#[derive(Debug)]
pub struct Shelf {
    /// None where no session is passed on.
    file: Option<OnceFile>,
    secret: Secret,
    endpoint: String,
    /// The board's serial number.
    board: Option<Arc<str>>,
    queue: u64,
    /// A modem will say which it is.
    modem: bool,
    /// Nobody has asked for it yet.
    taken: Mutex<Option<Result<Kept, Refused>>>,
    left: Mutex<Option<Kept>>,
}

/// What the run before left, and since when nothing was heard of it; or why it is not to be used.
pub(super) type Taken = Result<(Kept, Duration), Refused>;

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(..)")
    }
}

impl Shelf {
    /// Takes what the run before left, if it may be used. Blocks for as long as the deletion takes to reach the disk.
    pub(super) fn open(bound: Bound<'_>, endpoint: &str, secret: Secret, rim: &Rim) -> Arc<Self> {
        let shelf = Self {
            file: bound.passes_on.then(|| OnceFile::new(bound.state_dir, FILE)),
            secret,
            endpoint: endpoint.to_owned(),
            board: rim.hardware.clone(),
            queue: bound.queue_file_id,
            modem: bound.modem,
            taken: Mutex::default(),
            left: Mutex::default(),
        };
        *lock(&shelf.taken) = shelf.take().transpose();
        Arc::new(shelf)
    }

    fn take(&self) -> Result<Option<Kept>, Refused> {
        let Some(file) = &self.file else { return Ok(None) };
        let Some((id, sealed)) = file.take()? else { return Ok(None) };
        let plain = dtls::unseal(self.secret.expose(), PURPOSE, self.endpoint.as_bytes(), &sealed)
            .ok_or(Refused::Sealed)?;
        let Record { names, kept } = serde_json::from_slice(&plain)?;
        names.holds(&self.names(id))?;
        Ok(Some(kept))
    }

    /// What the run before left, for whoever asks first: by what `credential` is then, and by its age then, because the data plan may have made the lane wait for days.
    pub(super) fn taken(&self, credential: [u8; 32], clock: &dyn Clock) -> Option<Taken> {
        let taken = lock(&self.taken).take()?;
        Some(taken.and_then(|kept| {
            if kept.credential != credential {
                return Err(Refused::OtherCredential);
            }
            let age = kept.heard.age(clock).ok_or(Refused::UnknownAge)?;
            if age > SESSION_LIMIT { Err(Refused::TooOld(age)) } else { Ok((kept, age)) }
        }))
    }

    /// Whether a session may be left for the next run.
    pub(super) fn passes_on(&self) -> bool {
        self.file.is_some()
    }

    /// Whether a session is bound to hardware only once the modem has said which it is: then it is neither used nor left before.
    pub(super) fn needs_modem(&self) -> bool {
        self.board.is_none() && self.modem
    }

    /// Leaves a session for the next run. Nothing may be sent on it any more.
    pub(super) fn leave(&self, kept: Kept) {
        *lock(&self.left) = Some(kept);
    }

    /// Writes what was left, or what nobody has asked for. For the daemon's end, when the lanes are done.
    pub fn put_away(&self, random: &Arc<dyn Entropy>) {
        let unused = lock(&self.taken).take().and_then(Result::ok);
        let (Some(file), Some(kept)) = (&self.file, lock(&self.left).take().or(unused)) else { return };
        if let Err(error) = file.put(|id| self.seal(&kept, id, random)) {
            tracing::warn!(%error, "the session is not kept for the next run, which will make a new one");
        }
    }

    fn seal(&self, kept: &Kept, id: FileId, random: &Arc<dyn Entropy>) -> io::Result<Vec<u8>> {
        #[derive(Serialize)]
        struct ToSeal<'a> {
            names: Names,
            kept: &'a Kept,
        }
        let plain = Zeroizing::new(serde_json::to_vec(&ToSeal { names: self.names(id), kept })?);
        let random = Arc::clone(random);
        let mut rng: dtls::Rng = Box::new(move |bytes| random.fill(bytes));
        dtls::seal(self.secret.expose(), PURPOSE, self.endpoint.as_bytes(), &plain, &mut rng)
            .map_err(io::Error::other)
    }

    fn names(&self, file: FileId) -> Names {
        Names::new(file, self.board.as_deref(), self.queue)
    }
}

/// Whole at every moment, whatever a panic interrupted.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
