//! The lane that keeps the cloud's record of this gateway's state in step: it posts what changed, and only that.
//!
//! The state is a small document. It is made anew each [`LOOK`], compared with what the cloud has acknowledged, which is kept for
//! the next run, and the difference goes: one object that merges, and one deletion for each key that is no more. Times
//! are in coarse steps, so that an idle gateway has nothing to say. Where a cell serves the modem and the cloud wants to
//! know which, that goes too when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::status;
use crate::board::Board;
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::spend::{Purpose, Purse};
use crate::store::gateway::Gateway;
use crate::uplink::link::{Link, Outcome, Report, ServingCell};

/// How often the state is looked at, and so how often it is posted at most.
const LOOK: Duration = Duration::from_secs(60);
/// How often a cell is posted at most.
const CELL_EVERY: Duration = Duration::from_secs(900);
/// After this a cloud that refuses is asked again.
const REFUSED: Duration = Duration::from_secs(3600);
/// How long a post may be under way; the link waits for its session within it.
const UNDER_WAY: Duration = Duration::from_secs(300);
/// What a post takes on the wire, about, bytes.
const POST_BYTES: u64 = 400;
/// Components that are named.
const MOST_COMPONENTS: usize = 16;
/// The longest text an operator can have given back.
const MOST_GENERATION: usize = 64;

/// What the lane works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The cloud.
    pub link: Arc<dyn Link>,
    /// What operators want of this gateway.
    pub desired: watch::Receiver<Value>,
    /// Whether the cloud wants to know which cell serves the modem.
    pub location: bool,
    /// What runs, and what the cloud has.
    pub gateway: Gateway,
    /// What is known.
    pub board: Arc<Board>,
    /// What may be spent.
    pub purse: Arc<Purse>,
    /// Time.
    pub rim: Rim,
    /// Ends it.
    pub stop: CancellationToken,
}

/// The lane, named `state to` and the destination's name.
#[must_use]
pub fn lane(parts: Parts) -> Lane {
    Lane::new(format!("state to {}", parts.link.name()), move |progress| {
        let parts = parts.clone();
        async move {
            let stop = parts.stop.clone();
            let mut reported = Reported { parts, progress, cell: None };
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                ended = reported.keep_in_step() => ended,
            }
        }
    })
}

struct Reported {
    parts: Parts,
    progress: Progress,
    /// The cell the cloud was told of, and when.
    cell: Option<(ServingCell, Duration)>,
}

impl Reported {
    async fn keep_in_step(&mut self) -> Result<(), LaneError> {
        let kept_as = format!("reported:{}", self.parts.link.name());
        let kept = self.parts.gateway.kept(&kept_as);
        let mut told: Value =
            kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| json!({}));
        let mut up = self.parts.link.up();
        loop {
            self.progress.waiting("waiting for the link", Duration::from_secs(86_400));
            if up.wait_for(|up| *up).await.is_err() {
                return Ok(());
            }
            let now_so = self.document().await?;
            let mut pause = LOOK;
            for (path, value) in changes(&told, &now_so) {
                let report = Report::State { path: path.clone(), value: value.clone() };
                match self.post(report).await {
                    Ok(()) => took(&mut told, &path, value),
                    Err(wait) => {
                        pause = wait;
                        break;
                    }
                }
                self.parts.gateway.keep(&kept_as, told.to_string()).await.map_err(LaneError::new)?;
            }
            if let Err(wait) = self.tell_cell().await {
                pause = pause.max(wait);
            }
            self.progress.advanced();
            self.progress.waiting("the cloud knows the state", pause);
            self.parts.rim.sleep(pause).await;
        }
    }

    /// Posts it, if the data plan has room.
    ///
    /// # Errors
    /// After which time to try again.
    async fn post(&self, report: Report) -> Result<(), Duration> {
        if let Some((until, why)) = self.parts.purse.refused(Purpose::State, POST_BYTES) {
            self.progress.waiting(why.words(), REFUSED);
            return Err(until.saturating_sub(self.parts.rim.now()).clamp(LOOK, REFUSED));
        }
        self.progress.waiting("telling the cloud the state", UNDER_WAY);
        let outcome = tokio::time::timeout(UNDER_WAY, self.parts.link.report(report)).await;
        match outcome.unwrap_or(Outcome::Unknown) {
            Outcome::Acknowledged => Ok(()),
            Outcome::Later { after } => Err(after.max(LOOK)),
            Outcome::Unknown => Err(LOOK),
            refused @ (Outcome::Bad { .. } | Outcome::TooLarge { .. } | Outcome::LinkSick { .. }) => {
                tracing::debug!(?refused, "the cloud does not take the state");
                Err(REFUSED)
            }
        }
    }

    async fn tell_cell(&mut self) -> Result<(), Duration> {
        let now = self.parts.rim.now();
        let Some(cell) = self.parts.location.then(|| status::serving_cell(&self.parts.board)).flatten()
        else {
            return Ok(());
        };
        // Where the gateway is does not change with how well it hears.
        let known = self.cell.is_some_and(|(told, at)| {
            now < at + CELL_EVERY || ServingCell { strength_dbm: cell.strength_dbm, ..told } == cell
        });
        if !known {
            self.post(Report::Network(cell)).await?;
            self.cell = Some((cell, now));
        }
        Ok(())
    }

    /// What is so now.
    async fn document(&self) -> Result<Value, LaneError> {
        let Parts { gateway, board, desired, rim, .. } = &self.parts;
        let components = gateway.components().await.map_err(LaneError::new)?;
        let mut versions = BTreeMap::new();
        for component in components.into_iter().take(MOST_COMPONENTS) {
            let version = component.version.unwrap_or_else(|| "unknown".into());
            let text = match component.target.filter(|target| *target != version) {
                Some(target) => format!("{version} -> {target}"),
                None => version,
            };
            versions.insert(component.key.package, text);
        }
        let head = gateway.status().borrow().log_head;
        let hash: String = head.hash.0.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let mut document = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "up": up_for(rim.now()),
            "components": versions,
            "log": { "head": head.sequence, "hash": hash },
            "lanes": match status::not_fine(board) { names if names.is_empty() => "fine".to_owned(), names => names },
        });
        if let Some(map) = document.as_object_mut() {
            if let Some(version) = board.settings.get().and_then(|settings| settings.value.version) {
                map.insert("settings".into(), version.into());
            }
            if let Some(generation) = generation(&desired.borrow()) {
                map.insert("generation".into(), generation);
            }
        }
        Ok(document)
    }
}

/// What an operator wrote to see it come back, once the gateway has read what is wanted.
fn generation(desired: &Value) -> Option<Value> {
    let said = desired.get("generation")?;
    let short = said.as_str().is_none_or(|text| text.len() <= MOST_GENERATION);
    (said.is_number() || said.is_string() && short).then(|| said.clone())
}

fn up_for(since_boot: Duration) -> &'static str {
    match since_boot.as_secs() {
        0..3600 => "minutes",
        3600..86_400 => "hours",
        86_400..604_800 => "days",
        _ => "weeks",
    }
}

/// What makes `told` into `now`: at most one object to merge at the top, and keys to delete, by path.
fn changes(told: &Value, now: &Value) -> Vec<(String, Option<Value>)> {
    let mut gone = Vec::new();
    let merged = difference(told, now, "", &mut gone);
    let set = merged.map(|value| (String::new(), Some(value)));
    set.into_iter().chain(gone.into_iter().map(|path| (path, None))).collect()
}

/// What of `now` is not in `told`; and where `told` has what `now` has not.
fn difference(told: &Value, now: &Value, at: &str, gone: &mut Vec<String>) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (told, now) else {
        return (told != now).then(|| now.clone());
    };
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}/{key}") };
    gone.extend(before.keys().filter(|key| !after.contains_key(*key)).map(|key| below(key)));
    let mut changed = Map::new();
    for (key, value) in after {
        let difference = match before.get(key) {
            Some(old) => difference(old, value, &below(key), gone),
            None => Some(value.clone()),
        };
        changed.extend(difference.map(|value| (key.clone(), value)));
    }
    (!changed.is_empty()).then_some(Value::Object(changed))
}

/// The cloud took one change.
fn took(told: &mut Value, path: &str, value: Option<Value>) {
    match value {
        Some(value) => merge(told, value),
        None => {
            let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
            let pointer = if parent.is_empty() { String::new() } else { format!("/{parent}") };
            if let Some(map) = told.pointer_mut(&pointer).and_then(Value::as_object_mut) {
                map.remove(key);
            }
        }
    }
}

/// As the cloud merges: objects into objects, anything else replaces.
fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key).or_insert(Value::Null), value);
            }
        }
        (old, new) => *old = new,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<u8>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(Map::from_iter(map)))
        });
        prop::collection::btree_map("[a-d]", value, 0..4).prop_map(|map| Value::Object(Map::from_iter(map)))
    }

    proptest! {
        #[test]
        fn what_the_cloud_has_after_the_changes_is_what_is_so(before in document(), now in document()) {
            let mut cloud = before.clone();
            for (path, value) in changes(&before, &now) {
                took(&mut cloud, &path, value);
            }
            prop_assert_eq!(&cloud, &now);
            prop_assert!(changes(&cloud, &now).is_empty());
        }
    }

    #[test]
    fn only_what_changed_goes_and_what_is_gone_is_deleted_by_its_path() {
        let told = json!({"up": "minutes", "components": {"main": "1", "cell": "2"}, "settings": 3});
        let now = json!({"up": "hours", "components": {"main": "1"}, "settings": 3});
        assert_eq!(
            changes(&told, &now),
            [(String::new(), Some(json!({"up": "hours"}))), ("components/cell".to_owned(), None)]
        );
        assert_eq!(changes(&now, &now), []);
    }

    #[test]
    fn a_generation_is_given_back_only_where_it_is_short() {
        assert_eq!(generation(&json!({"generation": 7})), Some(json!(7)));
        assert_eq!(generation(&json!({"generation": "x".repeat(65)})), None);
        assert_eq!(generation(&json!({"generation": {"a": 1}})), None);
        assert_eq!(generation(&Value::Null), None);
    }
}
