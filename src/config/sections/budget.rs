//! `[budget]`: the data plan.
//!
//! Nothing here may be changed remotely: a cloud that could raise a budget could spend the operator's money.

use crate::config::model::{Allowance, Plan, Purpose, Reserves};
use crate::config::reader::{Numbers, Reader};
use crate::config::words;

/// Below this no session can be kept: it would not be a plan but a mistyped unit.
const LEAST_DAY: u64 = 16 << 10;
const LEAST_MONTH: u64 = 256 << 10;
const MOST: u64 = 1 << 50;

pub(super) fn budget(mut reader: Reader<'_>) -> Plan {
    let day = limit(&mut reader, "day", "\"256KiB\"", LEAST_DAY);
    let month = limit(&mut reader, "month", "\"5MiB\"", LEAST_MONTH);
    let roaming_day = limit(&mut reader, "roaming_day", "\"64KiB\"", 0);
    let roaming_month = limit(&mut reader, "roaming_month", "\"1MiB\"", 0);
    let days = Numbers { noun: "a day that every month has", range: 1..=28 };
    let reset_day = reader.number("reset_day", "1", &days).unwrap_or(1);
    let carried = Numbers { noun: "a number of days to carry over", range: 0..=31 };
    let carry_over_days = reader.number("carry_over_days", "3", &carried).unwrap_or(3);
    let reserves = reserves(&mut reader);
    for (day_key, day, month_key, month) in
        [("day", day, "month", month), ("roaming_day", roaming_day, "roaming_month", roaming_month)]
    {
        if let (Some(day), Some(month)) = (day, month)
            && day > month
        {
            reader.problem(
                day_key,
                format!("{} a day are more than {} a month.", words::show_size(day), words::show_size(month)),
                format!("Lower {day_key} or raise {month_key}."),
            );
        }
    }
    if [day, month, roaming_day, roaming_month].iter().all(Option::is_none) {
        reader.warning(
            "month",
            "No limit is set: everything is counted and nothing is held back.",
            "Write month = \"5MiB\", for example, or remove [budget].",
        );
    }
    reader.finish();
    let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    // Not written, it is as at home and counted apart: a foreign network without a limit is the costliest mistake.
    let roaming = Allowance { day: roaming_day.or(day), month: roaming_month.or(month) };
    Plan {
        home: Allowance { day, month },
        roaming,
        reset_day: small(reset_day),
        reserves,
        carry_over_days: small(carry_over_days),
    }
}

fn limit(reader: &mut Reader<'_>, key: &'static str, example: &str, least: u64) -> Option<u64> {
    reader
        .has(key)
        .then(|| reader.size(key, words::size(example.trim_matches('"')).unwrap_or(least), least..=MOST))
}

/// `[budget.reserves]`: percent of every limit that others leave to each purpose named.
fn reserves(reader: &mut Reader<'_>) -> Reserves {
    let mut reserves = Reserves::default();
    let Some(mut table) = reader.table("reserves") else { return reserves };
    let mut written = Vec::new();
    for purpose in Purpose::WITH_RESERVES {
        if let Some(percent) = percent(&mut table, purpose.name()) {
            reserves = reserves.with(purpose, percent);
            written.push((percent, purpose));
        }
    }
    // The largest of those that were written is the one to lower.
    if let Some((_, largest)) = written.iter().max()
        && reserves.sum() > Reserves::MOST_PERCENT
    {
        let kept = Purpose::WITH_RESERVES.into_iter().filter(|purpose| reserves.of(*purpose) > 0);
        let each: Vec<_> = kept.map(|p| format!("{} {}%", p.name(), reserves.of(p))).collect();
        table.problem(
            largest.name(),
            format!(
                "{} are {}% of the plan: too little is left for everything else.",
                each.join(", "),
                reserves.sum()
            ),
            format!("Let all reserves together be at most \"{}%\".", Reserves::MOST_PERCENT),
        );
    }
    table.finish();
    reserves
}

fn percent(reader: &mut Reader<'_>, key: &'static str) -> Option<u8> {
    let read = |text: &str| text.strip_suffix('%')?.parse::<u8>().ok().filter(|percent| *percent <= 90);
    let found = reader.text(
        key,
        "\"10%\"",
        |text| read(text).is_some(),
        "a share",
        "Write a whole number from 0 to 90 and %, such as \"10%\".",
    )?;
    read(found.value)
}
