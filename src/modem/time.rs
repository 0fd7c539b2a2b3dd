//! What the modem's words about the time are worth.

use fieldgate_modem_at as at;

use crate::board::NetworkTime;
use crate::clock::RELEASE_FLOOR_UNIX_MS;

/// Network time comes in whole seconds, as they begin; it may be under way for a second, and networks keep it by hand.
const NETWORK_UNCERTAINTY_MS: u32 = 2_000;
/// When the network last set the modem's clock is not known. An ordinary crystal is off by this after more than two days.
const CLOCK_UNCERTAINTY_MS: u32 = 10_000;
/// The middle of the second that was said.
const HALF_A_SECOND_MS: i64 = 500;

/// What the network said just now.
///
/// # Errors
/// Why it is no time.
pub(super) fn of_network(said: &at::NetworkTime) -> Result<NetworkTime, &'static str> {
    let utc = said.utc.known().ok_or("the network gave a time zone without a time")?;
    let unix_ms = millis(utc.since_1970()).saturating_add(HALF_A_SECOND_MS);
    Ok(NetworkTime { unix_ms, uncertainty_ms: NETWORK_UNCERTAINTY_MS })
}

/// What the modem's clock says, which may be meant in either of two ways: the middle, and as uncertain as reaches both.
///
/// # Errors
/// Why it is no time.
pub(super) fn of_clock(said: &at::ClockReading) -> Result<NetworkTime, &'static str> {
    let (earliest, latest) = said.may_mean();
    let (earliest, latest) = (millis(earliest), millis(latest));
    if latest < RELEASE_FLOOR_UNIX_MS {
        return Err("the modem's clock was never set");
    }
    let half = latest.saturating_sub(earliest) / 2;
    Ok(NetworkTime {
        unix_ms: earliest.saturating_add(half).saturating_add(HALF_A_SECOND_MS),
        uncertainty_ms: u32::try_from(half).unwrap_or(u32::MAX).saturating_add(CLOCK_UNCERTAINTY_MS),
    })
}

fn millis(since_1970: std::time::Duration) -> i64 {
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(text: &str) -> Result<NetworkTime, &'static str> {
        of_clock(&at::ClockReading::parse(&format!("+CCLK: \"{text}\"")).unwrap())
    }

    #[test]
    fn a_clock_that_was_never_set_says_no_time() {
        for text in
            ["80/01/06,00:00:19+00", "70/01/01,00:00:01+08", "00/01/01,00:04:11-20", "02/01/01,00:00:00"]
        {
            assert!(clock(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_clock_says_reaches_both_times_it_may_mean() {
        // 2026-11-20T12:00:00Z.
        let noon = 1_795_176_000_000;
        assert_eq!(
            clock("26/11/20,12:00:00+00").unwrap(),
            NetworkTime { unix_ms: noon + 500, uncertainty_ms: 10_000 }
        );
        for (text, local) in
            [("26/11/20,12:00:00+23", noon - 23 * 900_000), ("26/11/20,12:00:00-20", noon + 18_000_000)]
        {
            let time = clock(text).unwrap();
            for meant in [noon, local] {
                let off = time.unix_ms.abs_diff(meant);
                assert!(off <= u64::from(time.uncertainty_ms), "{text}: {off}");
            }
            assert!(u64::from(time.uncertainty_ms) <= noon.abs_diff(local) / 2 + 10_000, "and no further");
        }
    }
}
