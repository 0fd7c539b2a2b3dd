//! A session between two runs of the daemon: what is kept of it, under which key, bound to what, and for how long.
//!
//! A session that is used twice would repeat nonces, which gives its keys away, and message ids, which makes the cloud answer a
//! new message with the answer to an old one. So the record is written only at a clean stop, after the session's last datagram;
//! it is taken once, its deletion is on the disk before anything is sent ([`OnceFile`]); and it opens only as the file it was
//! written as, on the same board, beside the same queue, for the same endpoint and credential. A folder that was put back
//! behind our back passes all that. Against it the next run sends one record and waits: the cloud takes no record number twice, so
//! it stays silent, and that silence ends in a handshake (`live`); and it counts on from a random distance, so that no answer
//! the cloud has kept fits (`session`).

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fieldgate_coap::{KeptObservation, Request, Token};
use fieldgate_dtls as dtls;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::{BootId, Clock};
use crate::config::Secret;
use crate::daemon::rim::{Entropy, Rim};
use crate::store::once::{FileId, OnceFile};

/// The cloud forgets a session that is idle for longer.
pub(super) const SESSION_LIMIT: Duration = Duration::from_secs(3 * 3600);
const FILE: &str = "golioth.session";
const PURPOSE: &str = "fieldgate golioth session 1";

/// What a record is bound to besides its own file.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// Where the record is kept.
    pub state_dir: &'a Path,
    /// Of `queue.db`: what was accepted under another file is not this session's to send.
    pub queue_file_id: u64,
    /// Whether the session of the run before is gone on with, and this one's left for the next. An errand does neither.
    pub passes_on: bool,
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
    /// `None` where the token is none.
    pub(super) fn to_kept(&self) -> Option<KeptObservation> {
        let get = Request::get(&self.path);
        let request = Request { accept: self.accept, ..get };
        Some(KeptObservation { request, token: Token::new(&self.token)?, newest: self.newest })
    }
}

/// An instant that another run, and another boot if both knew the time, can place.
#[derive(Serialize, Deserialize, Clone, Copy)]
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
    fn age(self, clock: &dyn Clock) -> Option<Duration> {
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
    bound: Vec<u8>,
    taken: Mutex<Option<(Kept, Duration)>>,
    left: Mutex<Option<Kept>>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(..)")
    }
}

impl Shelf {
    /// Takes what the run before left, if it may be used. Blocks for as long as the deletion takes to reach the disk.
    pub(super) fn open(bound: Bound<'_>, endpoint: &str, secret: Secret, rim: &Rim) -> Arc<Self> {
        let hardware = rim.hardware.as_deref().unwrap_or("");
        let bound_to = format!("{endpoint}\n{hardware}\n{:016x}\n", bound.queue_file_id).into_bytes();
        let shelf = Self {
            file: bound.passes_on.then(|| OnceFile::new(bound.state_dir, FILE)),
            secret,
            bound: bound_to,
            taken: Mutex::default(),
            left: Mutex::default(),
        };
        match shelf.take(&*rim.clock) {
            Ok(Some((kept, age))) => {
                tracing::info!(age_s = age.as_secs(), "the session of the run before is gone on with");
                *lock(&shelf.taken) = Some((kept, age));
            }
            Ok(None) => {}
            Err(why) => tracing::info!(why, "the session of the run before is not gone on with"),
        }
        Arc::new(shelf)
    }

    fn take(&self, clock: &dyn Clock) -> Result<Option<(Kept, Duration)>, String> {
        let Some(file) = &self.file else { return Ok(None) };
        let taken = file.take().map_err(|error| format!("its record cannot be taken: {error}"))?;
        let Some((id, sealed)) = taken else { return Ok(None) };
        let plain = dtls::unseal(self.secret.expose(), PURPOSE, &self.bound_to(id), &sealed)
            .ok_or("its record was made as another file, on other hardware, beside another queue or for another cloud")?;
        let kept: Kept = serde_json::from_slice(&plain).map_err(|error| format!("its record: {error}"))?;
        let age = kept.heard.age(clock).ok_or("nobody can tell how old it is")?;
        if age > SESSION_LIMIT {
            return Err(format!("it was last heard {} s ago", age.as_secs()));
        }
        Ok(Some((kept, age)))
    }

    /// The session of the run before, for whoever asks first; and since when nothing was heard of it.
    pub(super) fn taken(&self) -> Option<(Kept, Duration)> {
        lock(&self.taken).take()
    }

    /// Whether a session may be left for the next run.
    pub(super) fn passes_on(&self) -> bool {
        self.file.is_some()
    }

    /// Leaves a session for the next run. Nothing may be sent on it any more.
    pub(super) fn leave(&self, kept: Kept) {
        *lock(&self.left) = Some(kept);
    }

    /// Writes what was left. For the daemon's end, when the lanes are done.
    pub fn put_away(&self, random: &Arc<dyn Entropy>) {
        let (Some(file), Some(kept)) = (&self.file, lock(&self.left).take()) else { return };
        if let Err(error) = file.put(|id| self.seal(&kept, id, random)) {
            tracing::warn!(%error, "the session is not kept for the next run, which will make a new one");
        }
    }

    fn seal(&self, kept: &Kept, id: FileId, random: &Arc<dyn Entropy>) -> io::Result<Vec<u8>> {
        let plain = Zeroizing::new(serde_json::to_vec(kept)?);
        let random = Arc::clone(random);
        let mut rng: dtls::Rng = Box::new(move |bytes| random.fill(bytes));
        dtls::seal(self.secret.expose(), PURPOSE, &self.bound_to(id), &plain, &mut rng)
            .map_err(io::Error::other)
    }

    fn bound_to(&self, id: FileId) -> Vec<u8> {
        [self.bound.as_slice(), &id.to_bytes()].concat()
    }
}

/// Whole at every moment, whatever a panic interrupted.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
