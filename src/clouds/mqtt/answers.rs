//! Which acknowledgement answers which message. Pure.
//!
//! rumqttc takes a message without saying under which packet id it will leave; it says so later, in the order in which it
//! took them. Until then a message stands in a line, afterwards under its id.
//!
//! Invariant: what was handed over is in exactly one place until it is acknowledged or drained.

use std::collections::{BTreeMap, VecDeque};

/// The order that rumqttc and MQTT promise was not kept: nothing said on this connection can be trusted to mean what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Confused {
    #[error("a message left that nobody had handed over")]
    Nobodys,
    #[error("packet id {0} was used again before it was acknowledged")]
    Reused(u16),
}

/// Messages of one connection that wait for their acknowledgement.
#[derive(Debug)]
pub(super) struct Answers<T> {
    line: VecDeque<T>,
    by_id: BTreeMap<u16, T>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self { line: VecDeque::new(), by_id: BTreeMap::new() }
    }
}

impl<T> Answers<T> {
    /// A message was handed to rumqttc.
    pub(super) fn handed(&mut self, message: T) {
        self.line.push_back(message);
    }

    /// The next message in line left under `id`.
    pub(super) fn left(&mut self, id: u16) -> Result<&T, Confused> {
        if self.by_id.contains_key(&id) {
            return Err(Confused::Reused(id));
        }
        let message = self.line.pop_front().ok_or(Confused::Nobodys)?;
        Ok(self.by_id.entry(id).or_insert(message))
    }

    /// The broker acknowledged `id`. `None` for an id under which nothing waits.
    pub(super) fn acknowledged(&mut self, id: u16) -> Option<T> {
        self.by_id.remove(&id)
    }

    /// Everything that waits.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_id.values().chain(&self.line)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.line.len() + self.by_id.len()
    }

    /// The connection ended: whatever waits is taken out.
    pub(super) fn drain(&mut self) -> Vec<T> {
        std::mem::take(&mut self.by_id).into_values().chain(self.line.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_that_comes_again_before_its_answer_is_not_believed() {
        let mut answers = Answers::default();
        answers.handed('a');
        answers.handed('b');
        assert_eq!(answers.left(1), Ok(&'a'));
        assert_eq!(answers.left(1), Err(Confused::Reused(1)));
        assert_eq!(answers.acknowledged(1), Some('a'));
        assert_eq!(answers.left(1), Ok(&'b'));
        assert_eq!(answers.left(2), Err(Confused::Nobodys));
    }

    #[test]
    fn an_answer_to_nothing_answers_nothing() {
        let mut answers = Answers::default();
        answers.handed('a');
        assert_eq!(answers.acknowledged(1), None);
        assert_eq!(answers.len(), 1);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Hand,
        Leave,
        Acknowledge(usize),
        Lose,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Hand),
            4 => Just(Step::Leave),
            3 => (0usize..8).prop_map(Step::Acknowledge),
            1 => Just(Step::Lose),
        ]
    }

    proptest! {
        /// A peer that answers in any order, over many connections: each message is answered once, by its own answer.
        #[test]
        fn every_message_gets_its_own_answer_and_only_one(steps in prop::collection::vec(step(), 1..200)) {
            let mut answers = Answers::default();
            let (mut next_message, mut next_id) = (0u32, 1u16);
            // What the peer knows: ids it was sent, with the message under each.
            let (mut in_line, mut with_peer) = (VecDeque::new(), Vec::new());
            let mut ended = Vec::new();
            for step in steps {
                match step {
                    Step::Hand => {
                        answers.handed(next_message);
                        in_line.push_back(next_message);
                        next_message += 1;
                    }
                    Step::Leave => {
                        if let Some(message) = in_line.pop_front() {
                            prop_assert_eq!(answers.left(next_id), Ok(&message));
                            with_peer.push((next_id, message));
                            next_id += 1;
                        }
                    }
                    Step::Acknowledge(n) => {
                        if !with_peer.is_empty() {
                            let (id, message) = with_peer.remove(n % with_peer.len());
                            prop_assert_eq!(answers.acknowledged(id), Some(message));
                            ended.push(message);
                        }
                    }
                    Step::Lose => {
                        ended.extend(answers.drain());
                        in_line.clear();
                        with_peer.clear();
                        next_id = 1;
                    }
                }
                prop_assert_eq!(answers.len(), in_line.len() + with_peer.len());
                prop_assert_eq!(answers.iter().count(), answers.len());
            }
            ended.extend(answers.drain());
            ended.sort_unstable();
            prop_assert_eq!(ended, (0..next_message).collect::<Vec<_>>());
        }
    }
}
