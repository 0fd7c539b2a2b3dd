//! What an operator sees of a cloud, and does to it: ledgers and counts, documents, settings, calls, deployments, faults.
//!
//! Nothing here moves a datagram; whatever a device should hear of it is pumped out at once.

use super::calls::{CallOutcome, Calls};
use super::config::{CloudError, DeviceConfig};
use super::core::{Cloud, CloudCounters, Silence};
use super::device::{DeviceKey, LogEntry, OtaEvent, StreamMessage};
use super::fault::{Babble, Fault, FaultId};
use super::firmware_log::FirmwareLogSeen;
use super::intake::Intake;
use super::pipelines::{self, Delivered, Outgoing, PipelineError, Route, Unmatched};
use super::services::{Issuer, Watch};
use super::settings::{Level, SettingsStatus};
use fieldgate_dtls::SessionId;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

// What the operator sees.
impl Cloud {
    /// Every identity that came in and was taken.
    #[must_use]
    pub fn intake(&self) -> &Intake {
        &self.plane.intake
    }

    /// Keeps the times of rows from now on: see [`Intake::row_times`].
    pub fn keep_row_times(&mut self) {
        self.plane.intake.keep_row_times();
    }

    /// What came of a device's firmware log and was taken.
    #[must_use]
    pub fn firmware_log(&self, device: &str) -> FirmwareLogSeen {
        self.plane.firmware_logs.of(device)
    }

    /// Counts.
    #[must_use]
    pub fn counters(&self) -> CloudCounters {
        let dtls = self.dtls.counters();
        CloudCounters {
            handshakes: dtls.handshakes_completed,
            handshakes_failed: dtls.handshakes_failed,
            address_moves: dtls.address_moves,
            sessions: self.peers.len() as u64,
            stream_messages: self.plane.stream_messages,
            stream_bytes: self.plane.stream_bytes,
            unmatched: self.plane.unmatched_messages,
            log_messages: self.plane.log_messages,
            ..self.counters
        }
    }

    /// Names of all devices, oldest first.
    pub fn device_names(&self) -> impl Iterator<Item = &str> {
        self.plane.devices.values().map(|device| device.name.as_str())
    }

    /// Requests a device made.
    #[must_use]
    pub fn requests_of(&self, device: &str) -> Option<u64> {
        Some(self.plane.devices.get(&self.plane.key_of(device)?)?.requests)
    }

    /// When the device last asked for this observable resource and was answered, or acknowledged a notification of it.
    #[must_use]
    pub fn shown(&self, device: &str, path: &str) -> Option<Duration> {
        let key = self.plane.key_of(device)?;
        self.plane.devices.get(&key)?.shown.get(path).copied()
    }

    /// The sequence number of what is deployed to a device.
    #[must_use]
    pub fn manifest_sequence(&self, device: &str) -> Option<i64> {
        self.plane.manifest_sequence(self.plane.key_of(device)?)
    }

    /// A device's LightDB State; null before the first write.
    #[must_use]
    pub fn state(&self, device: &str) -> Option<&Value> {
        Some(&self.plane.devices.get(&self.plane.key_of(device)?)?.state)
    }

    /// A device's last report on its settings.
    #[must_use]
    pub fn settings_status(&self, device: &str) -> Option<&SettingsStatus> {
        self.plane.devices.get(&self.plane.key_of(device)?)?.settings_status.as_ref()
    }

    /// The stream messages of a device that a route took and that are still kept, oldest first.
    #[must_use]
    pub fn messages(&self, device: &str) -> Option<&VecDeque<StreamMessage>> {
        Some(&self.plane.devices.get(&self.plane.key_of(device)?)?.messages)
    }

    /// Reports on packages, oldest first; the last 10 000.
    #[must_use]
    pub fn ota_events(&self) -> &VecDeque<OtaEvent> {
        &self.plane.ota_events
    }

    /// Log lines, oldest first; the last 10 000.
    #[must_use]
    pub fn logs(&self) -> &VecDeque<LogEntry> {
        &self.plane.logs
    }

    /// Stream messages no pipeline took.
    #[must_use]
    pub fn unmatched(&self) -> &VecDeque<Unmatched> {
        &self.plane.pipelines.unmatched
    }

    /// Messages that a pipeline took and could not bring to its end, oldest first; the last 1 000.
    #[must_use]
    pub fn pipeline_errors(&self) -> &VecDeque<PipelineError> {
        &self.plane.pipelines.errors
    }

    /// What pipelines handed to destinations outside of the cloud, oldest first; the last 256. Nothing leaves this machine.
    #[must_use]
    pub fn delivered(&self) -> &VecDeque<Delivered> {
        &self.plane.pipelines.delivered
    }

    /// The certification request a device sent last, DER.
    #[must_use]
    pub fn signing_request(&self, device: &str) -> Option<&[u8]> {
        self.plane.devices.get(&self.plane.key_of(device)?)?.signing_request.as_deref()
    }

    /// How a call stands; `None` for one never made or long forgotten.
    #[must_use]
    pub fn call_outcome(&self, id: &str) -> Option<&CallOutcome> {
        self.plane.calls.outcome(id)
    }

    /// How many observations the device's sessions hold on `.rpc`.
    #[must_use]
    pub fn call_listeners(&self, device: &str) -> usize {
        self.count_watches(device, |watch| matches!(watch, Watch::Calls { .. }))
    }

    /// How many observations the device's sessions hold in all.
    #[must_use]
    pub fn observations(&self, device: &str) -> usize {
        self.count_watches(device, |_| true)
    }

    fn count_watches(&self, device: &str, of: impl Fn(&Watch) -> bool) -> usize {
        let key = self.plane.key_of(device);
        let peers = self.peers.values().filter(|peer| Some(peer.device) == key);
        peers.map(|peer| peer.watches.values().filter(|watch| of(watch)).count()).sum()
    }
}

// What the operator does.
impl Cloud {
    /// Adds a device.
    ///
    /// # Errors
    /// A name or identity that is taken, or a key nobody could use.
    pub fn add_device(&mut self, now: Duration, device: &DeviceConfig) -> Result<(), CloudError> {
        self.plane.add_device(now, device).map(|_| ())
    }

    /// Writes into a device's LightDB State; objects merge. `path` is `/`-joined, empty for all.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn set_state(
        &mut self,
        now: Duration,
        device: &str,
        path: &str,
        value: Value,
    ) -> Result<(), CloudError> {
        let key = self.plane.named(device)?;
        self.plane.set_state(key, split(path), value);
        self.pump(now);
        Ok(())
    }

    /// Deletes from a device's LightDB State.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn delete_state(&mut self, now: Duration, device: &str, path: &str) -> Result<(), CloudError> {
        let key = self.plane.named(device)?;
        self.plane.delete_state(key, split(path));
        self.pump(now);
        Ok(())
    }

    /// Sets a setting of the project, or of one device.
    ///
    /// # Errors
    /// A key or value no setting may have, an override without a project value, an unknown device.
    pub fn set_setting(
        &mut self,
        now: Duration,
        key: &str,
        value: Value,
        device: Option<&str>,
    ) -> Result<(), CloudError> {
        let level = device.map_or(Level::Project, |name| Level::Device(name.to_owned()));
        self.plane.set_setting(now, key, None, value, level)?;
        self.pump(now);
        Ok(())
    }

    /// Takes a setting back, and everything that overrides it.
    pub fn remove_setting(&mut self, now: Duration, key: &str) {
        let of_key = self.plane.settings.all.iter().filter(|setting| setting.key == key);
        let ids: Vec<String> = of_key.map(|setting| setting.id.clone()).collect();
        for id in ids {
            self.plane.delete_setting(now, &id);
        }
        self.pump(now);
    }

    /// Sends a call's notification once more, as a cloud does that has lost count.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn repeat_call(
        &mut self,
        now: Duration,
        device: &str,
        id: &str,
        method: &str,
        params: &[Value],
    ) -> Result<(), CloudError> {
        let key = self.plane.named(device)?;
        self.plane.repeat_call(key, id, method, params);
        self.pump(now);
        Ok(())
    }

    /// Calls a method on a device. The answer is found under the returned id by [`call_outcome`](Self::call_outcome).
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn call(
        &mut self,
        now: Duration,
        device: &str,
        method: &str,
        params: &[Value],
    ) -> Result<String, CloudError> {
        let key = self.plane.named(device)?;
        let id = self.plane.call(now, key, method, params, Calls::PATIENCE);
        self.pump(now);
        Ok(id)
    }

    /// Deploys one artifact to these devices: takes it in (or the same one again), puts the devices into a cohort of their
    /// own, and tells them.
    ///
    /// # Errors
    /// Unknown devices, words that do not fit a path, another artifact of the same package and version.
    pub fn deploy(
        &mut self,
        now: Duration,
        devices: &[&str],
        package: &str,
        version: &str,
        content: Vec<u8>,
    ) -> Result<(), CloudError> {
        let keys = devices.iter().map(|name| self.plane.named(name)).collect::<Result<Vec<_>, _>>()?;
        let unix_ns = self.plane.wall.unix_ns(now);
        let known =
            self.plane.releases.artifact_named(package, version).filter(|known| *known.content == *content);
        let artifact = match known {
            Some(known) => known.id.clone(),
            None => {
                let id = self.plane.ids.next(unix_ns);
                self.plane.releases.add_artifact(id, package, version, content, unix_ns)?.id.clone()
            }
        };
        // The devices' own cohort, or a new one if they share none.
        let of = |key: &DeviceKey| self.plane.devices.get(key).and_then(|device| device.cohort.clone());
        let shared = keys
            .first()
            .and_then(of)
            .filter(|cohort| keys.iter().all(|key| of(key).as_ref() == Some(cohort)));
        let cohort = match shared {
            Some(cohort) => cohort,
            None => {
                let id = self.plane.ids.next(unix_ns);
                self.plane.releases.add_cohort(id.clone(), &format!("cohort-{id}"), unix_ns)?;
                id
            }
        };
        self.plane.deploy(now, &cohort, &format!("{package} {version}"), vec![artifact])?;
        for key in keys {
            self.plane.set_cohort(key, Some(cohort.clone()))?;
        }
        self.pump(now);
        Ok(())
    }

    /// Takes devices out of their cohorts; nothing is deployed to them any more. As in the real cloud they are not told.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn undeploy(&mut self, device: &str) -> Result<(), CloudError> {
        let key = self.plane.named(device)?;
        self.plane.set_cohort(key, None)
    }

    /// Replaces the routes; pipelines with steps stay.
    pub fn set_routes(&mut self, routes: Vec<Route>) {
        self.plane.pipelines.set_routes(&routes);
    }

    /// Adds a pipeline, enabled, as it is written in YAML.
    ///
    /// # Errors
    /// What is no pipeline, what the simulated cloud has no step for, or a name that is taken.
    pub fn add_pipeline(&mut self, now: Duration, name: &str, yaml: &str) -> Result<(), CloudError> {
        self.plane.put_pipeline(now, None, name, true, yaml).map(|_| ())
    }

    /// Switches a pipeline on or off. Whether there is one of this name.
    pub fn enable_pipeline(&mut self, name: &str, enabled: bool) -> bool {
        let named = self.plane.pipelines.all.iter_mut().find(|pipeline| pipeline.name == name);
        named.map(|pipeline| pipeline.enabled = enabled).is_some()
    }

    /// Gives the project a PKI provider: what it answers a device's certification request (DER) with, or `None` to refuse it.
    pub fn set_issuer(&mut self, issue: impl FnMut(&str, &[u8]) -> Option<Vec<u8>> + Send + 'static) {
        self.plane.issuer = Some(Issuer::new(issue));
    }

    /// The next request that a pipeline makes of a web service. It must be answered by [`webhook_answered`](Self::webhook_answered).
    pub fn poll_webhook(&mut self) -> Option<Outgoing> {
        self.plane.pipelines.outgoing.pop_front()
    }

    /// A web service's answer: media type and body, or why there is none.
    pub fn webhook_answered(&mut self, now: Duration, id: u64, answer: Result<(String, Vec<u8>), String>) {
        pipelines::answered(&mut self.plane, id, answer);
        self.pump(now);
    }

    /// Sets a fault. Of several that befall a request, the one set first counts.
    pub fn set_fault(&mut self, fault: Fault) -> FaultId {
        self.faults.set(fault)
    }

    /// Takes a fault back.
    pub fn clear_fault(&mut self, id: FaultId) {
        self.faults.clear(id);
    }

    /// Takes all faults back.
    pub fn clear_faults(&mut self) {
        self.faults.clear_all();
    }

    /// From now on neither hears nor speaks, until the given time or [`speak`](Self::speak).
    pub fn silence(&mut self, until: Option<Duration>) {
        self.silence = Some(until.map_or(Silence::ForGood, Silence::Until));
        self.outbox.clear();
    }

    /// From now on says nothing that makes sense within its sessions; `None` ends that.
    pub fn babble(&mut self, babble: Option<Babble>) {
        self.babble = babble;
    }

    /// Ends a silence.
    pub fn speak(&mut self) {
        self.silence = None;
    }

    /// Forgets every session, watcher and held-back answer, as a server that was started anew. What was stored stays.
    pub fn restart(&mut self) {
        self.counters.restarts += 1;
        let sessions: Vec<_> = self.dtls.session_ids().collect();
        for session in sessions {
            self.dtls.forget(session);
        }
        self.peers.clear();
        self.delayed.clear();
    }

    /// Ends a device's sessions with a fatal alert, properly protected.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn alert(&mut self, now: Duration, device: &str, description: u8) -> Result<(), CloudError> {
        for session in self.sessions_of(device)? {
            self.dtls.abort(now, session, description);
        }
        self.pump(now);
        Ok(())
    }

    /// Forgets a device's sessions without a word, as when they expire.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`].
    pub fn forget(&mut self, device: &str) -> Result<(), CloudError> {
        for session in self.sessions_of(device)? {
            self.dtls.forget(session);
            self.peers.remove(&session);
        }
        Ok(())
    }

    fn sessions_of(&self, device: &str) -> Result<Vec<SessionId>, CloudError> {
        let key = self.plane.named(device)?;
        let of_device = self.peers.iter().filter(|(_, peer)| peer.device == key);
        Ok(of_device.map(|(session, _)| *session).collect())
    }
}

fn split(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}
