//! What an answer of Golioth means for the message it answers. Pure.

use std::time::Duration;

use fieldgate_coap::{Code, Failure, Response};

use crate::uplink::link::Outcome;

/// How long to wait when the cloud says "later" without saying when.
const LATER: Duration = Duration::from_secs(10);
/// An answer nobody has described: wait longer, keep everything.
const UNLISTED: Duration = Duration::from_secs(60);
/// A Max-Age beyond this is taken for this: the cloud may be wrong, and an hour of silence is long.
const LATER_MOST: Duration = Duration::from_secs(3600);

/// The outcome of a request that was answered.
#[must_use]
pub fn of_response(response: &Response) -> Outcome {
    let said = said(response);
    match response.code {
        code if code.is_success() => Outcome::Acknowledged,
        Code::TOO_MANY_REQUESTS => {
            Outcome::Later { after: max_age(response).unwrap_or(Duration::from_secs(1)) }
        }
        code if code.class() == 5 => Outcome::Later { after: max_age(response).unwrap_or(LATER) },
        Code::UNAUTHORIZED | Code::FORBIDDEN => Outcome::LinkSick {
            why: format!("Golioth answers {}{said}", response.code),
            next_step:
                "check in the Golioth console that this device is enabled and that its credential belongs to \
                        this project"
                    .into(),
        },
        Code::NOT_FOUND => Outcome::LinkSick {
            why: format!("Golioth answers {} on a service path{said}", response.code),
            next_step: "check golioth.endpoint and golioth.stream_path in the configuration".into(),
        },
        Code::REQUEST_ENTITY_TOO_LARGE => Outcome::TooLarge {
            limit: response.size1.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0),
        },
        Code::BAD_REQUEST | Code::UNSUPPORTED_CONTENT_FORMAT | Code::UNPROCESSABLE_ENTITY => {
            Outcome::Bad { why: format!("Golioth answers {}{said}", response.code) }
        }
        _ => Outcome::Later { after: UNLISTED },
    }
}

/// The outcome of a request that was not answered: it may have arrived.
#[must_use]
pub fn of_failure(failure: Failure) -> Outcome {
    match failure {
        Failure::Timeout | Failure::DeadlineExceeded | Failure::SessionLost | Failure::Cancelled => {
            Outcome::Unknown
        }
        // Something came, at once, and it is no answer: sent again at once it would come at once again.
        Failure::Reset | Failure::BadResponse | Failure::BodyTooLarge | Failure::BodyChanged => {
            Outcome::Later { after: LATER }
        }
    }
}

fn max_age(response: &Response) -> Option<Duration> {
    response.max_age.map(|s| Duration::from_secs(u64::from(s)).clamp(Duration::from_secs(1), LATER_MOST))
}

/// The diagnostic payload, as far as it is short readable text (RFC 7252 section 5.5.2).
fn said(response: &Response) -> String {
    match std::str::from_utf8(&response.payload) {
        Ok(text) if !text.is_empty() => {
            let text: String = text.chars().filter(|c| !c.is_control()).take(120).collect();
            format!(": {text}")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sick(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::LinkSick { why, next_step } if !why.is_empty() && !next_step.is_empty())
    }

    /// Every code a CoAP answer can carry, against what the requirements say of it.
    #[test]
    fn every_answer_has_exactly_the_outcome_the_words_give_it() {
        for class in 2..=5u8 {
            for detail in 0..32u8 {
                let response = Response::new(Code::new(class, detail));
                let outcome = of_response(&response);
                let right = match (class, detail) {
                    (2, _) => outcome == Outcome::Acknowledged,
                    (4, 1 | 3 | 4) => sick(&outcome),
                    (4, 13) => outcome == Outcome::TooLarge { limit: None },
                    (4, 0 | 15 | 22) => matches!(outcome, Outcome::Bad { .. }),
                    (4, 29) => outcome == Outcome::Later { after: Duration::from_secs(1) },
                    (5, _) => outcome == Outcome::Later { after: LATER },
                    _ => outcome == Outcome::Later { after: UNLISTED },
                };
                assert!(right, "{class}.{detail:02}: {outcome:?}");
            }
        }
    }

    #[test]
    fn max_age_says_how_long_later_is_within_reason() {
        let limited = Response::new(Code::TOO_MANY_REQUESTS).max_age(7);
        assert_eq!(of_response(&limited), Outcome::Later { after: Duration::from_secs(7) });
        let forever = Response::new(Code::SERVICE_UNAVAILABLE).max_age(u32::MAX);
        assert_eq!(of_response(&forever), Outcome::Later { after: LATER_MOST });
        let at_once = Response::new(Code::SERVICE_UNAVAILABLE).max_age(0);
        assert_eq!(of_response(&at_once), Outcome::Later { after: Duration::from_secs(1) });
    }

    #[test]
    fn too_large_passes_on_the_limit_the_cloud_names() {
        let mut response = Response::new(Code::REQUEST_ENTITY_TOO_LARGE);
        response.size1 = Some(512);
        assert_eq!(of_response(&response), Outcome::TooLarge { limit: Some(512) });
    }

    #[test]
    fn no_answer_is_never_taken_for_one_and_what_comes_instead_of_one_is_not_asked_for_again_at_once() {
        use Failure as F;
        for failure in [F::Timeout, F::DeadlineExceeded, F::Cancelled, F::SessionLost] {
            assert_eq!(of_failure(failure), Outcome::Unknown);
        }
        for failure in [F::Reset, F::BadResponse, F::BodyTooLarge, F::BodyChanged] {
            assert_eq!(of_failure(failure), Outcome::Later { after: LATER });
        }
    }

    #[test]
    fn what_the_cloud_says_reaches_the_operator_without_control_characters() {
        let response = Response::new(Code::BAD_REQUEST).payload(0, "bad \x1b[31mcbor\n");
        assert_eq!(of_response(&response), Outcome::Bad { why: "Golioth answers 4.00: bad [31mcbor".into() });
    }
}
