//! Rows as people read them: columns as wide as their widest cell, and when something was recorded.

use std::fmt::Write as _;

use crate::store::gateway::Stamp;
use crate::store::gateway::reader::Boots;

/// Stands behind a time that is counted from a boot; explained below the table.
const NEVER_DATED: &str = " *";

/// The titles and the rows, and what an asterisk means if there is one.
pub(super) fn write<const N: usize>(text: &mut String, titles: [&str; N], rows: &[[String; N]]) {
    let titles = titles.map(str::to_owned);
    let mut widths = [0usize; N];
    let lines = || std::iter::once(&titles).chain(rows);
    for row in lines() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in lines() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if rows.iter().flatten().any(|cell| cell.ends_with(NEVER_DATED)) {
        let _ = writeln!(
            text,
            "* nothing has vouched for the clock of that boot: the time is counted from the machine's start"
        );
    }
}

/// Wall time with its uncertainty where the time of that boot is known, then or since; else the boot and the time within it.
pub(super) fn when(at: Stamp, boots: &Boots) -> String {
    let dated = boots.dated(at);
    let stamp = dated.and_then(|(ms, _)| jiff::Timestamp::from_millisecond(ms).ok());
    let Some(stamp) = stamp else {
        return format!("boot {} + {} s{NEVER_DATED}", at.boot, at.mono_ms / 1000);
    };
    let time = stamp.strftime("%Y-%m-%d %H:%M:%SZ");
    // Seconds are shown: less than half of one is not worth a word.
    match dated.and_then(|(_, within)| within) {
        Some(within) if within >= 500 => format!("{time} ± {} s", within.div_ceil(1000)),
        Some(_) | None => time.to_string(),
    }
}
