//! What is wrong, by name, and what a technician does next about it. Pure.
//!
//! The protocol cores say what they met; here it gets its name on the board ([`TroubleKind`]) and a next step in Golioth's terms.

use std::time::Duration;

use fieldgate_coap::{Code, Response};
use fieldgate_dtls::{CertificateProblem, CloseReason, Refusal};

use super::services::Watched;
use super::session::Ended;
use crate::board::{Trouble, TroubleKind};
use crate::uplink::link::{FetchError, Outcome};

/// For what nobody but its operator can mend.
const CONSOLE: &str = "if it happens again: check in the Golioth console that this device is enabled and that its credential belongs \
                       to this project";
const PATH: &str = "check that the cellular interface is up, and DNS";
const ELSEWHERE: &str = "check golioth.endpoint: what answers there does not speak as Golioth does. If it is right, something on \
                         the way changes datagrams";
const SILENCE: &str = "check the way first: the interface, and that UDP to the endpoint's port is let through. Then golioth.psk_id and \
                       its key: a wrong one may be met with silence";
const SERVICE: &str =
    "if it stays: look at Golioth's status page, then at what stands between this gateway and Golioth";
/// What an image is called.
const FIRMWARE: &str = "firmware";

/// There is no way to the cloud.
pub(super) fn unreachable(words: impl Into<String>) -> Trouble {
    Trouble::new(TroubleKind::Unreachable, "", words, PATH)
}

/// Nothing came for so long, in words; of what did come nothing could be read where `unreadable`.
pub(super) fn dead(silent: &str, unreadable: bool) -> Ended {
    if unreadable {
        return Ended::Refused(no_coap());
    }
    let words = format!("nothing was heard for {silent}; starting a new session");
    Ended::Lost(Trouble::new(TroubleKind::NoAnswer, "", words, SILENCE))
}

/// An alert came that anyone could have sent, and then nothing.
pub(super) fn silent_after_alert() -> Ended {
    let words = "an alert came and the cloud no longer answers";
    Ended::Lost(Trouble::new(TroubleKind::NoAnswer, "", words, SILENCE))
}

/// What arrives in the session is no message.
pub(super) fn no_coap() -> Trouble {
    nonsense("what the cloud says in the session is no CoAP")
}

fn nonsense(words: impl Into<String>) -> Trouble {
    Trouble::new(TroubleKind::Nonsense, "", words, ELSEWHERE)
}

/// This gateway's own credentials cannot be read.
pub(super) fn own_credential(words: String) -> Trouble {
    let next = "put the files in place, with the owner and mode the daemon can read. No restart is needed";
    Trouble::new(TroubleKind::OwnCredential, "", words, next)
}

/// The cloud's certificate could not be held against a clock.
pub(super) fn time_unverified() -> Trouble {
    let words = "the cloud's certificate could not be held against a clock, so nothing is sent until the time is known";
    let next = "let a time server or the cellular network be reached";
    Trouble::new(TroubleKind::TimeUnverified, "", words, next)
}

/// What the end of a DTLS session means. `noise`: datagrams came, and none of them was DTLS's; `now` is what this clock says.
pub(super) fn closed(why: &CloseReason, was_connected: bool, noise: bool, now: &str) -> Ended {
    let trouble = |kind, next| Trouble::new(kind, "", why.to_string(), next);
    let ended = match (why, why.refusal()) {
        // A refusal during the handshake is about who we are; so is a wrong certificate, whenever it is found out.
        (CloseReason::BadCertificate(problem), _) => Ended::Refused(certificate(*problem, now)),
        (_, Some(refusal)) if !was_connected => Ended::Refused(refused(refusal, why, now)),
        (CloseReason::HandshakeFailed(_), _) if !was_connected => Ended::Refused(nonsense(why.to_string())),
        (CloseReason::HandshakeDeadline, _) if noise => Ended::Refused(nonsense(
            "something answers, and none of it belongs to a DTLS handshake".to_owned(),
        )),
        (CloseReason::Alert { .. }, _) if !was_connected => {
            Ended::Refused(trouble(TroubleKind::SessionRefused, CONSOLE))
        }
        // Anyone can forge an alert, but not this one.
        (CloseReason::Alert { authenticated: true, .. }, _) => {
            Ended::Refused(trouble(TroubleKind::SessionRefused, CONSOLE))
        }
        _ => Ended::Lost(trouble(TroubleKind::NoAnswer, SILENCE)),
    };
    match (why, ended) {
        (CloseReason::Alert { authenticated: false, .. }, Ended::Refused(trouble)) => Ended::Hinted(trouble),
        (_, ended) => ended,
    }
}

fn refused(refusal: Refusal, why: &CloseReason, now: &str) -> Trouble {
    let (kind, next) = match refusal {
        Refusal::WrongKey => (
            TroubleKind::WrongKey,
            "compare the key of golioth.psk_file or psk_credential with the device's credential in the Golioth console, put the \
             right one in place, then: systemctl restart fieldgate",
        ),
        Refusal::UnknownIdentity => (
            TroubleKind::UnknownIdentity,
            "compare golioth.psk_id, its @project included, with the device's credentials in the Golioth console: it may be mistyped, \
             or the device deleted there",
        ),
        Refusal::OwnCertificate => (
            TroubleKind::OwnCertificate,
            "check that this gateway's certificate has not ended, and that the root that signed it is uploaded to the project \
             in the Golioth console",
        ),
        Refusal::PeerCertificate(problem) => return certificate(problem, now),
        Refusal::NothingInCommon => {
            (TroubleKind::NothingInCommon, "compare golioth.suites with what the endpoint offers")
        }
        _ => (TroubleKind::SessionRefused, CONSOLE),
    };
    Trouble::new(kind, "", why.to_string(), next)
}

fn certificate(problem: CertificateProblem, now: &str) -> Trouble {
    let mut words = problem.to_string();
    let (kind, next) = match problem {
        CertificateProblem::NotYetValid | CertificateProblem::Expired => {
            words = format!("{words}. This clock says {now}");
            if problem == CertificateProblem::Expired {
                (
                    TroubleKind::CertificateExpired,
                    "compare this clock with a watch; if it is right, the endpoint's operator must renew the certificate",
                )
            } else {
                (
                    TroubleKind::CertificateNotYetValid,
                    "compare this clock with a watch, and correct whom it follows (a time server, the modem, time.trust_system_clock); it is \
                     tried again by itself",
                )
            }
        }
        CertificateProblem::WrongName => (
            TroubleKind::CertificateWrongName,
            "check golioth.endpoint, or name in golioth.server_name what the certificate names",
        ),
        CertificateProblem::UnknownRoot => (
            TroubleKind::CertificateUnknownRoot,
            "check the roots in golioth.ca_file, and whom the endpoint's name leads to",
        ),
        _ => (TroubleKind::CertificateUnusable, "the endpoint's operator must give it another certificate"),
    };
    Trouble::new(kind, "", words, next)
}

/// What an answer to a request that is about something says of the cloud, where it says that something is wrong. Readings that are
/// refused for their content are the drain's to tell of.
pub(super) fn of_answer(about: &'static str, response: &Response, outcome: &Outcome) -> Option<Trouble> {
    let words = || format!("Golioth answers {} to {about}", response.code);
    match outcome {
        Outcome::LinkSick { why, next_step } => {
            Some(Trouble::new(TroubleKind::Refused, about, why.clone(), next_step.clone()))
        }
        Outcome::Later { .. } if response.code == Code::TOO_MANY_REQUESTS => None,
        Outcome::Later { .. } if response.code.class() == 5 => {
            Some(Trouble::new(TroubleKind::Failing, about, words(), SERVICE))
        }
        Outcome::Later { .. } => Some(Trouble::new(TroubleKind::Unexpected, about, words(), SERVICE)),
        Outcome::Acknowledged | Outcome::TooLarge { .. } | Outcome::Bad { .. } | Outcome::Unknown => None,
    }
}

/// A request that is about something is answered, and not with an answer.
pub(super) fn no_answer(about: &'static str, why: &str) -> Trouble {
    Trouble::new(TroubleKind::Unexpected, about, format!("{about}: {why}"), ELSEWHERE)
}

/// A request is not answered, and others are.
pub(super) fn ignored(about: &'static str) -> Trouble {
    let words = format!("{about}: no answer, although others are answered");
    Trouble::new(TroubleKind::Unexpected, about, words, SERVICE)
}

/// What was sent of its own accord cannot be read: `why` says what follows from that.
pub(super) fn unreadable(watched: Watched, why: String) -> Trouble {
    let next = match watched {
        Watched::Desired => "write `desired` of this device's LightDB State anew in the Golioth console",
        Watched::Manifest => {
            "deploy again in the Golioth console; if it stays, make the deployment's packages anew"
        }
        Watched::Calls => {
            "call again from the Golioth console; if it stays, look at who else calls this device"
        }
        Watched::Settings => {
            "look in the Golioth console at the setting that was changed last: save it again, or delete it"
        }
    };
    Trouble::new(TroubleKind::Unreadable, watched.words(), why, next)
}

/// What was sent of its own accord is longer than what is taken; it is asked for again after so long.
pub(super) fn too_large(watched: Watched, again_in: Duration) -> Trouble {
    let words = format!(
        "{} came with more than {} bytes and is left; it is asked for again in {}",
        watched.words(),
        watched.most_bytes(),
        crate::board::in_words(again_in)
    );
    let next = match watched {
        Watched::Desired => "make `desired` of this device's LightDB State shorter in the Golioth console",
        Watched::Manifest => "deploy fewer packages at once to this device's cohort",
        Watched::Calls => "call with fewer or shorter parameters",
        Watched::Settings => "delete settings in the Golioth console that this device does not know",
    };
    Trouble::new(TroubleKind::TooLarge, watched.words(), words, next)
}

/// A download that ended otherwise than by an interruption.
pub(super) fn download(error: &FetchError) -> Option<Trouble> {
    let (kind, next) = match error {
        FetchError::Changed => {
            (TroubleKind::ArtifactChanged, "wait: it is fetched anew. If it stays, deploy a new version")
        }
        FetchError::Refused { .. } => (
            TroubleKind::ArtifactRefused,
            "upload the artifact again in the Golioth console under a new version, and deploy that",
        ),
        FetchError::Interrupted { .. } | FetchError::Unsupported => return None,
    };
    Some(Trouble::new(kind, FIRMWARE, error.to_string(), next))
}

/// Whether a session that is established shows that this is over.
pub(super) fn over_once_connected(kind: TroubleKind) -> bool {
    use TroubleKind as K;
    matches!(
        kind,
        K::Unreachable
            | K::NoAnswer
            | K::WrongKey
            | K::UnknownIdentity
            | K::OwnCertificate
            | K::OwnCredential
            | K::CertificateNotYetValid
            | K::CertificateExpired
            | K::CertificateWrongName
            | K::CertificateUnknownRoot
            | K::CertificateUnusable
            | K::NothingInCommon
            | K::TimeUnverified
    )
}

/// Whether a message that can be read shows that this is over.
pub(super) fn over_once_understood(kind: TroubleKind) -> bool {
    matches!(
        kind,
        TroubleKind::Nonsense
            | TroubleKind::SessionRefused
            | TroubleKind::NoAnswer
            | TroubleKind::Unreachable
    )
}

/// Whether an image that came whole shows that this is over.
pub(super) fn over_once_fetched(kind: TroubleKind) -> bool {
    matches!(kind, TroubleKind::ArtifactRefused | TroubleKind::ArtifactChanged)
}

/// Whether an answer that is in order shows that this is over.
pub(super) fn over_once_answered(kind: TroubleKind) -> bool {
    matches!(kind, TroubleKind::Refused | TroubleKind::Failing | TroubleKind::Unexpected)
}

#[cfg(test)]
mod tests {
    use fieldgate_dtls::Alert;

    use super::*;

    fn alert(description: u8, during_handshake: bool) -> CloseReason {
        let alert = Alert { fatal: true, description };
        CloseReason::Alert { alert, authenticated: !during_handshake, during_handshake }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Verdict {
        Refused,
        Hinted,
        Lost,
    }

    fn named(ended: Ended) -> Option<(TroubleKind, Verdict)> {
        match ended {
            Ended::Refused(trouble) if !trouble.next_step.is_empty() => {
                Some((trouble.kind, Verdict::Refused))
            }
            Ended::Hinted(trouble) if !trouble.next_step.is_empty() => Some((trouble.kind, Verdict::Hinted)),
            Ended::Lost(trouble) if !trouble.next_step.is_empty() => Some((trouble.kind, Verdict::Lost)),
            _ => None,
        }
    }

    #[test]
    fn every_end_of_a_session_has_a_name_and_a_next_step_and_what_anyone_may_have_sent_is_a_hint() {
        use TroubleKind as K;
        let bad = CloseReason::BadCertificate;
        let (sure, hint, lost) = (Verdict::Refused, Verdict::Hinted, Verdict::Lost);
        for (why, was_connected, noise, kind, refused) in [
            (alert(51, true), false, false, K::WrongKey, hint),
            (alert(115, true), false, false, K::UnknownIdentity, hint),
            (alert(48, true), false, false, K::OwnCertificate, hint),
            (alert(40, true), false, false, K::NothingInCommon, hint),
            (alert(80, true), false, false, K::SessionRefused, hint),
            (alert(49, false), true, false, K::SessionRefused, sure),
            (bad(CertificateProblem::NotYetValid), false, false, K::CertificateNotYetValid, sure),
            (bad(CertificateProblem::Expired), true, false, K::CertificateExpired, sure),
            (bad(CertificateProblem::WrongName), false, false, K::CertificateWrongName, sure),
            (bad(CertificateProblem::UnknownRoot), false, false, K::CertificateUnknownRoot, sure),
            (bad(CertificateProblem::Missing), false, false, K::CertificateUnusable, sure),
            (CloseReason::HandshakeDeadline, false, true, K::Nonsense, sure),
            (CloseReason::HandshakeDeadline, false, false, K::NoAnswer, lost),
            (CloseReason::CloseNotify, true, false, K::NoAnswer, lost),
        ] {
            assert_eq!(named(closed(&why, was_connected, noise, "now")), Some((kind, refused)), "{why:?}");
        }
    }

    #[test]
    fn a_certificate_that_does_not_fit_this_clock_is_told_with_what_the_clock_says() {
        let why = CloseReason::BadCertificate(CertificateProblem::NotYetValid);
        let Ended::Refused(trouble) = closed(&why, false, false, "2026-10-01T00:00:00Z") else { panic!() };
        assert!(trouble.words.contains("This clock says 2026-10-01"), "{}", trouble.words);
    }
}
