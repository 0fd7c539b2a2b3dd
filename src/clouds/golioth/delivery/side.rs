//! A stream beside the readings: the firmware log, the serving cell. What Golioth acknowledges of it and no pipeline takes is dropped as
//! a reading would be, so the same list is looked up for its path.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::gate::Gate;
use super::{JSON, Rules, pipeline};
use crate::board::{Trouble, TroubleKind};
use crate::config::Encoding;
use crate::uplink::link::{Outcome, Report};

/// One path.
#[derive(Debug)]
pub(super) struct Side {
    /// With its slash.
    pub(super) path: String,
    /// For people.
    pub(super) about: &'static str,
    content_type: &'static str,
    /// Whether it is sent again: the serving cell is told anew when it changes, and an old one is of no use.
    keeps: bool,
    gate: Mutex<Gate>,
    /// One look at a time.
    pub(super) looking: tokio::sync::Mutex<()>,
}

impl Side {
    pub(super) fn firmware_log(rules: Rules) -> Self {
        Self::new("firmware_log", "the firmware log", JSON, true, rules)
    }

    pub(super) fn location(path: &str, rules: Rules) -> Self {
        Self::new(path, "the serving cell", "application/cbor", false, rules)
    }

    fn new(path: &str, about: &'static str, content_type: &'static str, keeps: bool, rules: Rules) -> Self {
        let (path, gate) = (format!("/{path}"), Mutex::new(Gate::new(rules)));
        Self { path, about, content_type, keeps, gate, looking: tokio::sync::Mutex::default() }
    }

    /// Whether this report goes here.
    pub(super) fn takes(&self, report: &Report) -> bool {
        match report {
            Report::FirmwareLog { .. } => self.keeps,
            Report::Network(_) => !self.keeps,
            _ => false,
        }
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong while no pipeline takes it.
    pub(super) fn trouble(&self) -> Trouble {
        let Self { path, about, content_type, .. } = self;
        let words =
            format!("Golioth acknowledges {about} on {path}, but no pipeline takes it, so it is lost there");
        let next = format!("create and enable a pipeline for path {path} and content type {content_type}");
        let paste = (*content_type == JSON).then(|| pipeline(path, Encoding::Rows, JSON));
        Trouble { paste, ..Trouble::new(TroubleKind::Dropped, about, words, next) }
    }

    /// Why an acknowledgement is none, where that is so.
    pub(super) fn refusal(&self, so: impl FnOnce(&Gate) -> bool) -> Option<Outcome> {
        let refuses = self.keeps && so(&self.gate());
        let Trouble { words, next_step, .. } = refuses.then(|| self.trouble())?;
        Some(Outcome::LinkSick { why: words, next_step: next_step.into_owned() })
    }
}
