//! Doing what an operator asks, on an open queue: under the daemon, or by the command line that holds its lock.
//!
//! The queue's writer moves readings, books and records in one transaction a step. A step is bounded, so that capturing goes
//! on beside it; a change of many steps that is ended between two has done what it had done, on record.

use super::{Done, MAX_NUMBERS, Request, Waiting, Which};
use crate::reading::{Class, StreamId};
use crate::store::gateway::{Audited, Gateway};
use crate::store::queue::look::{self, Source, overview};
use crate::store::queue::writer::{Aside, GiveUp};
use crate::store::queue::{AsideMoved, DestinationId, Position, Queue};

/// Carries a request out for the user `uid`.
///
/// # Errors
/// In words for the operator. What had been done before is on record.
pub async fn carry_out(
    queue: &Queue,
    gateway: Option<&Gateway>,
    uid: u32,
    request: &Request,
) -> Result<Done, String> {
    let change = Change::of(queue, request)?;
    let mut audit = Audit { gateway, uid, change: change.named(), unwritten: None };
    audit.write("asked", serde_json::json!({ "request": request })).await;
    let mut done = Done::default();
    let carried = change.carry(queue, &mut done).await;
    let outcome = if carried.is_ok() { "done" } else { "failed" };
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

/// A request whose names are known to the queue.
enum Change {
    Numbers { retry: bool, numbers: Vec<i64> },
    AllOf { retry: bool, destination: DestinationId, name: String },
    Waiting { what: GiveUp, name: String },
}

impl Change {
    fn of(queue: &Queue, request: &Request) -> Result<Self, String> {
        let (retry, which) = match request {
            Request::Retry(which) => (true, which),
            Request::DropSetAside(which) => (false, which),
            Request::DropWaiting(waiting) => {
                let what = give_up(queue, waiting)?;
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
                for number in numbers {
                    let moved = set_aside(queue, retry, Aside::One(number)).await?;
                    if moved == AsideMoved::default() {
                        done.unknown.push(number);
                    }
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

fn give_up(queue: &Queue, waiting: &Waiting) -> Result<GiveUp, String> {
    let (class, end) = end_of(waiting)?;
    let destination = destination(queue, &waiting.destination)?;
    let streams = match &waiting.stream {
        Some(name) => {
            let c = look::open(&Source::Beside(queue.path().to_owned())).map_err(|e| e.to_string())?;
            Some(streams_of(&c, name, class)?)
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
