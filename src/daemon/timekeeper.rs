//! The lane that tells the stores what time it is, once somebody vouches for it (requirement D3).
//!
//! Readings are stamped with monotonic time; the wall time of a whole boot is one offset, written when it is first known
//! and again when it is found to have been wrong by more than its own uncertainty.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::rim::Rim;
use super::stores::Stores;
use super::supervisor::{Lane, LaneError, Progress};
use crate::clock::{Mono, Wall};

/// How often the clock is looked at.
const EVERY: Duration = Duration::from_secs(10);
/// A smaller difference is not worth a write: clocks are disciplined all the time.
const WORTH_A_WRITE_MS: u64 = 500;

pub(super) fn lane(stores: Stores, rim: Rim, stop: CancellationToken) -> Lane {
    Lane::new("clock", move |progress| keep(stores.clone(), rim.clone(), stop.clone(), progress))
}

async fn keep(
    stores: Stores,
    rim: Rim,
    stop: CancellationToken,
    progress: Progress,
) -> Result<(), LaneError> {
    let mut told: Option<(u32, i64)> = None;
    loop {
        let (at, wall) = (rim.clock.mono(), rim.clock.wall());
        let generation = stores.queue.status().borrow().generation;
        if wall.trusted && worth_telling(told, generation, at, wall) {
            stores.queue.wall_known(at, wall).await;
            told = Some((generation, offset_ms(at, wall)));
        }
        progress.advanced();
        progress.waiting("watching the clock", EVERY);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = rim.sleep(EVERY) => {}
        }
    }
}

fn worth_telling(told: Option<(u32, i64)>, generation: u32, at: Mono, wall: Wall) -> bool {
    told.is_none_or(|(to, offset)| {
        to != generation
            || offset_ms(at, wall).abs_diff(offset) > WORTH_A_WRITE_MS.max(u64::from(wall.uncertainty_ms))
    })
}

fn offset_ms(at: Mono, wall: Wall) -> i64 {
    wall.unix_ms - i64::try_from(at.ms()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disciplined_clock_is_told_once_and_a_step_again() {
        let wall = |unix_ms| Wall { unix_ms, uncertainty_ms: 100, trusted: true };
        let at = Mono(5_000_000_000);
        assert!(worth_telling(None, 0, at, wall(1_000_000)));
        let told = Some((0, 1_000_000 - 5_000));
        assert!(!worth_telling(told, 0, at, wall(1_000_300)));
        assert!(worth_telling(told, 0, at, wall(1_010_000)));
        assert!(worth_telling(told, 1, at, wall(1_000_000)), "another queue file knows nothing yet");
    }
}
