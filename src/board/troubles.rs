//! What is wrong with a destination, or with what it says, by names that do not change: each is one state of the page, the API, the
//! metrics and `fieldgate status`, with what to do next.
//!
//! Whoever meets it notes it, and clears it when it is over. Noting again only counts, so that whoever writes a line for what is
//! new writes one for a storm. There are as many at most as there are names and things they are about.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Mono;

/// The name of what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleKind {
    /// No way to it: no interface, no address for its name.
    Unreachable,
    /// Nothing comes back.
    NoAnswer,
    /// The keys of the two sides differ.
    WrongKey,
    /// It knows no such gateway.
    UnknownIdentity,
    /// It does not accept this gateway's certificate.
    OwnCertificate,
    /// Credentials that this gateway itself cannot read.
    OwnCredential,
    /// By this clock its certificate has not begun.
    CertificateNotYetValid,
    /// By this clock its certificate has ended.
    CertificateExpired,
    /// Its certificate is another's.
    CertificateWrongName,
    /// Nobody whom this gateway trusts vouches for it.
    CertificateUnknownRoot,
    /// Its certificate must not be used for this, or there is none.
    CertificateUnusable,
    /// No protocol or suite that both have.
    NothingInCommon,
    /// Its certificate cannot be held against a clock yet.
    TimeUnverified,
    /// It ended the session as one who may.
    SessionRefused,
    /// What it says is no message at all.
    Nonsense,
    /// It will not have something, or not give it.
    Refused,
    /// It answers that it cannot just now.
    Failing,
    /// It answers what nobody has described.
    Unexpected,
    /// What it sent of its own accord cannot be read.
    Unreadable,
    /// What it sent of its own accord is longer than what is taken.
    TooLarge,
    /// A firmware image that it does not serve as it announced it.
    ArtifactRefused,
    /// A firmware image that became another while it was fetched.
    ArtifactChanged,
    /// It refuses so many readings for their content that nothing is sent.
    ReadingsRejected,
    /// It acknowledges readings and keeps them nowhere.
    Unrouted,
    /// This gateway's certificate ends soon, or has ended, and there is no next one.
    OwnCertificateEnds,
    /// The next certificate is refused, or what came does not do.
    RenewalRefused,
}

/// What a trouble means for the readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// They stay here until somebody acts.
    Act,
    /// They stay here until it is over; it may mend itself.
    Wait,
    /// They go; something else does not work.
    Look,
}

impl TroubleKind {
    /// One word for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What is so, for people: after the destination's name. `{}` stands for what it is about.
    fn title(self) -> &'static str {
        self.row().1
    }

    /// What it means for the readings.
    #[must_use]
    pub fn weight(self) -> Weight {
        self.row().2
    }

    fn row(self) -> (&'static str, &'static str, Weight) {
        use Weight::{Act, Look, Wait};
        match self {
            Self::Unreachable => ("unreachable", "there is no way to it", Wait),
            Self::NoAnswer => ("no_answer", "it does not answer", Wait),
            Self::WrongKey => ("wrong_key", "it has another key for this gateway", Act),
            Self::UnknownIdentity => ("unknown_identity", "it does not know this gateway", Act),
            Self::OwnCertificate => ("own_certificate", "it does not accept this gateway's certificate", Act),
            Self::OwnCredential => ("own_credential", "this gateway's credentials cannot be read", Act),
            Self::CertificateNotYetValid => {
                ("certificate_not_yet_valid", "by this clock its certificate is not valid yet", Act)
            }
            Self::CertificateExpired => ("certificate_expired", "its certificate has expired", Act),
            Self::CertificateWrongName => ("certificate_wrong_name", "its certificate is another's", Act),
            Self::CertificateUnknownRoot => {
                ("certificate_unknown_root", "nobody who is trusted vouches for it", Act)
            }
            Self::CertificateUnusable => ("certificate_unusable", "its certificate cannot be used", Act),
            Self::NothingInCommon => ("nothing_in_common", "no cipher suite is common", Act),
            Self::TimeUnverified => ("time_unverified", "the time is needed first", Wait),
            Self::SessionRefused => ("session_refused", "it ended the session", Act),
            Self::Nonsense => ("nonsense", "what it says cannot be read", Act),
            Self::Refused => ("refused", "it refuses {}", Act),
            Self::Failing => ("failing", "it fails at {}", Look),
            Self::Unexpected => ("unexpected_answer", "it answers {} in a way nobody knows", Look),
            Self::Unreadable => ("unreadable", "{} cannot be read", Look),
            Self::TooLarge => ("too_large", "{} is longer than is taken", Look),
            Self::ArtifactRefused => ("artifact_refused", "it does not serve {} as announced", Look),
            Self::ArtifactChanged => ("artifact_changed", "{} changed while it was fetched", Look),
            Self::ReadingsRejected => ("readings_rejected", "it rejects readings", Act),
            Self::Unrouted => ("unrouted", "it keeps no readings", Act),
            Self::OwnCertificateEnds => ("own_certificate_ends", "this gateway's certificate ends", Look),
            Self::RenewalRefused => {
                ("renewal_refused", "the renewal of this gateway's certificate is refused", Look)
            }
        }
    }
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its name.
    pub kind: TroubleKind,
    /// With what: `the settings`. Empty where it is the link as a whole.
    pub about: &'static str,
    /// What was met, in words.
    pub words: String,
    /// What to do next.
    pub next_step: Cow<'static, str>,
    /// Text to copy for that, where there is any.
    pub paste: Option<String>,
    /// How often it was met.
    pub times: u64,
}

impl Trouble {
    /// Met once.
    #[must_use]
    pub fn new(
        kind: TroubleKind,
        about: &'static str,
        words: impl Into<String>,
        next_step: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, about, words: words.into(), next_step: next_step.into(), paste: None, times: 1 }
    }

    /// For a headline: `golioth: the settings cannot be read`.
    #[must_use]
    pub fn headline(&self, destination: &str) -> String {
        format!("{destination}: {}", self.kind.title().replace("{}", self.about))
    }
}

/// Those of one destination, and since when.
type Known = BTreeMap<(TroubleKind, &'static str), (Mono, Trouble)>;

/// All there are, by destination.
#[derive(Debug, Default)]
pub struct Troubles(Mutex<BTreeMap<String, Known>>);

impl Troubles {
    /// Notes it. Whether it is new, or met in other words than the last time.
    pub fn note(&self, destination: &str, at: Mono, trouble: Trouble) -> bool {
        let mut all = self.all();
        if !all.contains_key(destination) {
            all.insert(destination.to_owned(), Known::new());
        }
        let Some(known) = all.get_mut(destination) else { return false };
        match known.get_mut(&(trouble.kind, trouble.about)) {
            Some((_, before)) => {
                let times = before.times.saturating_add(1);
                let differs = before.words != trouble.words;
                *before = Trouble { times, ..trouble };
                differs
            }
            None => {
                known.insert((trouble.kind, trouble.about), (at, trouble));
                true
            }
        }
    }

    /// What is over is no trouble any more. Whether there was any.
    pub fn clear(&self, destination: &str, over: impl Fn(TroubleKind, &str) -> bool) -> bool {
        let mut all = self.all();
        let Some(known) = all.get_mut(destination).filter(|known| !known.is_empty()) else { return false };
        let before = known.len();
        known.retain(|(kind, about), _| !over(*kind, about));
        known.len() < before
    }

    /// Those of a destination, what weighs most first, and since when.
    #[must_use]
    pub fn of(&self, destination: &str) -> Vec<(Mono, Trouble)> {
        let all = self.all();
        let mut known: Vec<_> =
            all.get(destination).into_iter().flat_map(BTreeMap::values).cloned().collect();
        known.sort_by_key(|(_, trouble)| trouble.kind.weight() as u8);
        known
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable(words: &str) -> Trouble {
        Trouble::new(TroubleKind::Unreadable, "the settings", words, "look")
    }

    #[test]
    fn every_name_is_another_and_stands_in_the_document_of_states() {
        use TroubleKind as K;
        let all = [
            K::Unreachable,
            K::NoAnswer,
            K::WrongKey,
            K::UnknownIdentity,
            K::OwnCertificate,
            K::OwnCredential,
            K::CertificateNotYetValid,
            K::CertificateExpired,
            K::CertificateWrongName,
            K::CertificateUnknownRoot,
            K::CertificateUnusable,
            K::NothingInCommon,
            K::TimeUnverified,
            K::SessionRefused,
            K::Nonsense,
            K::Refused,
            K::Failing,
            K::Unexpected,
            K::Unreadable,
            K::TooLarge,
            K::ArtifactRefused,
            K::ArtifactChanged,
            K::ReadingsRejected,
            K::Unrouted,
            K::OwnCertificateEnds,
            K::RenewalRefused,
        ];
        assert_eq!(all.len(), K::RenewalRefused as usize + 1, "all of them");
        let names: std::collections::BTreeSet<_> = all.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), all.len());
        let document = include_str!("../../docs/states.md");
        for name in names {
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn what_is_met_again_is_counted_and_new_only_in_other_words() {
        let troubles = Troubles::default();
        assert!(troubles.note("a", Mono(1), unreadable("broken off")));
        assert!(!troubles.note("a", Mono(2), unreadable("broken off")));
        assert!(troubles.note("a", Mono(3), unreadable("no map")));
        let known = troubles.of("a");
        assert_eq!(known, [(Mono(1), Trouble { times: 3, ..unreadable("no map") })]);
        assert_eq!(known[0].1.headline("a"), "a: the settings cannot be read");
        assert_eq!(troubles.of("b"), []);
    }

    #[test]
    fn what_is_over_goes_and_the_rest_stays_with_what_weighs_most_first() {
        let troubles = Troubles::default();
        troubles.note("a", Mono(1), unreadable("x"));
        troubles.note("a", Mono(1), Trouble::new(TroubleKind::TooLarge, "the manifest", "x", "y"));
        troubles.note("a", Mono(1), Trouble::new(TroubleKind::Unrouted, "", "x", "y"));
        let kinds = || troubles.of("a").into_iter().map(|(_, trouble)| trouble.kind).collect::<Vec<_>>();
        assert_eq!(kinds(), [TroubleKind::Unrouted, TroubleKind::Unreadable, TroubleKind::TooLarge]);
        assert!(troubles.clear("a", |_, about| about == "the settings"));
        assert!(!troubles.clear("a", |_, about| about == "the settings"));
        assert_eq!(kinds(), [TroubleKind::Unrouted, TroubleKind::TooLarge]);
    }
}
