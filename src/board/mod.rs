//! What the gateway knows now: one typed, stamped, watchable cell a fact.
//!
//! Rooms on the lane floor never import each other; what one learns and another needs goes through here. A cell holds the
//! newest value and when it was learned; a reader may look or wait for a change. Nothing here is history, and nothing here
//! is needed to lose nothing: the store does not depend on it. What a room may ask of another is here too ([`Asks`]).

mod asks;
mod cell;
mod inside;
mod links;
mod plan;
mod radio;
mod sensors;
mod time;
mod troubles;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;

pub use asks::{Asks, Console, ConsoleAsk, Hands, Tuning};
pub use cell::{Cell, Cells, Stamped};
pub use inside::{ComponentState, LaneState, RemoteSettings, WriterPhase, WriterState};
pub use links::{
    ANSWER_OVERDUE, CertificateCondition, CertificateState, DeliveryState, DestinationState, LinkPhase,
    LinkState,
};
pub use plan::{Counter, DataPlan, Others, PlanPeriod};
pub use radio::{
    DataCounters, Hidden, ModemIdentity, ModemPhase, ModemState, Registration, Signal, SignalGrade,
};
pub use sensors::{Latest, SlaveRefusal, SlaveState};
pub use time::{ClockCorrection, ClockState, NetworkTime};
pub use troubles::{Trouble, TroubleKind, Troubles, Weight};

/// Everything the gateway knows now, and what may be asked. One instance, shared.
#[derive(Debug, Default)]
pub struct Board {
    /// See [`Signal`].
    pub signal: Cell<Signal>,
    /// See [`Registration`].
    pub registration: Cell<Registration>,
    /// See [`ModemIdentity`].
    pub modem: Cell<ModemIdentity>,
    /// See [`ModemState`].
    pub modem_state: Cell<ModemState>,
    /// Supply voltage at the modem, millivolts.
    pub modem_millivolts: Cell<u32>,
    /// Modem temperature, degrees Celsius.
    pub modem_celsius: Cell<i16>,
    /// See [`ClockState`].
    pub clock: Cell<ClockState>,
    /// See [`NetworkTime`].
    pub network_time: Cell<NetworkTime>,
    /// See [`DataCounters`].
    pub data_counters: Cell<DataCounters>,
    /// See [`DataPlan`].
    pub data_plan: Cell<DataPlan>,
    /// Links by destination name.
    pub links: Cells<LinkState>,
    /// Destinations by name.
    pub destinations: Cells<DestinationState>,
    /// Deliveries by destination name.
    pub deliveries: Cells<DeliveryState>,
    /// Our own certificates by destination name, where we have one.
    pub certificates: Cells<CertificateState>,
    /// What is wrong with destinations, by name.
    pub troubles: Troubles,
    /// Slaves by name.
    pub slaves: Cells<SlaveState>,
    /// Streams by full name.
    pub latest: Cells<Latest>,
    /// Lanes by name.
    pub lanes: Cells<LaneState>,
    /// Writers by file name.
    pub writers: Cells<WriterState>,
    /// Components by package name.
    pub components: Cells<ComponentState>,
    /// See [`RemoteSettings`].
    pub settings: Cell<RemoteSettings>,
    /// What may be asked of others.
    pub asks: Asks,
}

impl Board {
    /// An empty board, to be shared.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The links as people need to see them: one that owes an answer for too long is silent, whatever its lane still hopes
    /// for, and one over which the destination refuses what it is sent is sick, however well it is connected.
    #[must_use]
    pub fn links_as_seen(&self, now: Mono) -> BTreeMap<String, Stamped<LinkState>> {
        let mut links = self.links.all();
        for link in links.values_mut().map(|link| &mut link.value) {
            let owed = link.owed_since.map(|since| now.since(since)).filter(|owed| *owed > ANSWER_OVERDUE);
            if let (LinkPhase::Up, Some(owed)) = (link.phase, owed) {
                (link.phase, link.words) = (
                    LinkPhase::Silent,
                    format!("no answer since {}; what was sent is sent again", in_words(owed)),
                );
            }
        }
        for (name, Stamped { value: delivery, .. }) in self.deliveries.all() {
            let Some(link) = links.get_mut(&name).map(|link| &mut link.value) else { continue };
            if link.phase == LinkPhase::Up {
                if delivery.unrouted {
                    link.phase = LinkPhase::Sick;
                    link.words = delivery.words;
                } else {
                    link.words = format!("{}; {}", link.words, delivery.words);
                }
                if delivery.lost > 0 {
                    link.words.push_str(&format!(
                        " ({} readings at most were acknowledged and lost there since the start)",
                        delivery.lost
                    ));
                }
            }
        }
        for (name, Stamped { value: certificate, .. }) in self.certificates.all() {
            // What is wrong with it is a trouble of its own.
            let news = certificate.condition != CertificateCondition::Valid;
            if news
                && certificate.condition.trouble().is_none()
                && let Some(link) = links.get_mut(&name)
            {
                link.value.words = format!("{}; {}", link.value.words, certificate.words);
            }
        }
        for (name, destination) in self.destinations.all() {
            if let (Some(words), Some(link)) = (destination.value.refuses, links.get_mut(&name))
                && matches!(link.value.phase, LinkPhase::Up | LinkPhase::Silent)
            {
                (link.value.phase, link.value.words) = (LinkPhase::Sick, words);
            }
        }
        links
    }

    /// What is wrong with a destination, what weighs most first: what its link noted, and what drain and delivery say.
    #[must_use]
    pub fn troubles_as_seen(&self, destination: &str) -> Vec<(Mono, Trouble)> {
        let mut troubles = self.troubles.of(destination);
        let mut add = |at: Mono, kind: TroubleKind, words: &str, paste: Option<String>| {
            let (why, next) = words.split_once(". Next: ").unwrap_or((words, "look at what it expects"));
            // A refusal that its link noted stops the drain too, in the same words.
            if troubles.iter().all(|(_, known)| known.words != why) {
                troubles.push((at, Trouble { paste, ..Trouble::new(kind, "", why, next.to_owned()) }));
            }
        };
        if let Some(Stamped { value, at }) = self.deliveries.get(destination)
            && value.unrouted
        {
            add(at, TroubleKind::Unrouted, &value.words, value.remedy);
        }
        if let Some(Stamped { value, at }) = self.destinations.get(destination)
            && let Some(words) = &value.refuses
        {
            add(at, TroubleKind::ReadingsRejected, words, None);
        }
        if let Some(Stamped { value, at }) = self.certificates.get(destination)
            && let Some(kind) = value.condition.trouble()
        {
            add(at, kind, &value.words, None);
        }
        troubles.sort_by_key(|(_, trouble)| trouble.kind.weight() as u8);
        troubles
    }
}

/// Says how long ago, for people.
#[must_use]
pub fn ago(now: Mono, then: Mono) -> String {
    in_words(now.since(then)) + " ago"
}

/// Says a duration for people: the two largest units at most.
#[must_use]
pub fn in_words(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connected_link_whose_destination_refuses_is_shown_sick_with_the_reason() {
        let board = Board::default();
        let link = LinkState {
            phase: LinkPhase::Up,
            words: "connected".into(),
            handshakes: 1,
            bytes_up: 0,
            bytes_down: 0,
            packets: 0,
            in_flight: 0,
            last_heard: None,
            owed_since: None,
        };
        board.links.set("golioth", Mono(1), link);
        let phase = || board.links_as_seen(Mono(4)).remove("golioth").map(|l| (l.value.phase, l.value.words));
        assert_eq!(phase(), Some((LinkPhase::Up, "connected".into())));
        let refuses = Some("too many refusals. Next: look".to_owned());
        board.destinations.set("golioth", Mono(2), DestinationState { refuses });
        assert_eq!(phase(), Some((LinkPhase::Sick, "too many refusals. Next: look".into())));
        board.destinations.set("golioth", Mono(3), DestinationState::default());
        assert_eq!(phase(), Some((LinkPhase::Up, "connected".into())));
    }

    #[test]
    fn a_link_says_what_is_new_of_its_certificate_and_stays_what_it_is() {
        let board = Board::default();
        let link = LinkState {
            phase: LinkPhase::Up,
            words: "connected".into(),
            handshakes: 1,
            bytes_up: 0,
            bytes_down: 0,
            packets: 0,
            in_flight: 0,
            last_heard: None,
            owed_since: None,
        };
        board.links.set("golioth", Mono(1), link);
        let seen = |condition| {
            let words = "the certificate ends in 9 days".into();
            board.certificates.set(
                "golioth",
                Mono(2),
                CertificateState { condition, words, until_unix_s: 9 },
            );
            board.links_as_seen(Mono(3)).remove("golioth").map(|l| (l.value.phase, l.value.words))
        };
        assert_eq!(seen(CertificateCondition::Valid), Some((LinkPhase::Up, "connected".into())));
        let words = "connected; the certificate ends in 9 days".to_owned();
        assert_eq!(seen(CertificateCondition::Renewing), Some((LinkPhase::Up, words)));
        assert!(board.troubles_as_seen("golioth").is_empty());
        assert_eq!(seen(CertificateCondition::ExpiresSoon), Some((LinkPhase::Up, "connected".into())));
        let kinds: Vec<_> = board.troubles_as_seen("golioth").iter().map(|(_, it)| it.kind).collect();
        assert_eq!(kinds, [TroubleKind::OwnCertificateEnds]);
    }

    #[test]
    fn a_link_that_owes_an_answer_for_too_long_is_not_shown_as_up() {
        let board = Board::default();
        let seconds = |s: u64| Mono(s * 1_000_000_000);
        let link = LinkState {
            phase: LinkPhase::Up,
            words: "connected".into(),
            handshakes: 1,
            bytes_up: 0,
            bytes_down: 0,
            packets: 0,
            in_flight: 1,
            last_heard: Some(seconds(90)),
            owed_since: Some(seconds(100)),
        };
        board.links.set("golioth", Mono(1), link.clone());
        let seen = |now| board.links_as_seen(seconds(now)).remove("golioth").map(|l| l.value);
        assert_eq!(seen(110), Some(link.clone()), "it may still come");
        let silent = seen(111).unwrap();
        assert_eq!(silent.phase, LinkPhase::Silent);
        assert_eq!(silent.words, "no answer since 11 s; what was sent is sent again");
        board.links.set("golioth", Mono(2), LinkState { phase: LinkPhase::Waiting, ..link.clone() });
        assert_eq!(seen(111).map(|l| l.phase), Some(LinkPhase::Waiting), "its lane knows already");
        board.links.set("golioth", Mono(3), LinkState { owed_since: None, ..link });
        assert_eq!(seen(5000).map(|l| l.phase), Some(LinkPhase::Up), "nothing is owed: silence says nothing");
    }
}
