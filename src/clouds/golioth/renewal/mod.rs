//! The gateway's own certificate: which one is shown, when the next is asked for, and what people are told of it (requirement
//! D13).
//!
//! `schedule` says when to ask, `trial` which of two certificates a handshake shows, `file` keeps them; here they meet. The session
//! lane owns it (`session`), and a session carries the request and the answer (`live::certificate`).
//!
//! The life of a certificate: asked for with a key made here (`services::certificate`); examined; on the disk; shown, in a new
//! handshake as soon as nothing is under way; and in use once that handshake succeeds. Until then the one before is kept, and
//! shown again if the cloud refuses the new one. A power cut at any point leaves either of them, whole. The operator's own
//! files are never changed, and a certificate they put there replaces whatever came by here.

mod file;
mod schedule;
mod trial;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate_dtls::{self as dtls, CertificationRequest, Identity, Roots, WallTime};
use zeroize::Zeroizing;

pub(super) use self::file::Pair;
use self::file::{Held, HeldFile, Root};
use self::schedule::Schedule;
pub(super) use self::trial::{NotAccepted, Shown};
use self::trial::{Trial, Verdict};
use super::credential;
use super::services::certificate;
use crate::board::{CertificateCondition, CertificateState, in_words};
use crate::config::{GoliothCredential, Secret};
use crate::daemon::rim::Entropy;

/// People are told the days that are left at least this often.
const TOLD_EVERY: Duration = Duration::from_secs(3600);
/// A disk that did not take a certificate is tried again after this.
const WRITE_AGAIN: Duration = Duration::from_secs(600);
/// After a renewed certificate was refused, the next is asked for no sooner.
const AFTER_A_REFUSAL: Duration = Duration::from_secs(3600);
/// For so long it is told that a certificate is new.
const NEWS: Duration = Duration::from_secs(7 * 24 * 3600);
/// Without renewal, the end is announced this long before it.
const ANNOUNCED_S: u64 = 30 * DAY_S;
const DAY_S: u64 = 86_400;

/// See the module head.
#[derive(Debug)]
pub(super) struct Renewal {
    certificate_file: PathBuf,
    key: Secret,
    /// Whether it may be renewed, and by whom.
    allowed: bool,
    signers_file: Option<PathBuf>,
    file: HeldFile,
    /// The configured certificate that is held to now.
    root: Option<Root>,
    /// What there is beside it. On the disk, but for a step that `unwritten` names.
    held: Held,
    /// The one in use: of those held, or the configured one.
    current: Option<Identity>,
    /// What is to be there, and when the disk is tried.
    unwritten: Option<(Held, Duration)>,
    trial: Trial,
    schedule: Schedule,
    /// What the handshake under way, or that of the session, shows.
    shown: Option<Shown>,
    /// The key of a request that is under way.
    asking: Option<Zeroizing<Vec<u8>>>,
    /// Why asking gave nothing, the last time.
    failed: Option<Failed>,
    renewed_at: Option<Duration>,
    told_at: Option<Duration>,
}

#[derive(Debug)]
struct Failed {
    /// The cloud, or a rule, says no; otherwise nobody answered.
    refused: bool,
    why: String,
    next: &'static str,
}

/// What to do about an answer that does not do.
const ASK_THE_CLOUD: &str = "check in the Golioth console that the project has a PKI provider and that it certifies this device, or put \
                             a new certificate in golioth.certificate_file and its key in key_file";
const BY_HAND: &str = "put a new certificate in golioth.certificate_file and its key in key_file";

impl Renewal {
    /// For a gateway that is known by a certificate; `None` for one with a key. `random` spreads the asking.
    pub(super) fn new(
        credential: &GoliothCredential,
        state_dir: &Path,
        random: &dyn Entropy,
    ) -> Option<Self> {
        let GoliothCredential::Certificate { certificate_file, key, renewal, .. } = credential else {
            return None;
        };
        Some(Self {
            certificate_file: certificate_file.clone(),
            key: key.clone(),
            allowed: renewal.is_some(),
            signers_file: renewal.as_ref().and_then(|renewal| renewal.signers_file.clone()),
            file: HeldFile::new(state_dir, key.clone()),
            root: None,
            held: Held::default(),
            current: None,
            unwritten: None,
            trial: Trial::default(),
            schedule: Schedule::new(random.u64()),
            shown: None,
            asking: None,
            failed: None,
            renewed_at: None,
            told_at: None,
        })
    }

    /// What the next handshake shows. Reads the configured certificate anew, and what is held beside it.
    ///
    /// # Errors
    /// In words, with what to do: the configured one cannot be read.
    pub(super) fn identity(&mut self, now: Duration) -> Result<Identity, String> {
        let configured = credential::configured(&self.certificate_file, &self.key)?;
        let root = Root::of(&configured);
        if self.root != Some(root) {
            self.held = self.file.read(root).unwrap_or_else(|why| {
                tracing::warn!(why, "a renewed certificate is not used");
                Held::default()
            });
            (self.unwritten, self.asking, self.failed, self.renewed_at) = (None, None, None, None);
            (self.trial, self.root) = (Trial::default(), Some(root));
        }
        self.told_at = None;
        let current = usable(&mut self.held.proven).unwrap_or(configured);
        self.current = Some(current.clone());
        let shown = match usable(&mut self.held.fresh) {
            Some(fresh) if self.trial.shows(now) == Shown::Fresh => (Shown::Fresh, fresh),
            _ => (Shown::Current, current),
        };
        self.shown = Some(shown.0);
        Ok(shown.1)
    }

    /// The session is one of the run before: its handshake showed what it showed.
    pub(super) fn taken_up(&mut self) {
        self.shown = Some(Shown::Current);
    }

    /// A handshake succeeded.
    pub(super) fn accepted(&mut self, now: Duration) {
        if self.held.fresh.is_none() {
            return;
        }
        match self.trial.succeeded(now, self.shown.unwrap_or(Shown::Current)) {
            Verdict::Goes => {}
            Verdict::FreshHolds => {
                tracing::info!("the cloud takes the renewed certificate: it is in use from now on");
                self.current = usable(&mut self.held.fresh).or(self.current.take());
                self.held = Held { proven: self.held.fresh.take(), fresh: None };
                self.keep(self.held.clone(), now);
                self.schedule.succeeded();
                (self.failed, self.renewed_at) = (None, Some(now));
                // The session shows what is now the current one.
                self.shown = Some(Shown::Current);
            }
            Verdict::FreshFails(why) => {
                tracing::error!(why, "the renewed certificate does not do; the one before it is used");
                self.held.fresh = None;
                self.keep(self.held.clone(), now);
                self.trial = Trial::default();
                // The pause since it was asked for may have passed long ago.
                self.schedule.later(now + AFTER_A_REFUSAL);
                self.failed = Some(Failed { refused: true, why, next: ASK_THE_CLOUD });
            }
        }
        self.told_at = None;
    }

    /// A handshake failed: refused in these words, or unanswered. Whether it was one with a new certificate, so that the next shows
    /// the one in use.
    pub(super) fn not_accepted(&mut self, why: NotAccepted<'_>) -> bool {
        let Some(shown) = self.shown.filter(|_| self.held.fresh.is_some()) else { return false };
        self.trial.failed(shown, why);
        shown == Shown::Fresh
    }

    /// A session ended, and with it what was asked in it.
    pub(super) fn session_ended(&mut self, now: Duration, wall: WallTime, random: &dyn Entropy) {
        if self.asking.is_some() {
            self.unanswered(now, wall, random);
        }
    }

    /// Whether a new handshake is wanted, to show a certificate for the first time.
    pub(super) fn wants_handshake(&self, now: Duration) -> bool {
        // Only what is on the disk is shown: otherwise a power cut could leave the cloud with a certificate that nobody has.
        self.held.fresh.is_some() && self.shown != Some(Shown::Fresh) && self.trial.shows(now) == Shown::Fresh
    }

    /// There is no room for that handshake before then.
    pub(super) fn handshake_later(&mut self, until: Duration) {
        self.trial.later(until);
    }

    /// Whether the next certificate is to be asked for now.
    pub(super) fn is_due(&self, now: Duration, wall: WallTime) -> bool {
        let idle = self.asking.is_none() && self.unwritten.is_none() && self.held.fresh.is_none();
        let due = |current: &Identity| self.schedule.is_due(now, wall.unix_s, current.validity());
        self.allowed && wall.trusted && idle && self.current.as_ref().is_some_and(due)
    }

    /// Not before then, because there is no room for it in the data plan.
    pub(super) fn ask_later(&mut self, until: Duration) {
        self.schedule.later(until);
    }

    /// Makes a key, and the request to certify it.
    pub(super) fn ask(
        &mut self,
        now: Duration,
        wall: WallTime,
        mut rng: dtls::Rng,
        random: &dyn Entropy,
    ) -> Option<Vec<u8>> {
        self.told_at = None;
        match CertificationRequest::new(self.current.as_ref()?, &mut rng) {
            Ok(CertificationRequest { request, key }) => {
                self.asking = Some(key);
                Some(request)
            }
            Err(error) => {
                let why = error.to_string();
                self.give_up(now, wall, random, Failed { refused: false, why, next: BY_HAND });
                None
            }
        }
    }

    /// The cloud answered with what may be a certificate.
    pub(super) fn answered(&mut self, now: Duration, wall: WallTime, random: &dyn Entropy, answer: &[u8]) {
        let Some(key) = self.asking.take() else { return };
        match self.examined(&key, answer, wall) {
            Ok(fresh) => {
                tracing::info!("a renewed certificate came; it is used once a handshake with it succeeds");
                self.trial = Trial::default();
                // Should that handshake fail, there is a pause before the next is asked for.
                self.fail_schedule(now, wall, random);
                self.keep(Held { fresh: Some(fresh), ..self.held.clone() }, now);
                (self.failed, self.told_at) = (None, None);
            }
            Err(why) => self.give_up(now, wall, random, Failed { refused: true, why, next: ASK_THE_CLOUD }),
        }
    }

    /// The cloud refuses, in these words.
    pub(super) fn refused(&mut self, now: Duration, wall: WallTime, random: &dyn Entropy, why: String) {
        self.asking = None;
        self.give_up(now, wall, random, Failed { refused: true, why, next: ASK_THE_CLOUD });
    }

    /// No answer came, or none that says anything.
    pub(super) fn unanswered(&mut self, now: Duration, wall: WallTime, random: &dyn Entropy) {
        self.asking = None;
        let why = "the cloud did not answer".to_owned();
        self.give_up(now, wall, random, Failed { refused: false, why, next: BY_HAND });
    }

    /// Whether the disk is to be given anything, now or later.
    pub(super) fn has_to_write(&self) -> bool {
        self.unwritten.is_some()
    }

    /// What writes to the disk what is to be there, if it is time to; [`Renewal::written`] says what became of it.
    pub(super) fn next_write(
        &mut self,
        now: Duration,
        mut rng: dtls::Rng,
    ) -> Option<impl FnOnce() -> io::Result<()> + Send + use<>> {
        let (held, at) = self.unwritten.as_ref()?;
        let root = self.root?;
        if now < *at {
            return None;
        }
        match self.file.writer(root, held, &mut rng) {
            Ok(writer) => Some(writer),
            Err(error) => {
                self.written(now, Err(error));
                None
            }
        }
    }

    /// What became of it.
    pub(super) fn written(&mut self, now: Duration, written: io::Result<()>) {
        match written {
            Ok(()) => {
                if let Some((held, _)) = self.unwritten.take() {
                    self.held = held;
                }
            }
            Err(error) => {
                tracing::error!(%error, "a renewed certificate cannot be written down; it is tried again");
                if let Some((_, at)) = &mut self.unwritten {
                    *at = now + WRITE_AGAIN;
                }
            }
        }
        self.told_at = None;
    }

    /// What people are to be told, when it is time to tell them again.
    pub(super) fn tell(&mut self, now: Duration, wall: WallTime) -> Option<CertificateState> {
        if self.told_at.is_some_and(|at| now < at + TOLD_EVERY) {
            return None;
        }
        let validity = self.current.as_ref()?.validity();
        self.told_at = Some(now);
        let (condition, words) = self.condition(now, wall, validity);
        Some(CertificateState { condition, words, until_unix_s: validity.1 })
    }

    fn condition(
        &self,
        now: Duration,
        wall: WallTime,
        (from, until): (u64, u64),
    ) -> (CertificateCondition, String) {
        if !wall.trusted {
            let words = "when the certificate ends cannot be told, for want of a clock, nor is it renewed. Next: let a time server \
                         or the cellular network be reached";
            return (CertificateCondition::ClockNotTrusted, words.to_owned());
        }
        let Some(left) = until.checked_sub(wall.unix_s).filter(|left| *left > 0) else {
            let ago = days(wall.unix_s - until);
            let why = self.failed.as_ref().map_or(String::new(), |failed| format!(" ({})", failed.why));
            let words = format!("the certificate ended {ago} ago{why}. Next: {BY_HAND}");
            return (CertificateCondition::Expired, words);
        };
        let ends = format!("the certificate ends in {}", days(left));
        if let Some((_, at)) = self.unwritten.as_ref().filter(|(_, at)| *at > now) {
            let again = in_words(*at - now);
            let words = format!(
                "{ends}; the renewed one cannot be written to the disk, tried again in {again}. Next: make room on it"
            );
            return (CertificateCondition::ExpiresSoon, words);
        }
        if self.held.fresh.is_some() || self.unwritten.as_ref().is_some_and(|(held, _)| held.fresh.is_some())
        {
            let words = format!("{ends}; a renewed one is there and is shown to the cloud next");
            return (CertificateCondition::Renewing, words);
        }
        if self.asking.is_some() {
            return (CertificateCondition::Renewing, format!("{ends}; the next one is being asked for"));
        }
        if let Some(Failed { refused, why, next }) = &self.failed {
            let again = in_words(self.schedule.not_before().saturating_sub(now));
            let (condition, what) = match refused {
                true => (CertificateCondition::RenewalRefused, "is refused"),
                false => (CertificateCondition::ExpiresSoon, "failed"),
            };
            let words = format!("{ends} and its renewal {what}: {why}; asked again in {again}. Next: {next}");
            return (condition, words);
        }
        if self.renewed_at.is_some_and(|at| now < at + NEWS) {
            return (
                CertificateCondition::Renewed,
                format!("the certificate was renewed and ends in {}", days(left)),
            );
        }
        if !self.allowed && left < ANNOUNCED_S.min(until.saturating_sub(from) / 3) {
            let words = format!("{ends} and is not renewed (golioth.renew). Next: {BY_HAND}");
            return (CertificateCondition::ExpiresSoon, words);
        }
        (CertificateCondition::Valid, ends)
    }

    fn examined(&self, key: &[u8], answer: &[u8], wall: WallTime) -> Result<Pair, String> {
        let signers = match &self.signers_file {
            None => None,
            Some(path) => Some(
                Roots::from_pem(&credential::read(path, "renew_ca_file")?)
                    .map_err(|error| format!("the signers in {}: {error}", path.display()))?,
            ),
        };
        let current = self.current.as_ref().ok_or("the certificate in use is not known")?;
        certificate::examine(current, key, answer, signers.as_ref(), wall).map_err(|error| error.to_string())
    }

    /// What is to be on the disk, from now on.
    fn keep(&mut self, held: Held, now: Duration) {
        self.unwritten = Some((held, now));
    }

    fn give_up(&mut self, now: Duration, wall: WallTime, random: &dyn Entropy, failed: Failed) {
        tracing::warn!(why = failed.why, "the certificate is not renewed");
        self.fail_schedule(now, wall, random);
        (self.failed, self.told_at) = (Some(failed), None);
    }

    fn fail_schedule(&mut self, now: Duration, wall: WallTime, random: &dyn Entropy) {
        let until = self.current.as_ref().map_or(0, |current| current.validity().1);
        self.schedule.failed(now, Duration::from_secs(until.saturating_sub(wall.unix_s)), random.u64());
    }
}

/// As DTLS takes it. One that cannot be used is none.
fn usable(pair: &mut Option<Pair>) -> Option<Identity> {
    let identity = pair.as_ref()?.identity();
    if let Err(error) = &identity {
        tracing::error!(%error, "a renewed certificate cannot be used");
        *pair = None;
    }
    identity.ok()
}

fn days(seconds: u64) -> String {
    match seconds / DAY_S {
        0 | 1 => in_words(Duration::from_secs(seconds)),
        days => format!("{days} days"),
    }
}
