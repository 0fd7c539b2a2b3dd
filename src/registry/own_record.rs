//! The gateway's own record at a cloud, read now and then into the registry.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::provider::{Operation, Provider, ProviderDevice, ProviderError};
use crate::clock::Mono;
use crate::clock::sources::{Claim, Source};
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::gather::Gather;
use crate::store::gateway::{Gateway, RemoteDevice, Upserted};

/// After a failure it is asked again sooner than the interval, but no sooner than this, doubling.
const RETRY: Duration = Duration::from_secs(60);
/// A cloud that asks to wait is waited for, but no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// The lane that keeps it, named after the service. `poll` is the configured interval.
#[must_use]
pub fn own_record_lane(
    provider: Arc<dyn Provider>,
    gateway: Gateway,
    own_serial: String,
    poll: Duration,
    rim: Rim,
    stop: CancellationToken,
) -> Lane {
    let name = format!("own record at {}", provider.service());
    Lane::new(name, move |progress| {
        let keeper = Keeper {
            provider: Arc::clone(&provider),
            gateway: gateway.clone(),
            own_serial: own_serial.clone(),
            poll,
            rim: rim.clone(),
            stop: stop.clone(),
        };
        keeper.run(progress)
    })
}

struct Keeper {
    provider: Arc<dyn Provider>,
    gateway: Gateway,
    own_serial: String,
    poll: Duration,
    rim: Rim,
    stop: CancellationToken,
}

impl Keeper {
    async fn run(self, progress: Progress) -> Result<(), LaneError> {
        if !self.provider.capabilities().operations.contains(&Operation::OwnDevice) {
            return Ok(());
        }
        let poll = self.poll.max(self.provider.capabilities().least_interval.unwrap_or_default());
        let mut pause = RETRY;
        loop {
            progress.waiting("waiting for the cloud's answer", Duration::from_secs(60));
            let asked = self.rim.clock.mono();
            let answer = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                answer = self.provider.own_device() => answer,
            };
            if let Some(said) = answer.as_ref().ok().and_then(|record| record.service_unix_ms) {
                self.rim.clock.hear(time_of(said, asked, self.rim.clock.mono()));
            }
            let wait = match answer {
                Ok(record) => {
                    self.take(record).await?;
                    pause = RETRY;
                    // A tenth of jitter keeps a fleet that came up together from asking together for ever.
                    poll + self.rim.random.below(poll / 10)
                }
                Err(error) => {
                    tracing::warn!(%error, "the gateway's own record could not be read");
                    let asked_for = match &error {
                        ProviderError::TooMany { after, .. } => *after,
                        _ => None,
                    };
                    let wait = pause.min(poll).max(asked_for.unwrap_or_default().min(LONGEST_WAIT));
                    pause = (pause * 2).min(poll);
                    wait + self.rim.random.below(wait / 10)
                }
            };
            progress.advanced();
            progress.waiting("waiting for the next interval", wait);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = self.rim.sleep(wait) => {}
            }
        }
    }

    async fn take(&self, record: ProviderDevice) -> Result<(), LaneError> {
        if record.name != self.own_serial {
            tracing::warn!(
                found = record.name,
                "the record is of a device of another name; it is not taken for this gateway's"
            );
            return Ok(());
        }
        let remote = remote(self.provider.service(), &self.own_serial, record);
        match self.gateway.upsert_device(remote).await {
            Ok(Upserted::Conflict) => {
                tracing::warn!(
                    "another device of this registry has this gateway's id at the cloud; see conflicts"
                );
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(LaneError::new(error)),
        }
    }
}

/// What a service's clock says: somewhere in the second it names, and somewhere between question and answer.
fn time_of(second_unix_ms: i64, asked: Mono, answered: Mono) -> Claim {
    let way_ms = u32::try_from(answered.since(asked).as_millis()).unwrap_or(u32::MAX / 2);
    let unix_ms = second_unix_ms.saturating_add(500).saturating_add(i64::from(way_ms / 2));
    Claim::new(Source::Cloud, answered, unix_ms, way_ms.saturating_add(1000))
}

/// The store's form of a provider's record. What the cloud believes of versions is kept beside the rest and sets nothing.
fn remote(service: &str, own_serial: &str, record: ProviderDevice) -> RemoteDevice {
    let mut metadata = record.metadata;
    if !record.firmware.is_empty() {
        let firmware = record.firmware.into_iter().map(|(k, v)| (k, v.into())).gathered();
        metadata.insert("firmware".into(), serde_json::Value::Object(firmware));
    }
    RemoteDevice {
        service: service.to_owned(),
        service_kind: service.to_owned(),
        serial: own_serial.to_owned(),
        external_id: record.external_id,
        hardware_ids: record.hardware_ids,
        tags: record.tags,
        cohort: record.cohort,
        provider_status: record.status,
        last_online_ms: record.last_seen_online_unix_ms,
        last_offline_ms: record.last_seen_offline_unix_ms,
        last_report_ms: record.last_report_unix_ms,
        battery_percent: record.battery_percent,
        signal_dbm: record.signal_dbm,
        metadata,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_a_service_says_is_as_uncertain_as_its_answer_took() {
        let (asked, answered) = (Mono(1_000_000_000), Mono(4_000_000_000));
        let claim = time_of(1_800_000_000_000, asked, answered);
        // Said when the answer set out, one second at most after the second began, three at most before it arrived.
        for arrives_unix_ms in [1_800_000_000_000, 1_800_000_000_999 + 3000] {
            assert!(
                claim.wall_at(answered).unix_ms.abs_diff(arrives_unix_ms) <= u64::from(claim.uncertainty_ms)
            );
        }
        assert_eq!((claim.source, claim.at, claim.uncertainty_ms), (Source::Cloud, answered, 4000));
    }
}
