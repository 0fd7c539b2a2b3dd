//! Disturbances of the cloud's answers, on request.

use fieldgate_coap::Code;
use serde_json::Value;
use std::time::Duration;

/// Faults set at once.
const MOST_FAULTS: usize = 64;

/// One disturbance and what it befalls. By default every request of every device, for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    kind: FaultKind,
    device: Option<String>,
    path: Option<String>,
    times: Option<u32>,
    until: Option<Duration>,
}

/// What happens instead of, or to, the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// This code, with Max-Age in seconds where given; the request is not carried out.
    Answer {
        /// Response code, such as 4.29 or 5.03.
        code: Code,
        /// Max-Age, seconds.
        max_age: Option<u32>,
    },
    /// 4.00 for stream bodies in which a map has this alias, and where given this value; others pass.
    RejectValue {
        /// A key of the body's map, or of a map in the body's array.
        alias: String,
        /// Its value; `None` for any.
        value: Option<Value>,
    },
    /// 4.13 with Size1 for bodies longer than this; others pass.
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// Carried out at once, answered so much later: beyond the empty ACK a separate response.
    Delay(Duration),
    /// Carried out and acknowledged by an empty ACK, never answered.
    LoseAnswer,
    /// Carried out, and answered as usual but for the body, which is these bytes. What an observer is sent later is not befallen.
    Body(Vec<u8>),
}

/// How a cloud talks that has lost its mind: what it is asked it carries out all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Babble {
    /// Each message is bytes that are no CoAP message, as many as there were.
    Noise,
    /// Each acknowledgement is a Reset of what it acknowledges.
    Resets,
    /// Each answer says 2.31 Continue, to messages that are whole.
    Continues,
}

impl Babble {
    /// What is sent instead of a message.
    pub(super) fn instead_of(self, message: &[u8]) -> Vec<u8> {
        /// Version 1, type Reset, no token (RFC 7252 section 3); and the bits of the type.
        const RESET: u8 = 0x70;
        const ACKNOWLEDGEMENT: u8 = 0x20;
        /// 2.31 (RFC 7959 section 2.9.1).
        const CONTINUE: u8 = 0x5f;
        let mut said = message.to_vec();
        match (self, message) {
            (Self::Noise, _) => said.fill(0xff),
            (Self::Resets, [first, _, high, low, ..]) if first & 0x30 == ACKNOWLEDGEMENT => {
                said = vec![RESET, 0, *high, *low];
            }
            (Self::Continues, [_, code, ..]) if *code != 0 => {
                said.iter_mut().skip(1).take(1).for_each(|code| *code = CONTINUE);
            }
            _ => {}
        }
        said
    }
}

impl Fault {
    /// Befalls everything until told otherwise.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, device: None, path: None, times: None, until: None }
    }

    /// Only this device.
    #[must_use]
    pub fn device(mut self, name: &str) -> Self {
        self.device = Some(name.to_owned());
        self
    }

    /// Only paths that begin like this, without a leading slash, such as `.s/`.
    #[must_use]
    pub fn path(mut self, prefix: &str) -> Self {
        self.path = Some(prefix.to_owned());
        self
    }

    /// Only the next so many.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only before this time on the cloud's line.
    #[must_use]
    pub fn until(mut self, at: Duration) -> Self {
        self.until = Some(at);
        self
    }
}

/// Names a fault that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u64);

/// The faults set. The first that befalls a request is the only one.
#[derive(Debug, Default)]
pub(super) struct Faults {
    set: Vec<(FaultId, Fault)>,
    next: u64,
}

impl Faults {
    /// The oldest goes when there are too many.
    pub(super) fn set(&mut self, fault: Fault) -> FaultId {
        let id = FaultId(self.next);
        self.next += 1;
        if self.set.len() >= MOST_FAULTS {
            self.set.remove(0);
        }
        self.set.push((id, fault));
        id
    }

    pub(super) fn clear(&mut self, id: FaultId) {
        self.set.retain(|(other, _)| *other != id);
    }

    pub(super) fn clear_all(&mut self) {
        self.set.clear();
    }

    /// What befalls a request. `body` answers what the body says, and is asked only where that matters.
    pub(super) fn befall(
        &mut self,
        now: Duration,
        device: &str,
        path: &str,
        body_bytes: usize,
        body: impl Fn() -> Option<Value>,
    ) -> Option<FaultKind> {
        self.set.retain(|(_, fault)| fault.until.is_none_or(|until| now < until) && fault.times != Some(0));
        let (_, fault) = self.set.iter_mut().find(|(_, fault)| {
            fault.device.as_ref().is_none_or(|name| name == device)
                && fault.path.as_ref().is_none_or(|prefix| path.starts_with(prefix.as_str()))
                && match &fault.kind {
                    FaultKind::TooLarge { limit } => body_bytes > *limit,
                    FaultKind::RejectValue { alias, value } => {
                        body().is_some_and(|body| mentions(&body, alias, value.as_ref()))
                    }
                    FaultKind::Answer { .. }
                    | FaultKind::Delay(_)
                    | FaultKind::LoseAnswer
                    | FaultKind::Body(_) => true,
                }
        })?;
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
        }
        Some(fault.kind.clone())
    }
}

fn mentions(body: &Value, alias: &str, value: Option<&Value>) -> bool {
    let in_map = |map: &Value| {
        map.get(alias).is_some_and(|found| {
            value.is_none_or(|value| match (found.as_f64(), value.as_f64()) {
                // 5 and 5.0 are the same reading.
                (Some(found), Some(value)) => found == value,
                _ => found == value,
            })
        })
    };
    match body {
        Value::Array(items) => items.iter().any(in_map),
        _ => in_map(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LOSE: FaultKind = FaultKind::LoseAnswer;

    fn befalls(faults: &mut Faults, now: u64, device: &str, path: &str, body: Value) -> bool {
        let bytes = body.to_string().len();
        faults.befall(Duration::from_secs(now), device, path, bytes, || Some(body.clone())).is_some()
    }

    #[test]
    fn a_fault_befalls_only_its_device_path_time_and_number() {
        let mut faults = Faults::default();
        faults.set(Fault::new(LOSE).device("gw").path(".s/").times(2).until(Duration::from_secs(9)));
        assert!(!befalls(&mut faults, 1, "other", ".s/a", json!(0)));
        assert!(!befalls(&mut faults, 1, "gw", ".d/a", json!(0)));
        assert!(befalls(&mut faults, 1, "gw", ".s/a", json!(0)));
        assert!(befalls(&mut faults, 1, "gw", ".s/b", json!(0)));
        assert!(!befalls(&mut faults, 1, "gw", ".s/b", json!(0)), "only twice");
        faults.set(Fault::new(LOSE).until(Duration::from_secs(9)));
        assert!(befalls(&mut faults, 8, "gw", "", json!(0)));
        assert!(!befalls(&mut faults, 9, "gw", "", json!(0)));
    }

    #[test]
    fn a_value_is_found_in_a_map_and_in_an_array_of_maps() {
        let mut faults = Faults::default();
        let id = faults
            .set(Fault::new(FaultKind::RejectValue { alias: "temp".to_owned(), value: Some(json!(5)) }));
        assert!(befalls(&mut faults, 0, "gw", ".s/a", json!([{"x": 1}, {"temp": 5.0}])));
        assert!(befalls(&mut faults, 0, "gw", ".s/a", json!({"temp": 5})));
        assert!(!befalls(&mut faults, 0, "gw", ".s/a", json!([{"temp": 6}, 5])));
        faults.clear(id);
        assert!(!befalls(&mut faults, 0, "gw", ".s/a", json!({"temp": 5})));
    }

    #[test]
    fn only_a_body_over_the_limit_is_too_large() {
        let mut faults = Faults::default();
        faults.set(Fault::new(FaultKind::TooLarge { limit: 3 }));
        assert!(!befalls(&mut faults, 0, "gw", ".s/a", json!("a")));
        assert!(befalls(&mut faults, 0, "gw", ".s/a", json!("ab")));
    }
}
