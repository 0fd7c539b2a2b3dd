//! The ledger and the policy that ship.

use std::time::Duration;

use fieldgate::reading::Class;
use fieldgate::spend::wire::{self, Learned, UDP_OVER_IPV4};
use fieldgate::spend::{Allowance, Ask, Direction, Grant, Ledger, Moment, Network, Plan, Purpose};
use fieldgate::uplink::policy::{self, Choice, Flow, FlowView};
use fieldgate::uplink::share::{Share, Weights};

use super::queue::{Batch, Queue};
use super::{
    ANSWER, AROUND, BEGINS_MS, HOME, LINGER, LIVE_MINUTES, MESSAGE, MINUTE, Outcome, ROAMING, Sender, body,
};

/// The ledger that ships, asked in the order of the drain's policy.
///
/// The disk takes a minute for every record, and each tenth never arrives: whoever wrote it is gone, and another begins anew.
pub(crate) struct Ours {
    ledger: Ledger,
    record: fieldgate::spend::Record,
    /// Being written, and since which minute.
    writing: Option<(u32, fieldgate::spend::Record)>,
    records: u32,
    /// Monotonic time of the boot.
    booted: u32,
    /// By flow.
    queues: [Queue; 6],
    paused: [Option<Duration>; 6],
    share: Share,
    /// By class.
    learned: [Learned; 5],
    /// Heeds the word to thin a backlog.
    thins: bool,
    /// The backlog is thinned now.
    thinned: bool,
}

impl Ours {
    fn plan() -> Plan {
        let limit = |month| Allowance { day: None, month: Some(month) };
        Plan { home: limit(HOME), roaming: limit(ROAMING), ..Plan::unlimited() }
    }

    pub(crate) fn new(thins: bool) -> Self {
        let mut ledger = Ledger::new(Self::plan(), None);
        let record = ledger.record();
        ledger.recorded(Duration::ZERO, true);
        Self {
            ledger,
            record,
            writing: None,
            records: 0,
            booted: 0,
            queues: Default::default(),
            paused: [None; 6],
            share: Share::new(Weights::default()),
            learned: [Learned::default(); 5],
            thins,
            thinned: false,
        }
    }

    fn now(&self, minute: u32) -> Moment {
        let mono = MINUTE * (minute - self.booted);
        Moment { mono, wall_ms: Some(BEGINS_MS + i64::from(minute) * 60_000) }
    }

    fn charge(&mut self, minute: u32, network: Network, purpose: Purpose, direction: Direction, bytes: u64) {
        let now = self.now(minute);
        self.ledger.charge(now, purpose, direction, bytes, network);
        self.write_down(minute);
    }

    fn write_down(&mut self, minute: u32) {
        let mono = self.now(minute).mono;
        if let Some((_, record)) = self.writing.take_if(|(since, _)| *since < minute) {
            self.records += 1;
            if self.records.is_multiple_of(10) {
                self.ledger.abandon_record();
            } else {
                self.record = record;
                self.ledger.recorded(mono, true);
            }
        }
        if self.ledger.wants_record(mono) {
            self.writing = Some((minute, self.ledger.record()));
        }
    }

    /// What the drain's policy would send; and whether the other side of what is shared could have gone too.
    fn choose(&self, now: Duration, minute: u32) -> Option<(Flow, bool)> {
        let view = |flow: Flow| {
            let queue = &self.queues[flow as usize];
            let oldest = queue.batches.front().map_or(minute, |batch| batch.minute);
            FlowView {
                flow,
                rows: usize::try_from(queue.rows).unwrap_or(usize::MAX),
                fills_a_message: queue.bytes >= MESSAGE,
                oldest_since: MINUTE * oldest.saturating_sub(self.booted),
                paused_until: self.paused[flow as usize],
            }
        };
        match policy::choose(&Flow::ALL.map(view), &self.share, now, LINGER) {
            Choice::Send { flow, shared } => Some((flow, shared)),
            Choice::WaitUntil(_) | Choice::Idle => None,
        }
    }

    /// What is no longer live is backlog.
    fn grow_old(&mut self, minute: u32) {
        while let Some(batch) =
            self.queues[Flow::Live as usize].pop_before(minute.saturating_sub(LIVE_MINUTES))
        {
            self.queues[Flow::Backlog as usize].push(batch);
        }
    }
}

/// The flow in which a reading begins.
fn flow(class: Class) -> Flow {
    match class {
        Class::Alarm => Flow::Alarm,
        Class::Event => Flow::Event,
        Class::State => Flow::State,
        Class::Telemetry => Flow::Live,
        Class::Diagnostics => Flow::Diagnostics,
    }
}

impl Sender for Ours {
    fn arrived(&mut self, batch: Batch) {
        self.queues[flow(batch.class) as usize].push(batch);
    }

    fn caused(&mut self, minute: u32, network: Network, payload: usize) {
        let bytes = wire::datagram(payload, UDP_OVER_IPV4);
        self.charge(minute, network, Purpose::Session, Direction::Up, bytes);
    }

    fn may_ask(&mut self, minute: u32, network: Network, bytes: u64, _: &Outcome) -> bool {
        let ask = Ask { purpose: Purpose::Management, bytes, waiting: bytes, full: true, network };
        let may = self.ledger.grant(self.now(minute), &ask) == Grant::Go;
        if may {
            self.charge(minute, network, Purpose::Management, Direction::Down, bytes);
        }
        may
    }

    fn next(&mut self, minute: u32, network: Network, out: &mut Outcome) -> Option<Vec<Batch>> {
        let now = self.now(minute);
        self.write_down(minute);
        self.grow_old(minute);
        loop {
            let (flow, shared) = self.choose(now.mono, minute)?;
            let class = flow.class();
            let (n, of) = (flow as usize, class as usize);
            let (oldest, rows) = (self.queues[n].batches.front()?.minute, self.queues[n].rows);
            let purpose = Purpose::of(class, minute - oldest <= LIVE_MINUTES);
            let (bytes, full) = self.learned[of].message(rows, MESSAGE);
            // As the purse has it.
            let soon_late = flow == Flow::Live && self.thinned && minute - oldest > LIVE_MINUTES / 2;
            let full = full || !class.waits_for_window() || minute - oldest > 30 || soon_late;
            let ask = Ask { purpose, bytes, waiting: self.learned[of].all(rows, MESSAGE), full, network };
            match self.ledger.grant(now, &ask) {
                Grant::Wait { until, .. } => {
                    self.paused[n] = Some(until.max(now.mono + Duration::from_secs(1)));
                    continue;
                }
                Grant::Thin { factor } if self.thins => {
                    self.thinned = true;
                    let factor = u32::try_from(factor).unwrap_or(1);
                    out.thinned += self.queues[n].thin(factor, minute.saturating_sub(LIVE_MINUTES));
                }
                Grant::Go if purpose == Purpose::Backlog => self.thinned = false,
                Grant::Thin { .. } | Grant::Go => {}
            }
            let message = self.queues[n].pack();
            let body = body(&message);
            if let Some(side) = flow.side() {
                self.share.sent(side, usize::try_from(body).unwrap_or(usize::MAX), shared);
            }
            self.learned[of].packed(message.iter().map(|b| u64::from(b.count)).sum(), body);
            let sent = [(Direction::Up, body as usize + AROUND), (Direction::Down, ANSWER)];
            for (direction, payload) in sent {
                let bytes = wire::datagram(payload, UDP_OVER_IPV4);
                self.learned[of].charged(bytes);
                self.charge(minute, network, purpose, direction, bytes);
            }
            return Some(message);
        }
    }

    fn restart(&mut self, minute: u32) {
        self.booted = minute;
        self.writing = None;
        self.ledger = Ledger::new(Self::plan(), Some(self.record.clone()));
        self.record = self.ledger.record();
        self.ledger.recorded(Duration::ZERO, true);
        self.paused = [None; 6];
        self.share = Share::new(Weights::default());
    }
}
