//! `[budget]`: the data plan.
//!
//! Nothing here may be changed remotely: a cloud that could raise a budget could spend the operator's money.

use crate::config::model::{Allowance, Plan};
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
    let (alarm_percent, management_percent) = reserves(&mut reader);
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
        alarm_percent,
        management_percent,
        carry_over_days: small(carry_over_days),
    }
}

fn limit(reader: &mut Reader<'_>, key: &'static str, example: &str, least: u64) -> Option<u64> {
    reader
        .has(key)
        .then(|| reader.size(key, words::size(example.trim_matches('"')).unwrap_or(least), least..=MOST))
}

/// `[budget.reserves]`: percent of every limit that only alarms, or only management and the session, may use.
fn reserves(reader: &mut Reader<'_>) -> (u8, u8) {
    const DEFAULT: u8 = 10;
    let Some(mut table) = reader.table("reserves") else { return (DEFAULT, DEFAULT) };
    let alarm = percent(&mut table, "alarm").unwrap_or(DEFAULT);
    let management = percent(&mut table, "management").unwrap_or(DEFAULT);
    if u32::from(alarm) + u32::from(management) > 90 {
        table.problem(
            "alarm",
            format!("{alarm}% for alarms and {management}% for management leave too little for readings."),
            "Let both together be at most \"90%\".",
        );
    }
    table.finish();
    (alarm, management)
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
