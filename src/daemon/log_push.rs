//! The lane that carries the firmware log to a link: new entries, oldest first, until the cloud has taken them (requirement
//! D11: pushed as its class).
//!
//! The lane is a puller like any other: it asks `gateway.db` for the page after its cursor, and what the cloud acknowledged
//! is acknowledged there, under `push:` and the destination's name. So it goes on after any restart where the cloud's
//! knowledge ends; a repetition is the same bytes. It looks at the log, not at events, and is woken by the log growing.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::rim::Rim;
use super::supervisor::{Lane, LaneError, Progress};
use crate::spend::{Purpose, Purse};
use crate::store::gateway::pages::MIN_BYTES;
use crate::store::gateway::{BytePage, Gateway, GatewayError};
use crate::uplink::link::{Link, Outcome, Report};

/// A page is one small message on any link.
const PAGE_BYTES: usize = 1024;
/// What was not taken is offered again after this, or later if the cloud says so.
const AGAIN: Duration = Duration::from_secs(30);
/// What was refused is offered again after this, and then after twice as long each time.
const REFUSED_AGAIN: Duration = Duration::from_secs(3600);
/// But at least this often: a page a day costs nothing, and nobody has to tell the gateway that the cloud was mended.
const REFUSED_MOST: Duration = Duration::from_secs(86_400);
/// How long a page may be under way; the link waits for its session within it.
const UNDER_WAY: Duration = Duration::from_secs(600);

/// What a page takes on the wire beside itself, about, bytes.
const AROUND: u64 = 150;
/// The data plan is asked again at least this often.
const PLAN_HOLDS: Duration = Duration::from_secs(600);

pub(super) fn lane(
    link: Arc<dyn Link>,
    gateway: Gateway,
    purse: Arc<Purse>,
    rim: Rim,
    stop: CancellationToken,
) -> Lane {
    Lane::new(format!("firmware log to {}", link.name()), move |progress| {
        let (link, purse) = (Arc::clone(&link), Arc::clone(&purse));
        let push = Push { link, gateway: gateway.clone(), purse, rim: rim.clone(), progress };
        let stop = stop.clone();
        async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                ended = push.carry() => ended,
            }
        }
    })
}

struct Push {
    link: Arc<dyn Link>,
    gateway: Gateway,
    purse: Arc<Purse>,
    rim: Rim,
    progress: Progress,
}

impl Push {
    async fn carry(&self) -> Result<(), LaneError> {
        let puller = format!("push:{}", self.link.name());
        if let Err(error) = self.gateway.introduce(&puller).await {
            tracing::warn!(%error, "the firmware log may be freed before this destination has it");
        }
        let mut cursor = self.gateway.acknowledged(&puller).await.map_err(LaneError::new)?;
        let mut limit = PAGE_BYTES.min(self.link.capabilities().max_message_bytes);
        let mut refused_again = REFUSED_AGAIN;
        loop {
            let mut status = self.gateway.status();
            let head = status.borrow_and_update().log_head;
            let page = match self.gateway.firmware_log_bytes(cursor.as_deref(), limit).await {
                Ok(page) => page,
                Err(GatewayError::Cursor(why)) => {
                    // The file was replaced or restored while the daemon ran: the cloud gets what there is now.
                    tracing::warn!(%why, "the firmware log is pushed from its beginning");
                    cursor = None;
                    continue;
                }
                Err(error) => return Err(LaneError::new(error)),
            };
            if page.is_empty {
                self.progress.waiting("nothing new in the firmware log", Duration::from_secs(86_400));
                if status.wait_for(|status| status.log_head != head).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            let bytes = page.body.len() as u64 + AROUND;
            if let Some((until, why)) = self.purse.refused(Purpose::FirmwareLog, bytes) {
                self.progress.waiting(why.words(), PLAN_HOLDS);
                let now = self.rim.now();
                self.rim.sleep_until(until.clamp(now + Duration::from_secs(1), now + PLAN_HOLDS)).await;
                continue;
            }
            match self.offer(&page).await {
                Outcome::Acknowledged => {
                    refused_again = REFUSED_AGAIN;
                    self.done(&puller, &mut cursor, page).await?;
                }
                Outcome::TooLarge { limit: said } if limit > MIN_BYTES => {
                    limit = said.unwrap_or(limit / 2).min(limit / 2).max(MIN_BYTES);
                }
                // Refused is not acknowledged: the log goes on where the cloud's knowledge ends. Somebody has to look.
                Outcome::Bad { why } => {
                    tracing::warn!(why, ?refused_again, "the cloud refuses a page of the firmware log");
                    let words = format!(
                        "the cloud refuses the firmware log ({why}); nothing of it is passed over, it is offered again. \
                         Look there for what it expects"
                    );
                    self.progress.waiting(&words, refused_again);
                    self.rim.sleep(refused_again).await;
                    refused_again = (refused_again * 2).min(REFUSED_MOST);
                }
                // A message that no link of ours is too small for; it can still be pulled.
                refused @ Outcome::TooLarge { .. } => {
                    tracing::warn!(
                        ?refused,
                        "the cloud refuses a page of the firmware log; it is not repeated"
                    );
                    self.done(&puller, &mut cursor, page).await?;
                }
                Outcome::Later { after } => {
                    self.progress.waiting("the cloud asked to wait with the firmware log", after);
                    self.rim.sleep(after.max(Duration::from_secs(1))).await;
                }
                Outcome::LinkSick { .. } | Outcome::Unknown => {
                    self.progress.waiting("the link does not take the firmware log now", AGAIN);
                    self.rim.sleep(AGAIN).await;
                }
            }
            self.progress.advanced();
        }
    }

    async fn offer(&self, page: &BytePage) -> Outcome {
        self.progress.waiting("pushing the firmware log", UNDER_WAY);
        let report = Report::FirmwareLog { page: page.body.clone() };
        tokio::time::timeout(UNDER_WAY, self.link.report(report)).await.unwrap_or(Outcome::Unknown)
    }

    async fn done(&self, puller: &str, cursor: &mut Option<String>, page: BytePage) -> Result<(), LaneError> {
        if let Some(whole) = &page.whole {
            self.gateway.acknowledge(puller, whole).await.map_err(LaneError::new)?;
        }
        *cursor = Some(page.next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::board::Board;
    use crate::clock::Clock;
    use crate::daemon::supervisor::Supervisor;
    use crate::spend::{Allowance, Direction, Plan};
    use crate::store::gateway::tests::{clock, key, open, rim, versions};
    use crate::store::queue::{Owed, QueuedRow};
    use crate::uplink::link::{Capabilities, CloudEvent, EpochStatement, Message, Packed};

    /// A cloud that answers as it is told, then takes everything; it keeps what it was offered.
    #[derive(Debug, Default)]
    struct Cloud {
        answers: Mutex<Vec<Outcome>>,
        offered: Mutex<Vec<Vec<u8>>>,
        took: watch::Sender<Vec<u64>>,
    }

    #[async_trait::async_trait]
    impl Link for Cloud {
        fn name(&self) -> &str {
            "cloud"
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities { max_message_bytes: 1024, max_in_flight: 1 }
        }

        fn pack(&self, _: Option<&EpochStatement>, _: &[QueuedRow], _: usize) -> Option<Packed> {
            None
        }

        fn pack_owed(&self, _: &[Owed], _: usize) -> Option<Packed> {
            None
        }

        async fn send(&self, _: &Message, _: Duration) -> Outcome {
            Outcome::Unknown
        }

        async fn report(&self, report: Report) -> Outcome {
            let Report::FirmwareLog { page } = report else { return Outcome::Bad { why: "another".into() } };
            assert!(page.len() <= 1024, "{} bytes", page.len());
            let mut answers = self.answers.lock().unwrap();
            let outcome = if answers.is_empty() { Outcome::Acknowledged } else { answers.remove(0) };
            let said: serde_json::Value = serde_json::from_slice(&page).unwrap();
            self.offered.lock().unwrap().push(page);
            if outcome == Outcome::Acknowledged {
                let rows = said["rows"].as_array().cloned().unwrap_or_default();
                let numbers = rows.iter().map(|row| row["sequence"].as_u64().unwrap());
                self.took.send_modify(|took| took.extend(numbers));
            }
            outcome
        }

        fn up(&self) -> watch::Receiver<bool> {
            watch::channel(true).1
        }

        fn events(&self) -> Option<mpsc::Receiver<CloudEvent>> {
            None
        }
    }

    fn pushing(cloud: &Arc<Cloud>, gateway: &Gateway) -> CancellationToken {
        let clock = clock(1);
        let purse = Purse::unlimited(Arc::clone(&clock));
        pushing_with(cloud, gateway, &clock, purse)
    }

    fn pushing_with(
        cloud: &Arc<Cloud>,
        gateway: &Gateway,
        clock: &Arc<dyn Clock>,
        purse: Arc<Purse>,
    ) -> CancellationToken {
        let (stop, rim) = (CancellationToken::new(), rim(clock));
        let supervisor = Supervisor::new(rim.clone(), Board::shared(), stop.clone());
        let link: Arc<dyn Link> = Arc::<Cloud>::clone(cloud);
        supervisor.spawn(lane(link, gateway.clone(), purse, rim, stop.clone()));
        stop
    }

    async fn took(cloud: &Cloud, expected: &[u64]) {
        let mut took = cloud.took.subscribe();
        let reached = took.wait_for(|took| took.len() >= expected.len());
        let took =
            tokio::time::timeout(Duration::from_secs(7200), reached).await.expect("too little came").unwrap();
        assert_eq!(*took, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cloud_gets_each_entry_once_and_the_next_as_it_is_made_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (cloud, gateway) = (Arc::new(Cloud::default()), open(dir.path(), 1, 1));
        versions(&gateway, "main", 3).await;
        let stop = pushing(&cloud, &gateway);
        took(&cloud, &[1, 2, 3]).await;
        gateway.observe_version(&key("cell"), "1.0").await.unwrap();
        took(&cloud, &[1, 2, 3, 4]).await;
        stop.cancel();
        gateway.stop();
        drop(gateway);
        let gateway = open(dir.path(), 2, 2);
        gateway.observe_version(&key("cell"), "2.0").await.unwrap();
        pushing(&cloud, &gateway);
        took(&cloud, &[1, 2, 3, 4, 5]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_pushed_while_the_data_plan_has_no_bytes_for_it_and_everything_after() {
        let dir = tempfile::tempdir().unwrap();
        let (cloud, gateway, clock) = (Arc::new(Cloud::default()), open(dir.path(), 1, 1), clock(1));
        versions(&gateway, "main", 1).await;
        let home = Allowance { day: Some(100_000), month: None };
        let plan = Plan { home, carry_over_days: 0, ..Plan::unlimited() };
        let purse = Purse::new(plan, None, Duration::from_secs(300), Arc::clone(&clock), Board::shared());
        purse.charge(Purpose::State, Direction::Up, 100_000);
        assert!(purse.record().is_some());
        purse.recorded(true);
        pushing_with(&cloud, &gateway, &clock, purse);
        tokio::time::sleep(Duration::from_secs(1800)).await;
        assert_eq!(cloud.offered.lock().unwrap().len(), 0);
        let mut took = cloud.took.subscribe();
        let pushed = took.wait_for(|took| !took.is_empty());
        tokio::time::timeout(Duration::from_secs(2 * 86_400), pushed).await.expect("never").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_answered_or_was_refused_comes_again_byte_for_byte_and_nothing_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (cloud, gateway) = (Arc::new(Cloud::default()), open(dir.path(), 1, 1));
        versions(&gateway, "main", 2).await;
        let later = Outcome::Later { after: Duration::from_secs(600) };
        let sick = Outcome::LinkSick { why: "4.01".into(), next_step: "look".into() };
        let bad = Outcome::Bad { why: "4.00".into() };
        *cloud.answers.lock().unwrap() = vec![Outcome::Unknown, later, sick, bad.clone(), bad];
        pushing(&cloud, &gateway);
        let mut refused = cloud.took.subscribe();
        let hours = REFUSED_AGAIN * 3;
        assert!(
            tokio::time::timeout(hours, refused.wait_for(|took| !took.is_empty())).await.is_err(),
            "a page that was refused twice is offered again after an hour, and after two more"
        );
        assert_eq!(gateway.acknowledged("push:cloud").await.unwrap(), None, "refused is not acknowledged");
        took(&cloud, &[1, 2]).await;
        let offered = cloud.offered.lock().unwrap();
        assert_eq!(offered.len(), 7);
        assert!(offered.iter().take(6).all(|page| *page == offered[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cloud_that_takes_less_gets_smaller_pages_and_one_that_takes_nothing_is_not_asked_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (cloud, gateway) = (Arc::new(Cloud::default()), open(dir.path(), 1, 1));
        versions(&gateway, "main", 2).await;
        *cloud.answers.lock().unwrap() = vec![Outcome::TooLarge { limit: None }; 4];
        pushing(&cloud, &gateway);
        let all = async {
            while gateway.acknowledged("push:cloud").await.unwrap()
                != Some(gateway.firmware_log_page(None, 9).await.unwrap().next)
            {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(7200), all).await.expect("it is stuck");
        let sizes: Vec<usize> = cloud.offered.lock().unwrap().iter().map(Vec::len).collect();
        assert!(sizes.iter().skip(2).all(|size| *size <= MIN_BYTES), "{sizes:?}");
    }
}
