//! One call: remembered, carried out, answered, and only then whatever ends this process.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::lane::Remote;
use super::methods::{Asked, LEVELS, Method, check, code};
use super::{at, status};
use crate::config::LogLevel;
use crate::store::gateway::{Audited, Begun, CallKey, GatewayError};
use crate::uplink::link::{Call, Report};

/// How long taking an event may take, all together.
pub(super) const LONGEST: Duration = Duration::from_secs(120);
/// The modem may take so long to answer; whoever called waits no longer.
const MODEM: Duration = Duration::from_secs(6);
/// How long an answer may be under way: later nobody waits for it.
const ANSWER: Duration = Duration::from_secs(30);
/// A reboot is refused while the last one is not longer ago.
const REBOOT_EVERY: Duration = Duration::from_secs(600);
/// An answer is one message: id, status code and the heads of the maps take the rest of 1 kB.
const DETAIL_BYTES: usize = 940;

/// How a call ends.
struct Answer {
    code: u8,
    detail: Map<String, Value>,
    after: After,
}

/// What is done once the answer is out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Reboot,
    Restart,
}

impl Answer {
    fn ok(detail: Value) -> Self {
        let detail = if let Value::Object(detail) = detail { detail } else { Map::new() };
        Self { code: code::OK, detail, after: After::Nothing }
    }

    fn failed(code: u8, why: impl Into<String>) -> Self {
        let detail = Map::from_iter([("error".to_owned(), Value::String(why.into()))]);
        Self { code, detail, after: After::Nothing }
    }

    fn then(after: After) -> Self {
        Self { after, ..Self::ok(json!({ "accepted": true })) }
    }
}

impl Remote {
    pub(super) async fn call(&mut self, call: Call) {
        let key =
            CallKey { source: self.parts.link.name().to_owned(), id: call.id.clone(), digest: digest(&call) };
        let begun = match self.parts.gateway.begin_call(&key).await {
            Ok(Begun::Before(_)) if crate::sabotage::on("call-acts-twice") => {
                Ok(Begun::New { rebooted: None })
            }
            begun => begun,
        };
        let answer = match begun {
            // Whoever called twice gets the same answer twice, and nothing is done.
            Ok(Begun::Before(Some((code, detail)))) => {
                let detail = detail.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
                Answer { code, detail, after: After::Nothing }
            }
            Ok(Begun::Before(None)) => Answer::failed(
                code::ABORTED,
                "it was begun before, and how that ended is not on record; it is not done again",
            ),
            Err(error) => Answer::failed(code::UNAVAILABLE, format!("not done: {error}")),
            Ok(Begun::New { rebooted }) => self.new_call(&key, &call, rebooted).await,
        };
        let Answer { code, detail, after } = answer;
        let report = Report::CallAnswer { id: call.id, code, detail: (!detail.is_empty()).then_some(detail) };
        let outcome = tokio::time::timeout(ANSWER, self.parts.link.report(report)).await;
        // What is carried out was told of; a flood of what is refused must not fill the log.
        tracing::debug!(method = call.method, code, ?outcome, "a remote call was answered");
        self.after(after);
    }

    /// Carries out what is on record as begun, and puts its answer there too.
    async fn new_call(&mut self, key: &CallKey, call: &Call, rebooted: Option<Duration>) -> Answer {
        let checked = check(&call.method, &call.params);
        let audited = checked.as_ref().ok().and_then(|(method, _)| method.audited);
        self.audit(audited, call, "asked", Value::Null).await;
        let mut answer = match checked {
            Ok((method, asked)) => {
                self.carry_out(method, asked, rebooted, DETAIL_BYTES - call.id.len()).await
            }
            Err((code, why)) => Answer::failed(code, why),
        };
        bound(&mut answer.detail, DETAIL_BYTES - call.id.len());
        let text = serde_json::to_string(&answer.detail).ok();
        let reboots = answer.after == After::Reboot;
        if let Err(error) = self.parts.gateway.end_call(key, answer.code, text, reboots).await {
            // What ends the process must not happen again for want of a record.
            if answer.after != After::Nothing {
                answer = Answer::failed(code::UNAVAILABLE, format!("not done: {error}"));
            }
        }
        let outcome = if answer.code == code::OK { "done" } else { "refused" };
        self.audit(audited, call, outcome, Value::Object(answer.detail.clone())).await;
        answer
    }

    async fn carry_out(
        &self,
        method: &Method,
        asked: Asked,
        rebooted: Option<Duration>,
        room: usize,
    ) -> Answer {
        tracing::info!(method = method.name, "a remote call is carried out");
        let asks = &self.parts.board.asks;
        match asked {
            Asked::Reboot => {
                if rebooted.is_some_and(|ago| ago < REBOOT_EVERY) {
                    return Answer::failed(
                        code::FAILED_PRECONDITION,
                        "a reboot was asked for within the last 10 minutes; wait, and look whether it helped",
                    );
                }
                match asks.hands.get().map(|hands| hands.may_reboot()) {
                    Some(Ok(())) => Answer::then(After::Reboot),
                    Some(Err(why)) => Answer::failed(code::FAILED_PRECONDITION, why),
                    None => Answer::failed(code::FAILED_PRECONDITION, "nobody here can reboot the machine"),
                }
            }
            Asked::Restart if asks.hands.get().is_some() => Answer::then(After::Restart),
            Asked::Restart => {
                Answer::failed(code::FAILED_PRECONDITION, "nobody would start the daemon again")
            }
            Asked::Status => Answer::ok(status::status(&self.parts)),
            Asked::NetworkInfo => Answer::ok(status::network(&self.parts.board)),
            Asked::FirmwareLog { cursor, acknowledge } => self.firmware_log(cursor, acknowledge, room).await,
            Asked::LogLevel { level, minutes } => {
                let Some(logs) = asks.logs.get() else {
                    return Answer::failed(code::FAILED_PRECONDITION, "this daemon's log has one level only");
                };
                let for_long = Duration::from_secs(u64::from(minutes) * 60);
                logs.lift(log_level(&level), self.parts.rim.now() + for_long);
                Answer::ok(json!({ "level": level, "minutes": minutes }))
            }
            Asked::ModemAt { command } => self.modem(&command, room).await,
            Asked::Flush => {
                // First on the disk, then on its way.
                let health = self.parts.queue.flush().await;
                asks.flush.send_modify(|count| *count = count.wrapping_add(1));
                let queued = status::queued(&self.parts);
                Answer::ok(json!({ "queued": queued, "store": health.name() }))
            }
        }
    }

    /// A page of the firmware log ([`crate::store::gateway::pages`]); this cloud's calls are one puller.
    async fn firmware_log(&self, cursor: Option<String>, acknowledge: bool, room: usize) -> Answer {
        let (gateway, puller) = (&self.parts.gateway, format!("rpc:{}", self.parts.link.name()));
        let page = async {
            if acknowledge && let Some(cursor) = &cursor {
                gateway.acknowledge(&puller, cursor).await?;
            }
            let after = match cursor {
                Some(cursor) => Some(cursor),
                None => gateway.acknowledged(&puller).await?,
            };
            gateway.firmware_log_bytes(after.as_deref(), room).await
        };
        match page.await {
            Ok(page) => match serde_json::from_slice(&page.body) {
                Ok(detail) => Answer::ok(detail),
                Err(error) => Answer::failed(code::UNAVAILABLE, error.to_string()),
            },
            Err(GatewayError::Cursor(why)) => Answer::failed(code::INVALID_ARGUMENT, why.to_string()),
            Err(error) => Answer::failed(code::UNAVAILABLE, error.to_string()),
        }
    }

    async fn modem(&self, command: &str, room: usize) -> Answer {
        let command = match at::allowed(command) {
            Ok(command) => command,
            Err(why) => return Answer::failed(code::INVALID_ARGUMENT, why),
        };
        if self.parts.board.modem_state.get().is_none() {
            return Answer::failed(code::FAILED_PRECONDITION, "no modem is configured");
        }
        match tokio::time::timeout(MODEM, self.parts.board.asks.console.ask(command)).await {
            // Half of the room: line ends and quotes take two bytes each in the record of it.
            Ok(Ok(lines)) => Answer::ok(json!({ "answer": at::shown(&lines, room / 2) })),
            Ok(Err(why)) => Answer::failed(code::UNAVAILABLE, why),
            Err(_) => Answer::failed(code::UNAVAILABLE, "the modem did not answer within 6 s; call again"),
        }
    }

    async fn audit(&self, action: Option<&'static str>, call: &Call, outcome: &'static str, detail: Value) {
        let Some(action) = action else { return };
        let row = Audited {
            who: self.parts.link.name().to_owned(),
            role: "cloud",
            action,
            target: Some(call.id.clone()),
            outcome,
            detail: json!({ "parameters": call.params, "answer": detail }),
        };
        if let Err(error) = self.parts.gateway.audit(row).await {
            tracing::warn!(%error, action, "a remote call is not in the audit");
        }
    }

    fn after(&self, after: After) {
        let Some(hands) = self.parts.board.asks.hands.get() else { return };
        match after {
            After::Nothing => {}
            After::Restart => hands.restart(),
            After::Reboot => {
                if let Err(why) = hands.reboot() {
                    tracing::error!(why, "the reboot that a cloud called for does not happen");
                }
            }
        }
    }
}

/// Calls of one id that differ in this are two calls.
fn digest(call: &Call) -> [u8; 32] {
    let params = serde_json::to_vec(&call.params).unwrap_or_default();
    Sha256::new().chain_update(&call.method).chain_update([0]).chain_update(params).finalize().into()
}

/// Leaves out what does not fit, the last first. As JSON it is at least as long as on the wire.
fn bound(detail: &mut Map<String, Value>, most: usize) {
    while serde_json::to_string(detail).map_or(0, |text| text.len()) > most {
        let Some(last) = detail.keys().next_back().cloned() else { return };
        detail.remove(&last);
    }
}

fn log_level(word: &str) -> LogLevel {
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];
    LEVELS.iter().zip(levels).find(|(name, _)| **name == word).map_or(LogLevel::Info, |(_, level)| level)
}
