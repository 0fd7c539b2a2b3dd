//! Devices: the registry's rows (requirement C2). Retired, never deleted; the serial number never changes.
//!
//! Who writes what: the configuration names a device and how often it reports; a provider's record brings the fields the
//! provider owns and its external id; the history's trigger sets the firmware version, and nothing else does.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde_json::{Map, Value};

use super::writer::Failure;
use super::{GatewayError, Stamp};
use crate::gather::Gather;

/// Longest serial number, bytes. A longer one is refused.
pub const MAX_SERIAL: usize = 128;
/// Longest JSON text of a list or a map that comes from outside, bytes. Longer is refused.
pub const MAX_JSON: usize = 64 * 1024;

/// A device of the registry. Times are unix milliseconds.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Device {
    /// Its name at every provider.
    pub serial: String,
    /// What people call it.
    pub name: Option<String>,
    /// Hardware ids, several.
    pub hardware_ids: Vec<String>,
    /// The group it takes updates with.
    pub cohort: Option<String>,
    /// The provider's own word.
    pub provider_status: Option<String>,
    /// Last seen online.
    pub last_online_ms: Option<i64>,
    /// Last seen to go away.
    pub last_offline_ms: Option<i64>,
    /// Last report of any kind.
    pub last_report_ms: Option<i64>,
    /// How often it should report, in milliseconds.
    pub expected_interval_ms: Option<i64>,
    /// Percent.
    pub battery_percent: Option<f64>,
    /// dBm.
    pub signal_dbm: Option<f64>,
    /// The version most recently recorded for it.
    pub firmware_version: Option<String>,
    /// Whose version that is.
    pub firmware_component: Option<String>,
    /// Where it is.
    pub location: Option<Value>,
    /// Tags.
    pub tags: Vec<String>,
    /// Notes.
    pub notes: String,
    /// What else is known of it; what a provider said stands under `providers` and the service's name.
    pub metadata: Map<String, Value>,
    /// Its newest values, where a provider gave them.
    pub telemetry: Map<String, Value>,
    /// No longer in service.
    pub retired: bool,
    /// What the services know it as, by service name.
    pub assignments: BTreeMap<String, Assignment>,
}

/// What one service knows a device as.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Assignment {
    /// The service's own id for it.
    pub external_id: Option<String>,
    /// `never`, `pending`, `synced`, `conflict`, `error`, `missing_remotely`.
    pub sync_status: String,
}

/// A device as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDevice {
    /// Serial number.
    pub serial: String,
    /// What people call it, if the configuration says; a name given elsewhere stays otherwise.
    pub name: Option<String>,
    /// How often it should report, in milliseconds.
    pub expected_interval_ms: Option<i64>,
}

/// What a provider said of a device. Fields that are `None` keep what is known, but for `cohort` and `provider_status`,
/// which the provider owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteDevice {
    /// The service's name: `golioth`.
    pub service: String,
    /// What kind of service it is, should this be the first that is heard of it.
    pub service_kind: String,
    /// The local device it is the record of.
    pub serial: String,
    /// The service's own id for it.
    pub external_id: String,
    /// Hardware ids.
    pub hardware_ids: Vec<String>,
    /// Tags; they are taken where there are none yet.
    pub tags: Vec<String>,
    /// The group it takes updates with.
    pub cohort: Option<String>,
    /// Its word for the status.
    pub provider_status: Option<String>,
    /// Last seen online.
    pub last_online_ms: Option<i64>,
    /// Last seen to go away.
    pub last_offline_ms: Option<i64>,
    /// Last report.
    pub last_report_ms: Option<i64>,
    /// Percent.
    pub battery_percent: Option<f64>,
    /// dBm.
    pub signal_dbm: Option<f64>,
    /// What else it says.
    pub metadata: Map<String, Value>,
}

/// What taking over a provider's record came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upserted {
    /// Nothing in it was new.
    Unchanged,
    /// It was taken over.
    Changed,
    /// It was taken over without its external id: another device of this registry has that id at this service. The
    /// conflict is on record.
    Conflict,
}

/// Makes the row when it is not there.
pub(super) fn ensure_row(tx: &Transaction<'_>, serial: &str) -> Result<(), Failure> {
    if serial.is_empty() || serial.len() > MAX_SERIAL {
        return Err(Failure::too_long("a serial number", MAX_SERIAL));
    }
    tx.prepare_cached("INSERT INTO devices (serial) VALUES (?1) ON CONFLICT (serial) DO NOTHING")?
        .execute([serial])?;
    Ok(())
}

/// Takes over what the configuration says. Tells whether anything changed.
pub(super) fn configure(tx: &Transaction<'_>, device: &LocalDevice) -> Result<bool, Failure> {
    let known = one(tx, &device.serial)?;
    if known.as_ref().is_some_and(|known| {
        !known.retired
            && (device.name.is_none() || known.name.is_some())
            && known.expected_interval_ms == device.expected_interval_ms
    }) {
        return Ok(false);
    }
    ensure_row(tx, &device.serial)?;
    tx.prepare_cached(
        "UPDATE devices SET name = coalesce(name, ?2), expected_interval_ms = ?3, retired = 0 WHERE serial = ?1",
    )?
    .execute((&device.serial, &device.name, device.expected_interval_ms))?;
    Ok(true)
}

/// Retires a device: it stays, with its history. Tells whether it was in service.
pub(super) fn retire(tx: &Transaction<'_>, serial: &str) -> Result<bool, Failure> {
    let changed = tx
        .prepare_cached("UPDATE devices SET retired = 1 WHERE serial = ?1 AND retired = 0")?
        .execute([serial])?;
    Ok(changed > 0)
}

/// Takes over a provider's record.
pub(super) fn upsert(tx: &Transaction<'_>, at: Stamp, remote: &RemoteDevice) -> Result<Upserted, Failure> {
    if remote.external_id.is_empty() || remote.external_id.len() > MAX_SERIAL {
        return Err(Failure::too_long("an external id", MAX_SERIAL));
    }
    ensure_row(tx, &remote.serial)?;
    let before = one(tx, &remote.serial)?;
    let mut after = before.clone().unwrap_or_default();
    after.hardware_ids.clone_from(&remote.hardware_ids);
    if after.tags.is_empty() {
        after.tags.clone_from(&remote.tags);
    }
    after.cohort.clone_from(&remote.cohort);
    after.provider_status.clone_from(&remote.provider_status);
    after.last_online_ms = remote.last_online_ms.or(after.last_online_ms);
    after.last_offline_ms = remote.last_offline_ms.or(after.last_offline_ms);
    after.last_report_ms = remote.last_report_ms.or(after.last_report_ms);
    after.battery_percent = remote.battery_percent.or(after.battery_percent);
    after.signal_dbm = remote.signal_dbm.or(after.signal_dbm);
    let providers = after.metadata.entry("providers").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(providers) = providers {
        providers.insert(remote.service.clone(), Value::Object(remote.metadata.clone()));
    }
    let assigned = assign(tx, at, remote)?;
    if assigned == Upserted::Unchanged && before.as_ref() == Some(&after) {
        return Ok(Upserted::Unchanged);
    }
    write(tx, at, &after)?;
    Ok(if assigned == Upserted::Conflict { assigned } else { Upserted::Changed })
}

/// Ties the device to the service's id, unless another device has it.
fn assign(tx: &Transaction<'_>, at: Stamp, remote: &RemoteDevice) -> Result<Upserted, Failure> {
    tx.prepare_cached("INSERT INTO services (name, kind) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING")?
        .execute((&remote.service, &remote.service_kind))?;
    let service: i64 =
        tx.query_row("SELECT id FROM services WHERE name = ?1", [&remote.service], |r| r.get(0))?;
    let device: i64 =
        tx.query_row("SELECT id FROM devices WHERE serial = ?1", [&remote.serial], |r| r.get(0))?;
    let holder: Option<i64> = tx
        .prepare_cached("SELECT device FROM assignments WHERE service = ?1 AND external_id = ?2")?
        .query_row((service, &remote.external_id), |r| r.get(0))
        .optional()?;
    match holder {
        Some(holder) if holder == device => Ok(Upserted::Unchanged),
        Some(holder) => {
            let open: bool = tx.query_row(
                "SELECT EXISTS (SELECT 1 FROM conflicts WHERE state = 'open' AND kind = 'two_devices_for_one_external'
                                AND device = ?1 AND service = ?2)",
                (device, service),
                |r| r.get(0),
            )?;
            if !open {
                let other: String =
                    tx.query_row("SELECT serial FROM devices WHERE id = ?1", [holder], |r| r.get(0))?;
                tx.execute(
                    "INSERT INTO conflicts (service, device, kind, field, local, remote, found_ms)
                     VALUES (?1, ?2, 'two_devices_for_one_external', 'external_id', ?3, ?4, ?5)",
                    (
                        service,
                        device,
                        Value::from(other).to_string(),
                        Value::from(remote.external_id.as_str()).to_string(),
                        at.wall_unix_ms,
                    ),
                )?;
            }
            Ok(Upserted::Conflict)
        }
        None => {
            tx.execute(
                "INSERT INTO assignments (device, service, external_id, sync_status, synced_ms) VALUES (?1, ?2, ?3, 'synced', ?4)
                 ON CONFLICT (device, service) DO UPDATE SET external_id = ?3, sync_status = 'synced', synced_ms = ?4",
                (device, service, &remote.external_id, at.wall_unix_ms),
            )?;
            Ok(Upserted::Changed)
        }
    }
}

fn write(tx: &Transaction<'_>, at: Stamp, device: &Device) -> Result<(), Failure> {
    let json = |value: &Value| -> Result<String, Failure> {
        let text = value.to_string();
        if text.len() > MAX_JSON {
            return Err(Failure::too_long("a device's record", MAX_JSON));
        }
        Ok(text)
    };
    tx.prepare_cached(
        "UPDATE devices SET hardware_ids = ?2, cohort = ?3, provider_status = ?4, last_online_ms = ?5, last_offline_ms = ?6,
                last_report_ms = ?7, battery_percent = ?8, signal_dbm = ?9, tags = ?10, metadata = ?11, updated_ms = ?12
         WHERE serial = ?1",
    )?
    .execute((
        &device.serial,
        json(&device.hardware_ids.clone().into())?,
        &device.cohort,
        &device.provider_status,
        device.last_online_ms,
        device.last_offline_ms,
        device.last_report_ms,
        device.battery_percent,
        device.signal_dbm,
        json(&device.tags.clone().into())?,
        json(&Value::Object(device.metadata.clone()))?,
        at.wall_unix_ms,
    ))?;
    Ok(())
}

const COLUMNS: &str = "serial, name, hardware_ids, cohort, provider_status, last_online_ms, last_offline_ms, \
                       last_report_ms, expected_interval_ms, battery_percent, signal_dbm, firmware_version, \
                       firmware_component, location, tags, notes, metadata, telemetry, retired, id";

/// All of them, by serial number.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Device>> {
    let mut rows = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM devices ORDER BY serial"))?;
    let devices = rows.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    devices.into_iter().map(|(id, device)| with_assignments(connection, id, device)).collect()
}

/// One of them.
pub(super) fn one(connection: &Connection, serial: &str) -> rusqlite::Result<Option<Device>> {
    let found = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM devices WHERE serial = ?1"))?
        .query_row([serial], read)
        .optional()?;
    found.map(|(id, device)| with_assignments(connection, id, device)).transpose()
}

fn with_assignments(connection: &Connection, id: i64, mut device: Device) -> rusqlite::Result<Device> {
    let mut rows = connection.prepare_cached(
        "SELECT s.name, a.external_id, a.sync_status FROM assignments a JOIN services s ON s.id = a.service
         WHERE a.device = ?1 ORDER BY s.name",
    )?;
    let rows = rows.query_map([id], |r| {
        Ok((r.get::<_, String>(0)?, Assignment { external_id: r.get(1)?, sync_status: r.get(2)? }))
    })?;
    device.assignments = rows.try_gathered()?;
    Ok(device)
}

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Device)> {
    let device = Device {
        serial: row.get(0)?,
        name: row.get(1)?,
        hardware_ids: json(row, 2)?,
        cohort: row.get(3)?,
        provider_status: row.get(4)?,
        last_online_ms: row.get(5)?,
        last_offline_ms: row.get(6)?,
        last_report_ms: row.get(7)?,
        expected_interval_ms: row.get(8)?,
        battery_percent: row.get(9)?,
        signal_dbm: row.get(10)?,
        firmware_version: row.get(11)?,
        firmware_component: row.get(12)?,
        location: match row.get_ref(13)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(json(row, 13)?),
        },
        tags: json(row, 14)?,
        notes: row.get(15)?,
        metadata: json(row, 16)?,
        telemetry: json(row, 17)?,
        retired: row.get(18)?,
        assignments: BTreeMap::new(),
    };
    Ok((row.get(19)?, device))
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e))
    })
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        Self::Refused(error)
    }
}
