//! Doing what an operator asks, on an open queue: under the daemon, or by the command line that holds its lock.
//!
//! The queue's writer moves readings, books and records in one transaction a step. A step is bounded, so that capturing goes
//! on beside it; a change of many steps that is ended between two has done what it had done, on record.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Done, MAX_NUMBERS, Request, Waiting, Which};
use crate::reading::{Class, StreamId};
use crate::store::gateway::{Audited, Gateway};
use crate::store::queue::look::{self, Source, overview};
use crate::store::queue::writer::{Aside, GiveUp};
use crate::store::queue::{AsideMoved, DestinationId, Position, Queue};

/// As many numbers are moved in one transaction.
const STEP_NUMBERS: usize = 256;
/// As many numbers of a request stand in the audit.
const AUDITED_NUMBERS: usize = 16;

/// What ends a change before it is whole.
#[derive(Clone, Debug, Default)]
pub struct Until {
    /// It may take this long.
    pub limit: Option<Duration>,
    /// The end of whoever carries it out.
    pub stop: CancellationToken,
}

/// Carries a request out for the user `uid`.
///
/// # Errors
/// In words for the operator. What had been done before is on record.
pub async fn carry_out(
    queue: &Queue,
    gateway: Option<&Gateway>,
    uid: u32,
    request: &Request,
    until: &Until,
) -> Result<Done, String> {
    let change = Change::of(queue, request).await?;
    let mut audit = Audit { gateway, uid, change: change.named(), unwritten: None };
    audit.write("asked", serde_json::json!({ "request": told(request) })).await;
    let mut done = Done::default();
    let (outcome, carried) = within(until, change.carry(queue, &mut done)).await;
    let why = carried.as_ref().err();
    audit
        .write(
            outcome,
            serde_json::json!({ "moved": done.moved, "left": done.left, "behind": done.behind, "why": why }),
        )
        .await;
    done.not_audited = audit.unwritten;
    carried.map(|()| done)
}

/// What came of a change, in the audit's word for it.
async fn within(
    until: &Until,
    carried: impl Future<Output = Result<(), String>>,
) -> (&'static str, Result<(), String>) {
    let limit = async {
        match until.limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let (outcome, why) = tokio::select! {
        biased;
        carried = carried => return (if carried.is_ok() { "done" } else { "failed" }, carried),
        () = until.stop.cancelled() => ("cut off", "the daemon stopped"),
        () = limit => ("timed out", "it took longer than 10 minutes and was ended"),
    };
    (outcome, Err(format!("{why}. What was done is done and on record; run it again for the rest")))
}

/// A request as the audit keeps it: of many numbers how many there are, and the first.
fn told(request: &Request) -> serde_json::Value {
    let (name, numbers) = match request {
        Request::Retry(Which::Numbers(numbers)) => ("retry", numbers),
        Request::DropSetAside(Which::Numbers(numbers)) => ("drop_set_aside", numbers),
        whole => return serde_json::json!(whole),
    };
    let first = numbers.get(..AUDITED_NUMBERS).unwrap_or(numbers);
    serde_json::json!({ name: { "count": numbers.len(), "numbers": first } })
}

/// A request whose names are known to the queue.
enum Change {
    Numbers { retry: bool, numbers: Vec<i64> },
    AllOf { retry: bool, destination: DestinationId, name: String },
    Waiting { what: GiveUp, name: String },
}

impl Change {
    async fn of(queue: &Queue, request: &Request) -> Result<Self, String> {
        let (retry, which) = match request {
            Request::Retry(which) => (true, which),
            Request::DropSetAside(which) => (false, which),
            Request::Probe => return Err("a probe is no change of the queue".into()),
            Request::DropWaiting(waiting) => {
                let what = give_up(queue, waiting).await?;
                return Ok(Self::Waiting { what, name: waiting.destination.clone() });
            }
        };
        match which {
            Which::Numbers(numbers) if numbers.len() > MAX_NUMBERS => Err(format!(
                "more than {MAX_NUMBERS} numbers at once; nothing was changed. Name fewer, or --all-of"
            )),
            Which::Numbers(numbers) => Ok(Self::Numbers { retry, numbers: numbers.clone() }),
            Which::AllOf(name) => {
                Ok(Self::AllOf { retry, destination: destination(queue, name)?, name: name.clone() })
            }
        }
    }

    /// As it is audited: the action, and at what.
    fn named(&self) -> (&'static str, Option<String>) {
        let aside = |retry: &bool| if *retry { "queue.retry" } else { "queue.drop_set_aside" };
        match self {
            Self::Numbers { retry, .. } => (aside(retry), None),
            Self::AllOf { retry, name, .. } => (aside(retry), Some(name.clone())),
            Self::Waiting { name, .. } => ("queue.drop_waiting", Some(name.clone())),
        }
    }

    async fn carry(self, queue: &Queue, done: &mut Done) -> Result<(), String> {
        match self {
            Self::Numbers { retry, numbers } => {
                for step in numbers.chunks(STEP_NUMBERS) {
                    let moved = set_aside(queue, retry, Aside::Numbers(step.to_vec())).await?;
                    done.unknown.extend(moved.unknown);
                    done.moved += moved.moved;
                    done.left += moved.left;
                }
                Ok(())
            }
            Self::AllOf { retry, destination, .. } => {
                let moved = set_aside(queue, retry, Aside::AllOf(destination)).await?;
                (done.moved, done.left) = (moved.moved, moved.left);
                Ok(())
            }
            Self::Waiting { what, .. } => loop {
                let step = queue.give_up(what.clone()).await.map_err(|e| e.to_string())?;
                done.moved += step.dropped;
                done.behind += step.behind;
                if !step.more {
                    return Ok(());
                }
            },
        }
    }
}

async fn set_aside(queue: &Queue, retry: bool, which: Aside) -> Result<AsideMoved, String> {
    let moved = if retry { queue.retry_set_aside(which).await } else { queue.drop_set_aside(which).await };
    moved.map_err(|e| e.to_string())
}

fn destination(queue: &Queue, name: &str) -> Result<DestinationId, String> {
    among(queue.destinations(), name)
}

/// The number of the destination of this name.
///
/// # Errors
/// In words, with the names there are.
pub fn among(known: &[(DestinationId, String)], name: &str) -> Result<DestinationId, String> {
    known.iter().find(|(_, known)| known == name).map(|(id, _)| *id).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(_, name)| name.as_str()).collect();
        let names = if names.is_empty() { "none".into() } else { names.join(", ") };
        format!("no destination {name} is configured. There are: {names}. Nothing was changed")
    })
}

/// The class of this name.
///
/// # Errors
/// In words, with the names there are.
pub fn class(name: &str) -> Result<Class, String> {
    Class::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| {
        let words: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        format!("the classes are {}", words.join(", "))
    })
}

/// What a request for readings that wait names.
///
/// # Errors
/// In words. Nothing was changed.
pub fn end_of(waiting: &Waiting) -> Result<(Class, Position), String> {
    let class = class(&waiting.class)?;
    let last = Position { segment: waiting.through, row: 0 };
    if last.class() == Some(class) {
        return Ok((class, last.next_segment()));
    }
    Err(format!(
        "segment {0} is not of class {1}; nothing was changed. Its class: fieldgate queue show segment {0}",
        waiting.through,
        class.name()
    ))
}

async fn give_up(queue: &Queue, waiting: &Waiting) -> Result<GiveUp, String> {
    let (class, end) = end_of(waiting)?;
    let destination = destination(queue, &waiting.destination)?;
    let streams = match &waiting.stream {
        Some(name) => {
            let (path, name) = (queue.path().to_owned(), name.clone());
            // Not on the daemon's one thread: SQLite may wait for the disk.
            let look = tokio::task::spawn_blocking(move || {
                let c = look::open(&Source::Beside(path)).map_err(|e| e.to_string())?;
                streams_of(&c, &name, class)
            });
            Some(look.await.map_err(|e| e.to_string())??)
        }
        None => None,
    };
    // What is accepted from here on is not meant, and what this change itself puts behind must not be met again.
    let status = queue.status();
    let status = status.borrow();
    let now = status.ends.get(&class).copied();
    let until = end.min(now.unwrap_or_else(|| Position::first_of(class)));
    Ok(GiveUp { generation: status.generation, destination, class, until, streams })
}

/// Every definition of the stream of this name.
///
/// # Errors
/// In words, when there is none of this class.
pub fn streams_of(c: &rusqlite::Connection, name: &str, class: Class) -> Result<Vec<StreamId>, String> {
    let known = overview::definitions(c, name).map_err(|e| e.to_string())?;
    let Some((_, of)) = known.last() else {
        return Err(format!(
            "the queue knows no stream {name}; nothing was changed. What there is: fieldgate queue verify"
        ));
    };
    let ours: Vec<StreamId> = known.iter().filter(|(_, of)| *of == class).map(|(id, _)| *id).collect();
    if ours.is_empty() {
        return Err(format!(
            "stream {name} is of class {}, not {}; nothing was changed",
            of.name(),
            class.name()
        ));
    }
    Ok(ours)
}

/// Who did what. A disk that takes no record keeps nobody from making room on it: that it is missing is said instead.
struct Audit<'a> {
    gateway: Option<&'a Gateway>,
    uid: u32,
    change: (&'static str, Option<String>),
    unwritten: Option<String>,
}

impl Audit<'_> {
    async fn write(&mut self, outcome: &'static str, detail: serde_json::Value) {
        let (action, target) = self.change.clone();
        let row = Audited {
            who: format!("uid {}", self.uid),
            role: if self.uid == 0 { "root" } else { "daemon's user" },
            action,
            target,
            outcome,
            detail,
        };
        let written = match self.gateway {
            Some(gateway) => gateway.audit(row).await.map_err(|e| e.to_string()),
            None => Err("gateway.db cannot be opened".to_owned()),
        };
        if let Err(why) = written {
            tracing::warn!(uid = self.uid, action, outcome, why, "an operator's change is not in the audit");
            self.unwritten = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_numbers_the_audit_keeps_how_many_and_the_first() {
        let numbers: Vec<i64> = (1..=4096).collect();
        let kept = told(&Request::Retry(Which::Numbers(numbers)));
        assert_eq!((&kept["retry"]["count"], &kept["retry"]["numbers"][15]), (&4096.into(), &16.into()));
        assert!(kept.to_string().len() < 200, "{kept}");
        let all = Request::DropSetAside(Which::AllOf("plant".into()));
        assert_eq!(told(&all), serde_json::json!({ "drop_set_aside": { "all_of": "plant" } }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_takes_too_long_has_an_outcome_for_the_audit() {
        let until = Until { limit: Some(Duration::from_secs(600)), ..Until::default() };
        let (outcome, carried) = within(&until, std::future::pending()).await;
        assert_eq!(outcome, "timed out");
        assert!(carried.unwrap_err().contains("run it again for the rest"));
        assert_eq!(within(&until, async { Ok(()) }).await, ("done", Ok(())));
        let unhurried = Until::default();
        assert_eq!(
            within(&unhurried, async { Err("no".to_owned()) }).await,
            ("failed", Err("no".to_owned()))
        );
        unhurried.stop.cancel();
        assert_eq!(within(&unhurried, std::future::pending()).await.0, "cut off");
        assert_eq!(within(&unhurried, async { Ok(()) }).await, ("done", Ok(())), "what is whole is whole");
    }
}
