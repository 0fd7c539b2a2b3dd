//! The lane that sends lines of the daemon's own log to a cloud: few, and only as far as the data plan has room for diagnostics.
//!
//! What it says itself is never sent ([`crate::logs`]). A line that the cloud does not take is left out after one repetition: a
//! log is worth less than what it is about.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::rim::Rim;
use super::supervisor::{Lane, LaneError, Progress};
use crate::logs::{Line, Logs};
use crate::spend::{Purpose, Purse};
use crate::uplink::link::{Link, Outcome, Report};

/// So many lines may follow each other at once; then one each [`EVERY`].
const BURST: u32 = 8;
const EVERY: Duration = Duration::from_secs(10);
/// What a line takes on the wire beside itself, about, bytes.
const AROUND: u64 = 150;
/// The data plan is asked again after this.
const PLAN_HOLDS: Duration = Duration::from_secs(600);
/// A line that was not answered is repeated after this, once.
const AGAIN: Duration = Duration::from_secs(30);
/// A cloud that refuses lines is spared them for so long.
const REFUSED: Duration = Duration::from_secs(3600);
/// How long a line may be under way.
const UNDER_WAY: Duration = Duration::from_secs(120);

pub(super) fn lane(
    link: Arc<dyn Link>,
    logs: Arc<Logs>,
    purse: Arc<Purse>,
    rim: Rim,
    stop: CancellationToken,
) -> Lane {
    Lane::new(format!("log to {}", link.name()), move |progress| {
        let (link, logs, purse) = (Arc::clone(&link), Arc::clone(&logs), Arc::clone(&purse));
        let sender = Sender { link, logs, purse, rim: rim.clone(), progress };
        let stop = stop.clone();
        async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                ended = sender.send() => ended,
            }
        }
    })
}

struct Sender {
    link: Arc<dyn Link>,
    logs: Arc<Logs>,
    purse: Arc<Purse>,
    rim: Rim,
    progress: Progress,
}

impl Sender {
    async fn send(&self) -> Result<(), LaneError> {
        let mut up = self.link.up();
        // A bucket of lines: when it will be full again.
        let mut full_at = Duration::ZERO;
        loop {
            self.progress.waiting("nothing to log", Duration::from_secs(86_400));
            let now = self.rim.now();
            let Some((line, left_out)) = self.logs.next(now) else {
                self.logs.kept().await;
                continue;
            };
            if up.wait_for(|up| *up).await.is_err() {
                return Ok(());
            }
            let earliest = full_at.saturating_sub(EVERY * (BURST - 1));
            self.rim.sleep_until(earliest).await;
            full_at = full_at.max(self.rim.now()) + EVERY;
            let bytes = AROUND + line.text.len() as u64;
            while let Some((until, why)) = self.purse.refused(Purpose::Diagnostics, bytes) {
                self.progress.waiting(why.words(), PLAN_HOLDS);
                let now = self.rim.now();
                self.rim.sleep_until(until.clamp(now + Duration::from_secs(1), now + PLAN_HOLDS)).await;
            }
            self.offer(&line, left_out).await;
            self.progress.advanced();
        }
    }

    async fn offer(&self, line: &Line, left_out: u64) {
        let message = match left_out {
            0 => line.text.clone(),
            n => format!("({n} lines left out) {}", line.text),
        };
        for pause in [AGAIN, Duration::ZERO] {
            let (level, module) = (line.level, line.module.to_owned());
            let report = Report::Log { level, module, message: message.clone() };
            self.progress.waiting("sending a line of the log", UNDER_WAY);
            let outcome = tokio::time::timeout(UNDER_WAY, self.link.report(report)).await;
            let wait = match outcome.unwrap_or(Outcome::Unknown) {
                Outcome::Acknowledged => return,
                Outcome::Unknown => pause,
                Outcome::Later { after } => after.max(AGAIN),
                Outcome::Bad { .. } | Outcome::TooLarge { .. } | Outcome::LinkSick { .. } => REFUSED,
            };
            self.progress.waiting("the cloud does not take lines of the log now", wait);
            self.rim.sleep(wait).await;
        }
    }
}
