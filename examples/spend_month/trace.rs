//! What happens in a month, as a file says it: readings, outages, foreign networks, requests, power cuts.

use serde_json::{Value as Json, json};

use super::{Result, WORTHS, Worth};

/// What happens in a month.
#[derive(Default)]
pub(crate) struct Trace {
    /// Readings by minute and class.
    pub(crate) readings: Vec<[u32; 5]>,
    /// No network in these minutes, from and to.
    pub(crate) outages: Vec<(u32, u32)>,
    pub(crate) roaming: Vec<(u32, u32)>,
    /// The management API is asked, and answers so many bytes.
    pub(crate) rest: Vec<(u32, u64)>,
    /// The power fails.
    pub(crate) restarts: Vec<u32>,
}

impl Trace {
    /// Lines: `hour H t s d` (telemetry, state, diagnostics, spread evenly), `alarm M n`, `event M n`, `outage M M`,
    /// `roaming M M`, `rest M bytes`, `restart M`; M is a minute from the beginning.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let mut trace = Self { readings: vec![[0; 5]; 30 * 1440], ..Self::default() };
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let mut words = line.split_ascii_whitespace();
            let word = words.next().unwrap_or_default();
            let n = words.map(str::parse).collect::<std::result::Result<Vec<u32>, _>>()?;
            match (word, n.as_slice()) {
                ("hour", &[hour, telemetry, state, diagnostics]) => {
                    for minute in 0..60 {
                        let share = |n: u32| n * (minute + 1) / 60 - n * minute / 60;
                        if let Some(slot) = trace.readings.get_mut((hour * 60 + minute) as usize) {
                            slot[2] += share(state);
                            slot[3] += share(telemetry);
                            slot[4] += share(diagnostics);
                        }
                    }
                }
                ("alarm" | "event", &[minute, count]) => {
                    let class = usize::from(word == "event");
                    if let Some(slot) = trace.readings.get_mut(minute as usize) {
                        slot[class] += count;
                    }
                }
                ("outage", &[from, to]) => trace.outages.push((from, to)),
                ("roaming", &[from, to]) => trace.roaming.push((from, to)),
                ("rest", &[minute, bytes]) => trace.rest.push((minute, bytes.into())),
                ("restart", &[minute]) => trace.restarts.push(minute),
                _ => return Err(format!("not a line of a trace: {line}").into()),
            }
        }
        Ok(trace)
    }

    pub(crate) fn within(spans: &[(u32, u32)], minute: u32) -> bool {
        spans.iter().any(|(from, to)| (*from..*to).contains(&minute))
    }

    pub(crate) fn produced(&self, minutes: u32) -> Json {
        self.sums(minutes, |_, _| true)
    }

    /// Those that could have been delivered in time: there was a network within their age limit, and within the month played.
    pub(crate) fn in_reach(&self, minutes: u32) -> Json {
        self.sums(minutes, |worth, minute| {
            (minute..=minute + worth.within).any(|at| at < minutes && !Self::within(&self.outages, at))
        })
    }

    fn sums(&self, minutes: u32, counts: impl Fn(&Worth, u32) -> bool) -> Json {
        let sum = |worth: &Worth| -> u64 {
            (0..minutes)
                .zip(&self.readings)
                .filter(|(minute, _)| counts(worth, *minute))
                .map(|(_, slot)| u64::from(slot[worth.class as usize]))
                .sum()
        };
        WORTHS
            .iter()
            .map(|w| (w.class.name().to_owned(), json!(sum(w))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}
