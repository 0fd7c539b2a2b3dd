//! What is asked of the cloud, and when it may be.

use std::time::Duration;

use fieldgate_coap as coap;

use super::{Live, Waiting};
use crate::clouds::golioth::link::{Incoming, Request, Room};
use crate::clouds::golioth::pace::Share;
use crate::clouds::golioth::services::{self, Watched};
use crate::spend::Cause;
use crate::uplink::link::Outcome;

/// Urgent messages that may be under way beyond the window.
const URGENT_PLACES: usize = 4;
/// An unauthenticated alert is a hint that earns one probe: this long, at most once in this long.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_secs(60);

impl Live<'_> {
    /// What may be taken now. What the congestion window has no place for waits outside, where something urgent can still pass it.
    pub(super) fn room(&self, now: Duration, may_send_at: Duration) -> Room {
        if !self.may_ask() || self.gives_way(now) {
            return Room::default();
        }
        let download = self.fetching.is_none();
        if may_send_at > now {
            return Room { download, ..Room::default() };
        }
        let most = self.keeper.settings.max_in_flight;
        let window = usize::try_from(self.endpoint.window()).unwrap_or(1).max(1);
        // Blocks may take all of the window, and messages their turns in it.
        let blocks = self.endpoint.outstanding() < window;
        let ordinary = blocks && self.waiting.len() < window.min(most);
        Room { urgent: self.waiting.len() < most + URGENT_PLACES, ordinary, blocks, download }
    }

    /// Does what has its turn: takes a request, or asks for a block. Whether there was anything.
    pub(super) fn take_turn(&mut self, now: Duration, room: Room, incoming: &mut Incoming) -> bool {
        let mut wants = incoming.waiting(room);
        wants[Share::Firmware as usize] = room.blocks && self.wants_block(now);
        let Some(share) = self.keeper.pace.turn(wants) else { return false };
        if share == Share::Firmware {
            self.ask_for_block(now);
        } else if let Some(request) = incoming.take(share) {
            self.keeper.pace.took(share);
            self.take(request);
        }
        true
    }

    pub(super) fn take(&mut self, request: Request) {
        let now = self.keeper.rim.now();
        let (request, waiting) = match request {
            Request::Send { reply, .. } | Request::Report { reply, .. } if reply.is_closed() => return,
            Request::Send { message, deadline, reply } => {
                self.asked_for = Cause::Message(message.class);
                self.sending = self.asked_for;
                (services::stream::post(message).deadline(deadline), Waiting::Send(reply))
            }
            Request::Report { report, reply } => {
                let location_path = self.keeper.settings.location_path();
                let post = match services::post(&report, location_path) {
                    Ok(post) => post,
                    Err(why) => {
                        let _ = reply.send(Outcome::Bad { why: why.into() });
                        return;
                    }
                };
                if let Some((until, refused)) = self.reports_refused.get(&post.kind)
                    && now < *until
                {
                    let _ = reply.send(refused.clone());
                    return;
                }
                self.sending = post.cause;
                (post.request, Waiting::Report(post.kind, reply))
            }
        };
        match self.endpoint.request(now, request) {
            Ok(id) => {
                self.keeper.pace.leaves(now);
                self.owed_since.get_or_insert(now);
                self.waiting.insert(id, waiting);
            }
            Err(error) => {
                tracing::warn!(%error, "a request was not taken");
                let outcome = match error {
                    coap::SendError::TooLarge { .. } => Outcome::TooLarge { limit: None },
                    _ => Outcome::Later { after: Duration::from_secs(5) },
                };
                if let Waiting::Send(reply) | Waiting::Report(_, reply) = waiting {
                    let _ = reply.send(outcome);
                }
            }
        }
    }

    /// Registers as an observer, again or for the first time: it keeps the path open and the cloud's list of observers right,
    /// and its answer is what is to be known.
    pub(super) fn register(&mut self, now: Duration, watched: Watched) {
        let registered = match self.watches.observation(watched) {
            Some(observation) => self.endpoint.reregister(now, observation),
            None => self.endpoint.observe(now, watched.request()).map(|observation| {
                self.watches.observing(watched, observation);
            }),
        };
        self.watches.asked(now, watched);
        match registered {
            Ok(()) => {
                self.keeper.pace.leaves(now);
                self.owed_since.get_or_insert(now);
            }
            Err(error) => {
                tracing::warn!(%error, "{} cannot be observed now", watched.words());
                self.watches.refresh(watched).unanswered(now);
            }
        }
    }

    pub(super) fn probe(&mut self, now: Duration) {
        let lately = self.last_probe.is_some_and(|at| now < at + PROBE_EVERY);
        if !self.may_ask() || self.probe.is_some() || lately {
            return;
        }
        self.last_probe = Some(now);
        let get = Watched::Desired.request().deadline(PROBE_DEADLINE);
        if let Ok(id) = self.endpoint.request(now, get) {
            self.keeper.pace.leaves(now);
            self.owed_since.get_or_insert(now);
            self.waiting.insert(id, Waiting::Probe);
            self.probe = Some((id, now));
        }
    }
}
