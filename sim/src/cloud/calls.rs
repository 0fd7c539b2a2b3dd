//! Remote procedure calls in waiting: made by an operator, carried by a notification, answered by a POST.

use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Calls remembered, ended ones included; the oldest goes first.
const MOST_CALLS: usize = 10_000;

/// How a call stands.
#[derive(Debug, Clone, PartialEq)]
pub enum CallOutcome {
    /// Not answered yet; perhaps nobody listens.
    Pending,
    /// The device answered.
    Answered {
        /// gRPC status code; 0 is OK.
        code: i64,
        /// What it has to say, if anything.
        detail: Option<Value>,
    },
    /// The device did not answer in time.
    TimedOut,
}

#[derive(Debug)]
struct Call {
    device: String,
    deadline: Duration,
    outcome: CallOutcome,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<String, Call>,
    order: VecDeque<String>,
}

impl Calls {
    /// How long a device may take unless it is said otherwise. The vendor's client waits 10 s itself and takes only its own
    /// running out of time for a timeout: the cloud must not be first.
    pub(super) const PATIENCE: Duration = Duration::from_secs(15);

    pub(super) fn begin(&mut self, id: String, device: &str, deadline: Duration) {
        if self.order.len() >= MOST_CALLS
            && let Some(oldest) = self.order.pop_front()
        {
            self.calls.remove(&oldest);
        }
        let call = Call { device: device.to_owned(), deadline, outcome: CallOutcome::Pending };
        self.order.push_back(id.clone());
        self.calls.insert(id, call);
    }

    /// The first answer of the device that was called counts. Whether this was it.
    pub(super) fn answer(&mut self, id: &str, device: &str, code: i64, detail: Option<Value>) -> bool {
        match self.calls.get_mut(id) {
            Some(call) if call.device == device && call.outcome == CallOutcome::Pending => {
                call.outcome = CallOutcome::Answered { code, detail };
                true
            }
            _ => false,
        }
    }

    pub(super) fn outcome(&self, id: &str) -> Option<&CallOutcome> {
        self.calls.get(id).map(|call| &call.outcome)
    }

    pub(super) fn expire(&mut self, now: Duration) {
        for call in self.calls.values_mut() {
            if call.outcome == CallOutcome::Pending && call.deadline <= now {
                call.outcome = CallOutcome::TimedOut;
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let pending = self.calls.values().filter(|call| call.outcome == CallOutcome::Pending);
        pending.map(|call| call.deadline).min()
    }
}

/// What the notification on `.rpc` says.
pub(super) fn said(id: &str, method: &str, params: &[Value]) -> Value {
    json!({"id": id, "method": method, "params": params})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notification_is_as_observed() {
        let expected =
            [b"\xA3\x62id\x66abc/12\x66method\x71basic_return_type\x66params\x81\x63int".as_slice()].concat();
        let said = said("abc/12", "basic_return_type", &[json!("int")]);
        assert_eq!(crate::cloud::cbor::encode(&said), expected);
    }

    #[test]
    fn only_the_first_answer_of_the_device_that_was_called_counts() {
        let mut calls = Calls::default();
        calls.begin("a".to_owned(), "gw", Duration::from_secs(15));
        assert!(!calls.answer("a", "other", 0, None));
        assert!(!calls.answer("b", "gw", 0, None));
        assert!(calls.answer("a", "gw", 5, None));
        assert!(!calls.answer("a", "gw", 0, None));
        assert_eq!(calls.outcome("a"), Some(&CallOutcome::Answered { code: 5, detail: None }));
    }

    #[test]
    fn a_call_nobody_answers_times_out_and_stays_so() {
        let mut calls = Calls::default();
        calls.begin("a".to_owned(), "gw", Duration::from_secs(11));
        assert_eq!(calls.next_deadline(), Some(Duration::from_secs(11)));
        calls.expire(Duration::from_millis(10_999));
        assert_eq!(calls.outcome("a"), Some(&CallOutcome::Pending));
        calls.expire(Duration::from_secs(11));
        assert_eq!(calls.outcome("a"), Some(&CallOutcome::TimedOut));
        assert!(!calls.answer("a", "gw", 0, None) && calls.next_deadline().is_none());
    }
}
