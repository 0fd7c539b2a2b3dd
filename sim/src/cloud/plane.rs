//! The project behind the wire: devices, documents, settings, releases, calls, ledgers. No transport in here.
//!
//! The device services and the management API both work on a [`Plane`]; what they change that a device may be watching
//! is left in `notices` for the transport to tell.

use super::calls::{self, Calls};
use super::catalogue::{Certificate, Labels, ProjectKey};
use super::config::{CloudConfig, CloudError, DeviceConfig};
use super::device::{Credential, Device, DeviceKey, LogEntry, OtaEvent};
use super::document;
use super::firmware_log::FirmwareLogs;
use super::intake::Intake;
use super::pipelines::{self, Pipeline, Pipelines};
use super::releases::{Releases, Target};
use super::services::Issuer;
use super::settings::{DataType, Level, Setting, Settings};
use super::wall::{Ids, Wall};
use fieldgate_dtls::{PskKey, Subject};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

const MOST_DEVICES: usize = 10_000;
const MOST_CREDENTIALS: usize = 16;
const MOST_LOGS: usize = 10_000;
const MOST_OTA_EVENTS: usize = 10_000;
/// Longest pre-shared key the DTLS library takes.
const MOST_KEY_BYTES: usize = 32;

#[derive(Debug)]
pub(super) struct Plane {
    pub(super) project: String,
    pub(super) organization: String,
    pub(super) wall: Wall,
    pub(super) ids: Ids,
    pub(super) devices: BTreeMap<DeviceKey, Device>,
    next_device: u32,
    pub(super) keys: PskTable,
    pub(super) settings: Settings,
    pub(super) releases: Releases,
    pub(super) calls: Calls,
    pub(super) pipelines: Pipelines,
    pub(super) intake: Intake,
    pub(super) firmware_logs: FirmwareLogs,
    pub(super) tags: Labels,
    pub(super) blueprints: Labels,
    pub(super) certificates: Vec<Certificate>,
    pub(super) api_keys: Vec<ProjectKey>,
    pub(super) issuer: Option<Issuer>,
    /// Oldest first.
    pub(super) logs: VecDeque<LogEntry>,
    /// Oldest first.
    pub(super) ota_events: VecDeque<OtaEvent>,
    pub(super) notices: VecDeque<Notice>,
    pub(super) keep_messages: usize,
    pub(super) stream_messages: u64,
    pub(super) stream_bytes: u64,
    pub(super) unmatched_messages: u64,
    pub(super) log_messages: u64,
}

/// What a new project begins with.
const LOG_PIPELINE: &str = "filter:
  path: /logs
  content_type: application/cbor
steps:
  - name: step-0
    transformer:
      type: cbor-to-json
      version: v1
    destination:
      type: logs
      version: v1
";

/// Something a device may be watching has changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Notice {
    State { device: DeviceKey, path: Vec<String> },
    Settings { device: DeviceKey },
    Manifest { device: DeviceKey },
    Call { device: DeviceKey, call: Value },
}

impl Plane {
    pub(super) fn new(config: &CloudConfig, seed: u64, unix_ms_at_origin: i64) -> Result<Self, CloudError> {
        let mut plane = Self {
            project: config.project.clone(),
            organization: config.organization.clone(),
            wall: Wall::new(unix_ms_at_origin),
            ids: Ids::new(seed),
            devices: BTreeMap::new(),
            next_device: 0,
            keys: PskTable::default(),
            settings: Settings::default(),
            releases: Releases::default(),
            calls: Calls::default(),
            pipelines: Pipelines::new(&config.routes),
            intake: Intake::default(),
            firmware_logs: FirmwareLogs::default(),
            tags: Labels::new("tag"),
            blueprints: Labels::new("blueprint"),
            certificates: Vec::new(),
            api_keys: Vec::new(),
            issuer: None,
            logs: VecDeque::new(),
            ota_events: VecDeque::new(),
            notices: VecDeque::new(),
            keep_messages: config.keep_messages,
            stream_messages: 0,
            stream_bytes: 0,
            unmatched_messages: 0,
            log_messages: 0,
        };
        for device in &config.devices {
            plane.add_device(Duration::ZERO, device)?;
        }
        if config.log_pipeline {
            plane.put_pipeline(Duration::ZERO, None, "Default CBOR Logs", true, LOG_PIPELINE)?;
        }
        Ok(plane)
    }

    /// A new device with its first credential.
    pub(super) fn add_device(
        &mut self,
        now: Duration,
        config: &DeviceConfig,
    ) -> Result<DeviceKey, CloudError> {
        let key = self.add_bare_device(now, &config.name, config.hardware_ids.clone())?;
        if let Err(error) = self.add_credential(now, key, &config.psk_id, config.key.clone()) {
            self.devices.remove(&key);
            return Err(error);
        }
        Ok(key)
    }

    /// A new device nobody can connect as yet.
    pub(super) fn add_bare_device(
        &mut self,
        now: Duration,
        name: &str,
        hardware_ids: Vec<String>,
    ) -> Result<DeviceKey, CloudError> {
        if name.is_empty() {
            return Err(CloudError::BadDevice { name: name.to_owned() });
        }
        if self.key_of(name).is_some() {
            return Err(CloudError::DuplicateDevice { name: name.to_owned() });
        }
        if self.devices.len() >= MOST_DEVICES {
            return Err(CloudError::Full { what: "devices", limit: MOST_DEVICES });
        }
        let unix_ns = self.wall.unix_ns(now);
        let id = self.ids.next(unix_ns);
        let hardware_ids = if hardware_ids.is_empty() { vec![id.clone()] } else { hardware_ids };
        let key = DeviceKey(self.next_device);
        self.next_device = self.next_device.wrapping_add(1);
        let device = Device {
            id,
            name: name.to_owned(),
            hardware_ids,
            tag_ids: Vec::new(),
            blueprint: None,
            cohort: None,
            certificate: None,
            enabled: true,
            created_ns: unix_ns,
            updated_ns: unix_ns,
            last_report_ns: None,
            last_online_ns: None,
            session_since: now,
            credentials: Vec::new(),
            state: Value::Null,
            messages: VecDeque::new(),
            rows: VecDeque::new(),
            location: None,
            updates: BTreeMap::new(),
            settings_status: None,
            signing_request: None,
            limiter: super::limiter::Limiter::default(),
            requests: 0,
            shown: BTreeMap::new(),
        };
        self.devices.insert(key, device);
        Ok(key)
    }

    /// A further identity of a device.
    pub(super) fn add_credential(
        &mut self,
        now: Duration,
        device: DeviceKey,
        identity: &str,
        key: Zeroizing<String>,
    ) -> Result<&Credential, CloudError> {
        let unix_ns = self.wall.unix_ns(now);
        let id = self.ids.next(unix_ns);
        let owner = self.devices.get_mut(&device).ok_or(CloudError::NotFound { what: "device" })?;
        if identity.is_empty() || key.is_empty() || key.len() > MOST_KEY_BYTES {
            return Err(CloudError::BadDevice { name: owner.name.clone() });
        }
        if owner.credentials.len() >= MOST_CREDENTIALS {
            return Err(CloudError::Full { what: "credentials of this device", limit: MOST_CREDENTIALS });
        }
        if !self.keys.insert(identity, device, &key) {
            return Err(CloudError::DuplicateIdentity { psk_id: identity.to_owned() });
        }
        owner.credentials.push(Credential { id, identity: identity.to_owned(), key, created_ns: unix_ns });
        owner.credentials.last().ok_or(CloudError::NotFound { what: "credential" })
    }

    pub(super) fn remove_credential(&mut self, device: DeviceKey, id: &str) -> bool {
        let Some(owner) = self.devices.get_mut(&device) else { return false };
        let Some(place) = owner.credentials.iter().position(|credential| credential.id == id) else {
            return false;
        };
        let gone = owner.credentials.remove(place);
        self.keys.remove(&gone.identity);
        true
    }

    pub(super) fn remove_device(&mut self, device: DeviceKey) -> bool {
        let Some(gone) = self.devices.remove(&device) else { return false };
        for credential in &gone.credentials {
            self.keys.remove(&credential.identity);
        }
        true
    }

    pub(super) fn key_of(&self, name: &str) -> Option<DeviceKey> {
        self.devices.iter().find(|(_, device)| device.name == name).map(|(key, _)| *key)
    }

    pub(super) fn key_of_id(&self, id: &str) -> Option<DeviceKey> {
        self.devices.iter().find(|(_, device)| device.id == id).map(|(key, _)| *key)
    }

    /// The device of an identity, as long as it may connect.
    pub(super) fn key_of_identity(&self, identity: &[u8]) -> Option<DeviceKey> {
        let key = self.keys.device(identity)?;
        self.devices.get(&key).filter(|device| device.enabled).map(|_| key)
    }

    /// The device of a certificate of this project: the one that has its id (the common name); else the one of that name, if it has
    /// no certificate yet; else a new one of that name, or of that name with something behind it where it is taken.
    pub(super) fn key_of_certificate(&mut self, now: Duration, subject: &Subject) -> Option<DeviceKey> {
        if subject.organization.as_deref() != Some(self.project.as_str()) {
            return None;
        }
        let id = subject.common_name.as_deref()?;
        let has_it = |device: &Device| device.certificate.as_deref() == Some(id);
        let known = self.devices.iter().find(|(_, device)| has_it(device)).map(|(key, _)| *key);
        let key = match (known, self.key_of(id)) {
            (Some(key), _) => key,
            (None, None) => self.add_bare_device(now, id, Vec::new()).ok()?,
            (None, Some(named)) if self.devices.get(&named)?.certificate.is_none() => named,
            (None, Some(_)) => {
                let name = format!("{id}-{:08x}", self.ids.number() as u32);
                self.add_bare_device(now, &name, Vec::new()).ok()?
            }
        };
        let device = self.devices.get_mut(&key)?;
        device.certificate = Some(id.to_owned());
        device.enabled.then_some(key)
    }

    pub(super) fn named(&self, name: &str) -> Result<DeviceKey, CloudError> {
        self.key_of(name).ok_or_else(|| CloudError::UnknownDevice { name: name.to_owned() })
    }

    /// Writes into a device's LightDB State.
    pub(super) fn set_state(&mut self, device: DeviceKey, path: Vec<String>, value: Value) {
        let Some(owner) = self.devices.get_mut(&device) else { return };
        document::merge(&mut owner.state, &path, value);
        self.notices.push_back(Notice::State { device, path });
    }

    /// Deletes from a device's LightDB State.
    pub(super) fn delete_state(&mut self, device: DeviceKey, path: Vec<String>) {
        let Some(owner) = self.devices.get_mut(&device) else { return };
        document::delete(&mut owner.state, &path);
        self.notices.push_back(Notice::State { device, path });
    }

    pub(super) fn set_setting(
        &mut self,
        now: Duration,
        key: &str,
        data_type: Option<DataType>,
        value: Value,
        level: Level,
    ) -> Result<Setting, CloudError> {
        match &level {
            Level::Project => {}
            Level::Blueprint(id) => {
                self.blueprints.get(id)?;
            }
            Level::Device(name) => {
                self.named(name)?;
            }
        }
        let unix_ns = self.wall.unix_ns(now);
        let ids = &mut self.ids;
        let setting = self.settings.set(key, data_type, value, level, || ids.next(unix_ns), unix_ns)?.clone();
        self.notice_settings();
        Ok(setting)
    }

    pub(super) fn delete_setting(&mut self, now: Duration, id: &str) -> bool {
        let gone = self.settings.delete(id, self.wall.unix_ns(now));
        if gone {
            self.notice_settings();
        }
        gone
    }

    /// Moves a device to a cohort or out of all. Entering one tells it its manifest; leaving does not.
    pub(super) fn set_cohort(&mut self, device: DeviceKey, cohort: Option<String>) -> Result<(), CloudError> {
        if let Some(id) = &cohort
            && self.releases.cohort(id).is_none()
        {
            return Err(CloudError::NotFound { what: "cohort" });
        }
        let owner = self.devices.get_mut(&device).ok_or(CloudError::NotFound { what: "device" })?;
        let enters = cohort.is_some() && owner.cohort != cohort;
        owner.cohort = cohort;
        if enters {
            self.notices.push_back(Notice::Manifest { device });
        }
        Ok(())
    }

    /// Deploys to a cohort and tells its devices. The deployment's id.
    pub(super) fn deploy(
        &mut self,
        now: Duration,
        cohort: &str,
        name: &str,
        artifact_ids: Vec<String>,
    ) -> Result<String, CloudError> {
        let unix_ns = self.wall.unix_ns(now);
        let id = self.ids.next(unix_ns);
        self.releases.deploy(cohort, id.clone(), name, artifact_ids, unix_ns)?;
        let members = self.devices.iter().filter(|(_, device)| device.cohort.as_deref() == Some(cohort));
        self.notices.extend(members.map(|(device, _)| Notice::Manifest { device: *device }));
        Ok(id)
    }

    /// The sequence number of what a device is to run.
    pub(super) fn manifest_sequence(&self, device: DeviceKey) -> Option<i64> {
        self.releases.sequence(Target::of(self.devices.get(&device)?))
    }

    /// Tells a device outside of cohorts its manifest, if it is another than it was.
    pub(super) fn notice_if_manifest_changed(&mut self, device: DeviceKey, before: Option<i64>) {
        let outside = self.devices.get(&device).is_some_and(|device| device.cohort.is_none());
        if outside && self.manifest_sequence(device) != before {
            self.notices.push_back(Notice::Manifest { device });
        }
    }

    /// Changes the legacy releases, and tells the devices whose manifest is another afterwards.
    pub(super) fn change_releases<T>(
        &mut self,
        change: impl FnOnce(&mut Releases) -> Result<T, CloudError>,
    ) -> Result<T, CloudError> {
        let keys = self.devices.keys().copied();
        let before: Vec<_> = keys.map(|key| (key, self.manifest_sequence(key))).collect();
        let changed = change(&mut self.releases)?;
        for (key, sequence) in before {
            self.notice_if_manifest_changed(key, sequence);
        }
        Ok(changed)
    }

    /// Calls a method on a device; the id under which it will answer.
    pub(super) fn call(
        &mut self,
        now: Duration,
        device: DeviceKey,
        method: &str,
        params: &[Value],
        patience: Duration,
    ) -> String {
        let id = format!("{method}/{:08x}", self.ids.number() as u32);
        let name = self.devices.get(&device).map_or("", |device| device.name.as_str());
        self.calls.begin(id.clone(), name, now.saturating_add(patience));
        self.notices.push_back(Notice::Call { device, call: calls::said(&id, method, params) });
        id
    }

    /// Says a call once more under the id it has.
    pub(super) fn repeat_call(&mut self, device: DeviceKey, id: &str, method: &str, params: &[Value]) {
        self.notices.push_back(Notice::Call { device, call: calls::said(id, method, params) });
    }

    /// Adds a pipeline, or replaces the one of this id. A route that is replaced becomes a pipeline with steps.
    pub(super) fn put_pipeline(
        &mut self,
        now: Duration,
        id: Option<String>,
        name: &str,
        enabled: bool,
        yaml: &str,
    ) -> Result<&Pipeline, CloudError> {
        let (filter, steps) = pipelines::read(yaml)?;
        if name.is_empty() {
            return Err(CloudError::Invalid { what: "a pipeline needs a name".to_owned() });
        }
        let unix_ns = self.wall.unix_ns(now);
        let id = id.unwrap_or_else(|| self.ids.next(unix_ns));
        let (name, yaml, steps) = (name.to_owned(), yaml.to_owned(), Some(steps.into()));
        let (created_ns, updated_ns) = (unix_ns, unix_ns);
        self.pipelines.put(Pipeline { id, name, enabled, yaml, filter, steps, created_ns, updated_ns })
    }

    pub(super) fn add_log(&mut self, entry: LogEntry) {
        if self.logs.len() >= MOST_LOGS {
            self.logs.pop_front();
        }
        self.logs.push_back(entry);
    }

    pub(super) fn add_ota_event(&mut self, device: DeviceKey, event: OtaEvent) {
        if self.ota_events.len() >= MOST_OTA_EVENTS {
            self.ota_events.pop_front();
        }
        if let Some(device) = self.devices.get_mut(&device) {
            // A report names one package of a few; the bound is against nonsense.
            if device.updates.len() < 256 || device.updates.contains_key(&event.package) {
                device.updates.insert(event.package.clone(), event.clone());
            }
        }
        self.ota_events.push_back(event);
    }

    fn notice_settings(&mut self) {
        let all = self.devices.keys().map(|device| Notice::Settings { device: *device });
        self.notices.extend(all);
    }
}

/// Identities and keys, shared with the DTLS side, which looks them up in the middle of a handshake.
#[derive(Clone, Default)]
pub(super) struct PskTable {
    keys: Arc<Mutex<Identities>>,
    disabled: Arc<Mutex<Vec<DeviceKey>>>,
}

type Identities = BTreeMap<Vec<u8>, (DeviceKey, PskKey)>;

impl PskTable {
    pub(super) fn key(&self, identity: &[u8]) -> Option<PskKey> {
        let (device, key) = lock(&self.keys).get(identity)?.clone();
        (!lock(&self.disabled).contains(&device)).then_some(key)
    }

    pub(super) fn enable(&self, device: DeviceKey, enabled: bool) {
        let mut disabled = lock(&self.disabled);
        disabled.retain(|other| *other != device);
        if !enabled {
            disabled.push(device);
        }
    }

    fn device(&self, identity: &[u8]) -> Option<DeviceKey> {
        lock(&self.keys).get(identity).map(|(device, _)| *device)
    }

    fn insert(&self, identity: &str, device: DeviceKey, key: &str) -> bool {
        let mut keys = lock(&self.keys);
        let free = !keys.contains_key(identity.as_bytes());
        if free {
            keys.insert(identity.as_bytes().to_vec(), (device, PskKey::new(key)));
        }
        free
    }

    fn remove(&self, identity: &str) {
        lock(&self.keys).remove(identity.as_bytes());
    }
}

impl fmt::Debug for PskTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PskTable({} identities)", lock(&self.keys).len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
