//! Which devices and components the configuration asks for. Pure.

use std::collections::BTreeMap;

use crate::config::{Config, VersionSource};
use crate::store::gateway::{ComponentKey, LocalDevice};

/// What the registry has to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The gateway's own serial number.
    pub own_serial: String,
    /// Every device, the gateway first, then by serial number.
    pub devices: Vec<LocalDevice>,
    /// Every component and where its version is known from.
    pub components: Vec<(ComponentKey, VersionSource)>,
}

impl Plan {
    /// Reads it off the configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let own_serial = config.gateway.serial.clone();
        // The gateway reports at least as often as its link is probed.
        let own_interval = config.golioth.as_ref().map(|golioth| ms(golioth.liveness.keepalive));
        let mut others: BTreeMap<String, Option<i64>> = BTreeMap::new();
        for slave in config.buses.iter().flat_map(|bus| &bus.slaves) {
            // A device behind several slaves is heard as often as the quickest of them is asked.
            let interval = others.entry(slave.device.clone()).or_default();
            *interval = Some(interval.map_or(ms(slave.period), |known| known.min(ms(slave.period))));
        }
        for component in &config.components {
            others.entry(component.device.clone()).or_default();
        }
        others.remove(&own_serial);
        let own = LocalDevice {
            serial: own_serial.clone(),
            name: Some(config.gateway.name.clone()),
            expected_interval_ms: own_interval,
        };
        let others = others.into_iter().map(|(serial, expected_interval_ms)| LocalDevice {
            serial,
            name: None,
            expected_interval_ms,
        });
        let components = config.components.iter().map(|component| {
            let key = ComponentKey { device: component.device.clone(), package: component.package.clone() };
            (key, component.version.clone())
        });
        Self {
            own_serial,
            devices: std::iter::once(own).chain(others).collect(),
            components: components.collect(),
        }
    }

    /// Under which name a component stands on the board: its package, with the device's serial number before it where
    /// another device has the same package.
    #[must_use]
    pub fn board_name(&self, key: &ComponentKey) -> String {
        let shared = self.components.iter().any(|(k, _)| k.package == key.package && k.device != key.device);
        if shared && key.device != self.own_serial {
            format!("{}/{}", key.device, key.package)
        } else {
            key.package.clone()
        }
    }
}

fn ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
