//! Which keys a cloud may change: none that decides where data goes, who may enter, what is run, or how much
//! may be spent.

/// Dotted paths of the keys that remote settings may change; every other key is local.
pub const REMOTE_KEYS: [&str; 7] = [
    "bus.slave.period",
    "log.level",
    "modem.poll",
    "time.hold_untrusted",
    "uplink.linger",
    "uplink.live_bound",
    "uplink.window",
];
