//! The way to the cloud: sockets and what they cost, and how a session is left for the next run.

use std::io;
use std::time::Duration;

use fieldgate_dtls as dtls;

use super::{LONGEST_SLEEP, Live, Waiting};
use crate::board::LinkPhase;
use crate::clouds::golioth::fault;
use crate::clouds::golioth::kept::{Kept, Moment};
use crate::clouds::golioth::session::{DESTINATION, Ended};
use crate::sabotage;
use crate::spend::{Cause, Direction, Why, wire};
use crate::uplink::policy;

/// Pauses between sockets when they fail.
const FIRST_REOPEN: Duration = Duration::from_secs(1);
const LAST_REOPEN: Duration = Duration::from_secs(60);
/// What keeping the session takes until the plan is asked again, bytes.
const KEEPING: u64 = 300;

impl Live<'_> {
    /// Ends the session for this run: left for the next where it can be, otherwise with a goodbye; and without a word where the
    /// one record was sent that an earlier run's session has until something is heard.
    pub(in crate::clouds::golioth) fn leave(mut self) {
        let now = self.keeper.rim.now();
        // What the cores have to say is said now or never; an end that this brings is the end anyway.
        let _ended = self.drain_cores(now);
        // Without a Connection ID the cloud knows a session by its address, which the next run will not have. One that was
        // taken up, and used, and not heard of since, may be one the cloud does not know.
        let known_anywhere = self.session.connection().is_some_and(|it| it.peer_cid.is_some());
        let modem = self.keeper.modem().or(self.claim.as_ref().map(|claim| claim.number));
        let passed_on = known_anywhere && self.keeper.shelf.passes_on();
        let bound = modem.is_some() || !self.keeper.shelf.needs_modem();
        if !passed_on || !bound || (self.resumed.is_some() && self.tried) {
            return self.say_goodbye(now);
        }
        let heard_ago = now.saturating_sub(self.last_heard);
        let observations = self.endpoint.kept_observations().map(Into::into).collect();
        let (message_id, token) = (self.endpoint.next_message_id(), self.endpoint.next_token());
        match self.session.save() {
            Ok(saved) => self.keeper.shelf.leave(Kept {
                session: saved.as_bytes().to_vec().into(),
                message_id,
                token,
                observations,
                peer: self.peer,
                heard: Moment::ago(&*self.keeper.rim.clock, heard_ago),
                credential: self.credential,
                modem,
            }),
            Err(dtls::SaveRefused { session, why }) => {
                tracing::info!(%why, "the session is not kept for the next run");
                self.session = *session;
                self.say_goodbye(now);
            }
        }
    }

    /// Ends the session for good.
    pub(in crate::clouds::golioth) fn end(mut self) {
        let now = self.keeper.rim.now();
        self.say_goodbye(now);
    }

    fn say_goodbye(&mut self, now: Duration) {
        // The number of a second record could be new to the cloud although the session was used before: key and nonce would be
        // those of another message.
        if self.resumed.is_some() && self.tried && !sabotage::on("goodbye-unproven") {
            return;
        }
        self.session.close(now);
        self.transmit();
    }

    /// Sends what the session has to say. Without a socket it is lost, as on the way.
    pub(super) fn transmit(&mut self) -> Option<io::Error> {
        let mut failed = None;
        while let Some(datagram) = self.session.poll_transmit() {
            match self.socket.as_ref().map(|socket| socket.send(&datagram)) {
                Some(Ok(())) => {
                    self.keeper.state.bytes_up += datagram.len() as u64;
                    self.keeper.state.packets += 1;
                    self.charge(self.sending, Direction::Up, datagram.len());
                }
                Some(Err(error)) => failed = failed.or(Some(error)),
                None => {}
            }
        }
        failed
    }

    /// The socket is of no use: before the session is established that ends the attempt, afterwards another is opened.
    pub(super) fn socket_failed(&mut self, error: &io::Error) -> Result<(), Ended> {
        let words = format!("the network cannot be used: {error}. Check that the cellular interface is up");
        if self.connected.is_none() {
            return Err(Ended::Lost(fault::unreachable(words)));
        }
        let now = self.keeper.rim.now();
        let pause = policy::backoff(self.reopened, FIRST_REOPEN, LAST_REOPEN, self.keeper.rim.random.u64());
        tracing::warn!(why = words, again_in_ms = pause.as_millis(), "the session waits for the network");
        self.socket = None;
        self.reopen_at = now + pause;
        self.reopened = self.reopened.saturating_add(1);
        self.owed_since.get_or_insert(now);
        self.keeper.ends.up.send_replace(false);
        self.keeper.note(fault::unreachable(words.clone()));
        self.keeper.say(LinkPhase::Waiting, words);
        Ok(())
    }

    /// Opens another socket for a session that lost its own. The link is up again once the cloud is heard through it.
    pub(super) async fn reopen(&mut self) -> Result<(), Ended> {
        let now = self.keeper.rim.now();
        if self.socket.is_some() || now < self.reopen_at {
            return Ok(());
        }
        match self.keeper.socket(self.peer).await {
            Ok(socket) => {
                self.peer = socket.peer().or(self.peer);
                self.socket = Some(socket);
                // Otherwise it is the first socket of a session of an earlier run, which nobody has missed yet.
                if self.connected.is_some() {
                    self.watches.path_is_back(self.keeper.rim.now());
                    let words = "the network can be used again; waiting for the cloud";
                    self.keeper.say(LinkPhase::Waiting, words);
                }
            }
            Err(Ended::Lost(trouble)) => {
                let random = self.keeper.rim.random.u64();
                let pause = policy::backoff(self.reopened, FIRST_REOPEN, LAST_REOPEN, random);
                self.reopened = self.reopened.saturating_add(1);
                self.reopen_at = self.keeper.rim.now() + pause;
                let words = trouble.words.clone();
                self.keeper.note(trouble);
                self.keeper.say(LinkPhase::Waiting, words);
            }
            Err(ended) => return Err(ended),
        }
        Ok(())
    }

    /// Charges a datagram with its headers.
    pub(super) fn charge(&self, cause: Cause, direction: Direction, length: usize) {
        let headers = self.socket.as_ref().map_or(wire::UDP_OVER_IPV4, |socket| socket.headers());
        self.keeper.purse.caused(DESTINATION, cause, direction, wire::datagram(length, headers));
    }

    /// Ends the session where the plan has no bytes for keeping it, in a foreign network for instance. Keeping it costs less
    /// than making it again: it is not ended because a record is still on its way to the disk.
    pub(super) fn affordable(&mut self) -> Result<(), Ended> {
        let now = self.keeper.rim.now();
        if self.connected.is_none() || now < self.afford_at {
            return Ok(());
        }
        self.afford_at = now + LONGEST_SLEEP;
        match self.keeper.purse.link_refused(DESTINATION, KEEPING) {
            None | Some((_, Why::Recording)) => Ok(()),
            Some((_, why)) => Err(Ended::Unaffordable(why)),
        }
    }

    pub(super) fn receive(&mut self, datagram: &[u8]) {
        let now = self.keeper.rim.now();
        self.keeper.state.bytes_down += datagram.len() as u64;
        self.keeper.state.packets += 1;
        self.received += 1;
        let owed = self.waiting.values().any(|waiting| matches!(waiting, Waiting::Send(_)));
        let cause = match owed {
            _ if self.looks_like_block(datagram.len(), owed) => Cause::Firmware,
            true => self.asked_for,
            false if self.asks_for_certificate() => Cause::Management,
            false => Cause::Session,
        };
        self.charge(cause, Direction::Down, datagram.len());
        self.session.handle_datagram(now, datagram);
    }
}
