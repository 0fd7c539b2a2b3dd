//! `fieldgate queue corrections`: the wall times that turned out to have been wrong, newest first.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Copy, Trouble, say, warn_of_age};
use crate::board::in_words;
use crate::clock::Mono;
use crate::clock::sources::Source as TimeSource;
use crate::store::queue::look::corrections::{Belief, Correction, corrections};
use crate::store::queue::look::{self, Source};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    pub(super) copy: Copy,
    /// Print as many, the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    most: u32,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn list(source: &Source, arguments: &Arguments) -> Result<bool, Trouble> {
    let connection = look::open(source)?;
    warn_of_age(source);
    let found = corrections(&connection, arguments.most)?;
    let text = if arguments.json { as_json(&found) } else { as_text(&found, arguments.most) };
    say(&text)?;
    Ok(true)
}

fn as_text(found: &[Correction], most: u32) -> String {
    let mut out = String::new();
    if found.is_empty() {
        out.push_str("The time never turned out to have been wrong by more than was stated with it.\n");
    }
    for correction in found {
        let Correction { believed, now, .. } = correction;
        let by = in_words(Duration::from_millis(correction.ahead_ms().unsigned_abs()));
        let direction = if correction.ahead_ms() < 0 { "ahead" } else { "behind" };
        let boot = format!("{:?}", correction.boot);
        let _ =
            writeln!(out, "{}  {} was {by} {direction}", stamp(now, correction.at), words(&believed.source));
        let _ = writeln!(
            out,
            "  believed until then: {} within {} ms; right by {}: within {} ms",
            stamp(believed, correction.at),
            believed.uncertainty_ms,
            words(&now.source),
            now.uncertainty_ms
        );
        let starts = if correction.epochs == 1 { "start" } else { "starts" };
        let _ = writeln!(
            out,
            "  readings of boot {}, {} {starts} of the daemon; every destination is told the right time of them",
            boot.get(..8).unwrap_or(&boot),
            correction.epochs
        );
    }
    if found.len() == most as usize {
        let _ = writeln!(out, "more of them: --most");
    }
    out
}

fn as_json(found: &[Correction]) -> String {
    let belief = |belief: &Belief, at: Mono| {
        json!({
            "source": belief.source,
            "time": stamp(belief, at),
            "unixMillisecondsAtBoot": belief.offset_ms,
            "uncertaintyMilliseconds": belief.uncertainty_ms,
        })
    };
    let rows: Vec<_> = found
        .iter()
        .map(|correction| {
            json!({
                "id": correction.id,
                "boot": format!("{:?}", correction.boot),
                "epochs": correction.epochs,
                "foundMillisecondsAfterBoot": correction.at.ms(),
                "believedSinceMillisecondsAfterBoot": correction.believed_since.ms(),
                "aheadMilliseconds": correction.ahead_ms(),
                "believed": belief(&correction.believed, correction.at),
                "now": belief(&correction.now, correction.at),
            })
        })
        .collect();
    format!("{:#}\n", json!(rows))
}

fn words(source: &str) -> &str {
    match TimeSource::from_word(source) {
        Some(known) => known.words(),
        None => source,
    }
}

/// What was believed to be the time of this instant.
fn stamp(belief: &Belief, at: Mono) -> String {
    let unix_ms = i64::try_from(at.ms()).ok().and_then(|ms| belief.offset_ms.checked_add(ms));
    match unix_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(time) => time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        None => "a time that no calendar has".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootId;

    fn wrong() -> Correction {
        let belief = |source: &str, offset_ms, uncertainty_ms| Belief {
            source: source.to_owned(),
            offset_ms,
            uncertainty_ms,
        };
        Correction {
            id: 7,
            boot: BootId([0xab; 16]),
            epochs: 2,
            at: Mono(60_000_000_000),
            believed_since: Mono(1_000_000_000),
            believed: belief("modem", 1_795_176_000_000, 2000),
            now: belief("ntp", 1_795_186_800_000, 50),
        }
    }

    #[test]
    fn a_correction_says_what_was_believed_what_is_right_and_which_readings() {
        assert_eq!(
            as_text(&[wrong()], 50),
            "2026-11-20T15:01:00.000Z  the cellular network was 3 h 0 min behind\n  \
             believed until then: 2026-11-20T12:01:00.000Z within 2000 ms; right by a time server: within 50 ms\n  \
             readings of boot abababab, 2 starts of the daemon; every destination is told the right time of them\n"
        );
        assert!(as_text(&[wrong()], 1).ends_with("more of them: --most\n"));
        assert!(as_text(&[], 50).starts_with("The time never turned out"));
    }

    #[test]
    fn the_same_is_there_for_machines() {
        let rows: serde_json::Value = serde_json::from_str(&as_json(&[wrong()])).unwrap();
        assert_eq!(rows[0]["aheadMilliseconds"], 10_800_000);
        assert_eq!(rows[0]["believed"]["source"], "modem");
        assert_eq!(rows[0]["now"]["time"], "2026-11-20T15:01:00.000Z");
        assert_eq!(as_json(&[]), "[]\n");
    }
}
