//! Where the way of the readings ends, found out by sending what is none (requirement D6).
//!
//! Golioth acknowledges before any pipeline has looked. So the project's lists are read before and after: what they name newly is
//! what became of the probe, or of a reading that went the same way meanwhile, which says the same. Clocks are not compared.

use std::time::Duration;

use super::delivery::{Entry, Found, PipelineLists, SETTLE, short};
use super::session::DESTINATION;
use crate::board::{Board, LinkPhase};
use crate::daemon::rim::Rim;
use crate::uplink::link::{Link, Outcome, Report};

/// A session is waited for so long: one handshake, and a pause before it.
const CONNECTED_WITHIN: Duration = Duration::from_secs(75);
/// How often is looked whether waiting is of no use.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A probe that is not answered by then is not: a report is given up sooner.
const ANSWERED_WITHIN: Duration = Duration::from_secs(150);

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A pipeline took it.
    Taken,
    /// It was acknowledged; why nobody can say more.
    Unverified(String),
    /// It was acknowledged, and no pipeline took it under this content type: readings would be lost.
    Unrouted(String),
    /// A pipeline took it and failed; how.
    Failed(String),
    /// The cloud refuses it, or this gateway; what it says, and what to do.
    Refused(String),
    /// The cloud was not reached, or did not answer; as far as is known.
    Unreachable(String),
}

/// Sends a probe to `path` (without a slash) over a link, and waits for what becomes of it: some seconds, minutes at most.
/// `lists` are the project's, where a management key allows to read them.
pub async fn probe(
    link: &dyn Link,
    path: &str,
    mark: &str,
    lists: Result<&dyn PipelineLists, &str>,
    board: &Board,
    rim: &Rim,
) -> Fate {
    if let Err(fate) = connected(link, board, rim).await {
        return fate;
    }
    let listed = format!("/{path}");
    let before = match lists {
        Ok(lists) => lists.look(&listed).await.map_err(|error| error.to_string()),
        Err(why) => Err(why.to_owned()),
    };
    let wall = rim.clock.wall();
    let (address, mark) = (path.to_owned(), mark.to_owned());
    let report = Report::Probe { address, mark, unix_ms: wall.trusted.then_some(wall.unix_ms) };
    let outcome = tokio::select! {
        biased;
        outcome = link.report(report) => outcome,
        () = rim.sleep(ANSWERED_WITHIN) => Outcome::Unknown,
    };
    match outcome {
        Outcome::Acknowledged => {}
        Outcome::LinkSick { why, next_step } => return Fate::Refused(format!("{why}. Next: {next_step}")),
        Outcome::Bad { why } => return Fate::Refused(why),
        Outcome::TooLarge { .. } => return Fate::Refused("it is too large for the cloud".into()),
        Outcome::Later { .. } => {
            return Fate::Refused("the cloud takes nothing now. Next: try again later".into());
        }
        Outcome::Unknown => return Fate::Unreachable("the cloud did not answer the probe".into()),
    }
    let (before, lists) = match (before, lists) {
        (Ok(before), Ok(lists)) => (before, lists),
        (Err(why), _) => return Fate::Unverified(why),
        (Ok(_), Err(why)) => return Fate::Unverified(why.to_owned()),
    };
    rim.sleep(SETTLE).await;
    match lists.look(&listed).await {
        Ok(after) => judged(&before, after),
        Err(error) => Fate::Unverified(error.to_string()),
    }
}

/// What the lists say, read before and after.
fn judged(before: &Found, after: Found) -> Fate {
    let newer = |before: &Option<Entry>, after: Option<Entry>| {
        after.filter(|after| before.as_ref().is_none_or(|before| after.unix_ns > before.unix_ns))
    };
    match (newer(&before.unmatched, after.unmatched), newer(&before.failed, after.failed)) {
        (Some(unmatched), _) => Fate::Unrouted(short(&unmatched.detail)),
        (None, Some(failed)) => Fate::Failed(short(&failed.detail)),
        (None, None) => Fate::Taken,
    }
}

/// Waits for a session, as long as there may still be one.
async fn connected(link: &dyn Link, board: &Board, rim: &Rim) -> Result<(), Fate> {
    let mut up = link.up();
    let until = rim.now() + CONNECTED_WITHIN;
    loop {
        if *up.borrow_and_update() {
            return Ok(());
        }
        let state = board.links.get(DESTINATION).map(|state| state.value);
        let words = state.as_ref().map_or("it was not tried yet", |state| state.words.as_str());
        if state.as_ref().is_some_and(|state| state.phase == LinkPhase::Sick) {
            return Err(Fate::Refused(words.to_owned()));
        }
        if rim.now() >= until {
            return Err(Fate::Unreachable(words.to_owned()));
        }
        tokio::select! {
            biased;
            changed = up.changed() => if changed.is_err() {
                return Err(Fate::Unreachable("the link has ended".into()));
            },
            () = rim.sleep(LOOK_EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(unmatched: Option<i128>, failed: Option<i128>) -> Found {
        let entry =
            |at: Option<i128>, detail: &str| at.map(|unix_ns| Entry { unix_ns, detail: detail.into() });
        Found { unmatched: entry(unmatched, "application/cbor"), failed: entry(failed, "bad step") }
    }

    #[test]
    fn only_what_the_lists_name_newly_is_the_probes() {
        let old = found(Some(5), Some(6));
        assert_eq!(judged(&old, found(Some(5), Some(6))), Fate::Taken);
        assert_eq!(judged(&Found::default(), Found::default()), Fate::Taken);
        assert_eq!(judged(&old, found(Some(7), Some(6))), Fate::Unrouted("application/cbor".into()));
        assert_eq!(
            judged(&Found::default(), found(Some(1), None)),
            Fate::Unrouted("application/cbor".into())
        );
        assert_eq!(judged(&old, found(Some(5), Some(9))), Fate::Failed("bad step".into()));
        assert_eq!(judged(&old, found(Some(8), Some(9))), Fate::Unrouted("application/cbor".into()));
    }
}
