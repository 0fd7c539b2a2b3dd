//! When a device is online.

use std::time::Duration;

/// Whether a device can be taken to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It reported less than three expected intervals ago.
    Online,
    /// It did not.
    Offline,
    /// It never reported, or how often it should is not known.
    Unknown,
}

impl Presence {
    /// The word of the status API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Unknown => "unknown",
        }
    }
}

/// A device is online while its last report is younger than three of the intervals it should report in: one report may be
/// late and one lost.
#[must_use]
pub fn presence(since_last_report: Option<Duration>, expected_interval: Option<Duration>) -> Presence {
    match (since_last_report, expected_interval) {
        (Some(since), Some(interval)) if since < interval.saturating_mul(3) => Presence::Online,
        (Some(_), Some(_)) => Presence::Offline,
        _ => Presence::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_online_until_its_last_report_is_three_intervals_old() {
        let s = Duration::from_secs;
        assert_eq!(presence(Some(s(0)), Some(s(10))), Presence::Online);
        assert_eq!(presence(Some(Duration::from_millis(29_999)), Some(s(10))), Presence::Online);
        assert_eq!(presence(Some(s(30)), Some(s(10))), Presence::Offline);
        assert_eq!(presence(None, Some(s(10))), Presence::Unknown);
        assert_eq!(presence(Some(s(1)), None), Presence::Unknown);
    }
}
