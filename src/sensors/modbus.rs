//! The driver of a Modbus RTU bus: one port, one request at a time.
//!
//! It does what [`super::schedule`] says, with the requests of [`super::plan`], and hands over one capture for
//! every instant. It owns the port: opens it, and opens it again when it went away. A request that times out ends
//! the poll of its slave (so a poll never costs the others more than one timeout), the client is replaced, the line
//! is left to fall quiet, and the next poll of that slave begins behind the request that failed.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::handover::Handover;
use super::schedule::{Action, Poll, Rhythm, Schedule, Standing};
use crate::board::{Board, SlaveState, in_words};
use crate::clock::Mono;
use crate::config::Bus;
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{LaneError, Progress};
use crate::reading::{Capture, GapReason, GroupId, StreamId};
use crate::store::queue::Queue;

mod line;
mod polled;
mod port;

use line::LineTimes;
use polled::Polled;
use port::Port;

/// What a lane is made of; each life of it starts from here.
pub(super) struct Setup {
    pub(super) bus: Bus,
    pub(super) streams: Vec<(StreamId, GroupId)>,
    pub(super) queue: Queue,
    pub(super) rim: Rim,
    pub(super) board: Arc<Board>,
    pub(super) stop: CancellationToken,
}

/// One life of the lane.
///
/// # Errors
/// When the queue has stopped, or the streams are not those of the bus.
pub(super) async fn run(setup: &Setup, progress: Progress) -> Result<(), LaneError> {
    let mut lane = Driver::new(setup, progress)?;
    while !setup.stop.is_cancelled() {
        lane.mind_the_port();
        match lane.schedule.next(lane.now()) {
            Action::Gap { slave, due, reason } => lane.gap(slave, due, reason).await?,
            Action::Poll(poll) => lane.poll(poll).await?,
            Action::Wait(until) => lane.wait(until).await,
        }
    }
    Ok(())
}

struct Driver<'a> {
    setup: &'a Setup,
    times: LineTimes,
    port: Port,
    schedule: Schedule,
    slaves: Vec<Polled>,
    handover: Handover,
    progress: Progress,
}

/// A wait longer than this is announced.
const LONG_WAIT: Duration = Duration::from_secs(10);

impl<'a> Driver<'a> {
    fn new(setup: &'a Setup, progress: Progress) -> Result<Self, LaneError> {
        let bus = &setup.bus;
        let times = LineTimes::of(bus);
        let mut streams = setup.streams.iter();
        let mut slaves = Vec::new();
        for slave in &bus.slaves {
            let of_slave: Vec<_> = streams.by_ref().take(slave.points.len()).copied().collect();
            if of_slave.len() != slave.points.len() {
                return Err(LaneError::new("the store does not know all streams of this bus"));
            }
            slaves.extend(Polled::new(slave, &of_slave));
        }
        let rhythm = |slave: &Polled| Rhythm { period: slave.period, cost: slave.cost(times) };
        let rhythms: Vec<Rhythm> = slaves.iter().map(rhythm).collect();
        let rim = setup.rim.clone();
        Ok(Self {
            times,
            port: Port::new(bus, rim.clone()),
            schedule: Schedule::new(rim.now(), bus.timeout, &rhythms),
            slaves,
            handover: Handover::new(&bus.name, setup.queue.clone(), rim, progress.clone()),
            progress,
            setup,
        })
    }

    /// What the schedule runs by.
    fn now(&self) -> Duration {
        if crate::sabotage::on("schedule-by-wall") {
            return Duration::from_millis(u64::try_from(self.setup.rim.clock.wall().unix_ms).unwrap_or(0));
        }
        self.setup.rim.now()
    }

    /// Opens a port that is not there when its time has come, and notices one that is gone.
    fn mind_the_port(&mut self) {
        let now = self.setup.rim.now();
        if self.port.lost() {
            self.schedule.port_closed();
        }
        if self.port.try_open(now) {
            self.schedule.port_opened(now);
        }
    }

    async fn wait(&mut self, until: Option<Duration>) {
        let rim = &self.setup.rim;
        let retry = self.port.retry_at();
        let wake = match (until, retry) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let at_most = wake.map_or(Duration::MAX, |at| at.saturating_sub(self.now()));
        if retry.is_some() {
            self.progress.waiting(&self.port.trouble(), at_most);
        } else if at_most > LONG_WAIT {
            self.progress.waiting("waiting for the next poll", at_most);
        }
        tokio::select! {
            biased;
            () = self.setup.stop.cancelled() => {}
            () = async { match wake {
                Some(_) => rim.sleep(at_most).await,
                None => std::future::pending().await,
            } } => {}
        }
    }

    async fn gap(&mut self, index: usize, due: Duration, reason: GapReason) -> Result<(), LaneError> {
        let Some(slave) = self.slaves.get_mut(index) else { return Ok(()) };
        let missing = slave.all_missing(reason);
        let capture = Capture { group: slave.group, at: Mono::from(due), samples: Vec::new(), missing };
        if reason == GapReason::PortDown {
            slave.silent_since.get_or_insert(due);
        }
        self.tell(index, reason == GapReason::PortDown);
        self.handover.offer(capture).await
    }

    async fn poll(&mut self, poll: Poll) -> Result<(), LaneError> {
        let Some(slave) = self.slaves.get_mut(poll.slave) else { return Ok(()) };
        let before = self.schedule.standing(poll.slave);
        let refused_before = slave.refusal.is_some();
        let outcome = slave.ask(&mut self.port, self.times, poll.patience, self.setup.bus.timeout).await;
        let now = self.setup.rim.now();
        let at = outcome.answered_at.unwrap_or(now);
        match (outcome.answered_at, outcome.timed_out) {
            (Some(at), timed_out) => {
                slave.answers += 1;
                slave.last_answer = Some(Mono::from(at));
                slave.silent_since = None;
                self.schedule.answered(poll.slave, outcome.latency);
                if timed_out.is_some() {
                    self.schedule.timed_out(now, poll.slave);
                }
            }
            (None, Some(reason)) => {
                slave.failures += 1;
                slave.is_garbled = reason == GapReason::Broken;
                slave.silent_since.get_or_insert(poll.due);
                self.schedule.failed(now, poll.slave, self.setup.rim.random.u64());
            }
            // The port went away: not the slave's doing.
            (None, None) => {}
        }
        slave.show(&outcome.samples, Mono::from(at), &self.setup.board);
        let samples = outcome.samples.into_iter().map(|(_, sample)| sample).collect();
        let capture = Capture { group: slave.group, at: Mono::from(at), samples, missing: outcome.missing };
        let name = slave.name.clone();
        if let (false, Some(refusal)) = (refused_before, &slave.refusal) {
            let refusal = refusal.words();
            tracing::warn!(bus = self.setup.bus.name, slave = name, refusal, "slave refuses a read");
        }
        self.tell(poll.slave, self.port.is_gone());
        self.say_what_changed(&name, before, self.schedule.standing(poll.slave), outcome.timed_out);
        self.progress.advanced();
        self.handover.offer(capture).await
    }

    /// Puts on the board how a slave does.
    fn tell(&self, index: usize, port_is_gone: bool) {
        let Some(slave) = self.slaves.get(index) else { return };
        let now = self.setup.rim.now();
        let since = slave.silent_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let how = if slave.is_garbled { "garbled" } else { "silent" };
        let words = match (port_is_gone, self.schedule.standing(index)) {
            (true, _) => format!("not asked: {}", self.port.trouble()),
            (false, Standing::LeftAlone(until)) => {
                let again = in_words(until.saturating_sub(now));
                format!("{how} for {}, asked again in {again}", in_words(since))
            }
            (false, Standing::Failing) => format!("{how} for {}", in_words(since)),
            (false, Standing::Well) if !slave.is_answering() => "not yet asked".to_owned(),
            (false, Standing::Well) => match &slave.refusal {
                Some(refusal) => format!("answering, but {}", refusal.words()),
                None => "answering".to_owned(),
            },
        };
        let state = SlaveState {
            bus: self.setup.bus.name.clone(),
            words,
            answering: slave.is_answering() && !port_is_gone,
            answers: slave.answers,
            failures: slave.failures,
            last_answer: slave.last_answer,
            refusal: slave.refusal.clone().filter(|_| slave.is_answering() && !port_is_gone),
        };
        self.setup.board.slaves.set(&slave.name, Mono::from(now), state);
    }

    fn say_what_changed(&self, slave: &str, before: Standing, after: Standing, why: Option<GapReason>) {
        let bus = self.setup.bus.name.as_str();
        match (before, after) {
            (Standing::Well | Standing::Failing, Standing::LeftAlone(_)) => {
                let what = match why {
                    Some(GapReason::Broken) => {
                        "slave answers, but no frame arrives whole; it is asked rarely now. Check baud, parity, termination"
                    }
                    _ => "slave is silent; it is asked rarely now. Check its power, its wiring and its unit",
                };
                tracing::warn!(bus, slave, "{what}");
            }
            (Standing::LeftAlone(_), Standing::Well) => tracing::info!(bus, slave, "slave answers again"),
            _ => {}
        }
    }
}
