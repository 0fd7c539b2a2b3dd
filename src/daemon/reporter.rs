//! The lane that carries component reports to a link, the newest of each package, until the cloud has taken it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::rim::Rim;
use super::supervisor::{Lane, LaneError, Progress};
use crate::spend::{Purpose, Purse};
use crate::uplink::link::{Link, Outcome, Report};

/// A report that was not taken is offered again after this, or later if the cloud says so.
const AGAIN: Duration = Duration::from_secs(30);
/// How long a report may be under way; the link waits for its session within it.
const UNDER_WAY: Duration = Duration::from_secs(600);

/// What a report takes on the wire, with what is around it and its answer, about, bytes.
const REPORT_BYTES: u64 = 400;
/// The data plan is asked again at least this often.
const PLAN_HOLDS: Duration = Duration::from_secs(600);

pub(super) fn lane(
    link: Arc<dyn Link>,
    reports: mpsc::Receiver<Report>,
    purse: Arc<Purse>,
    rim: Rim,
    stop: CancellationToken,
) -> Lane {
    // The receiver, and what has not been taken, outlive a life of the lane.
    let waiting = Arc::new(Mutex::new(Waiting { reports, newest: BTreeMap::new(), last: String::new() }));
    Lane::new(format!("reports to {}", link.name()), move |progress| {
        let (link, waiting, rim, stop) = (Arc::clone(&link), Arc::clone(&waiting), rim.clone(), stop.clone());
        let purse = Arc::clone(&purse);
        async move {
            let mut waiting = waiting.lock().await;
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                ended = waiting.carry(&*link, &purse, &rim, &progress) => ended,
            }
        }
    })
}

struct Waiting {
    reports: mpsc::Receiver<Report>,
    newest: BTreeMap<String, Report>,
    /// The package offered last: the next in order goes first, so that none keeps the others waiting.
    last: String,
}

impl Waiting {
    async fn carry(
        &mut self,
        link: &dyn Link,
        purse: &Purse,
        rim: &Rim,
        progress: &Progress,
    ) -> Result<(), LaneError> {
        loop {
            while let Ok(report) = self.reports.try_recv() {
                self.take(report);
            }
            let Some((package, report)) = self.next() else {
                progress.waiting("nothing to report", Duration::from_secs(86_400));
                match self.reports.recv().await {
                    Some(report) => self.take(report),
                    None => return Ok(()),
                }
                continue;
            };
            if let Some((until, why)) = purse.refused(Purpose::Management, REPORT_BYTES) {
                progress.waiting(why.words(), PLAN_HOLDS);
                let now = rim.now();
                rim.sleep_until(until.clamp(now + Duration::from_secs(1), now + PLAN_HOLDS)).await;
                continue;
            }
            self.last.clone_from(&package);
            progress.waiting("reporting", UNDER_WAY);
            let outcome = tokio::time::timeout(UNDER_WAY, link.report(report.clone())).await;
            match outcome.unwrap_or(Outcome::Unknown) {
                Outcome::Acknowledged => self.done(&package, &report),
                // A report the cloud will never take must not keep the others waiting.
                Outcome::Bad { why } => {
                    tracing::warn!(package, why, "the cloud refuses a component report; it is not repeated");
                    self.done(&package, &report);
                }
                Outcome::TooLarge { .. } => self.done(&package, &report),
                Outcome::Later { after } => {
                    progress.waiting("the cloud asked to wait with reports", after);
                    rim.sleep(after.max(Duration::from_secs(1))).await;
                }
                Outcome::LinkSick { .. } | Outcome::Unknown => rim.sleep(AGAIN).await,
            }
            progress.advanced();
        }
    }

    /// The package after the last one offered, or the first again.
    fn next(&self) -> Option<(String, Report)> {
        let after = (std::ops::Bound::Excluded(self.last.as_str()), std::ops::Bound::Unbounded);
        let next = self.newest.range::<str, _>(after).next().or_else(|| self.newest.iter().next());
        next.map(|(package, report)| (package.clone(), report.clone()))
    }

    fn take(&mut self, report: Report) {
        // The firmware log has a lane of its own.
        let Report::Component { package, .. } = &report else { return };
        self.newest.insert(package.clone(), report);
    }

    /// Taken, unless a newer one came meanwhile.
    fn done(&mut self, package: &str, report: &Report) {
        if self.newest.get(package) == Some(report) {
            self.newest.remove(package);
        }
    }
}
