//! Makes the traces.

/// What a month is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Somewhat more than the plan pays for.
    Month,
    /// A fortnight of far more.
    Flood,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Flood => "flood",
        }
    }
}

/// A gateway at a pumping station, as a month goes: 20 streams polled every minute with a deadband, so that about a third of the values
/// goes on by day and an eighth at night; a few states and events a day; alarms in clusters of a few on every third day;
/// a few hundred lines of diagnostics a day. Twice somebody looks into a fault and leaves the diagnostics on, for four and
/// for eight days. The network fails for minutes every other day, for hours every week, and once for 31 hours. For two days the
/// station's antenna hangs on the neighbour country's mast. The management API is asked once a day. The power fails twice.
///
/// In a flood somebody has every value sent, without its deadband, for the second fortnight, and leaves the diagnostics on: many
/// times what the plan pays for.
pub(crate) fn make(kind: Kind, seed: u64) -> String {
    let mut random = Random(seed);
    let mut lines = vec![
        format!(
            "# A month of a gateway, made by: cargo run --example spend_month -- --make {} SEED, which says how it was made.",
            kind.word()
        ),
        format!("# Seed {seed}. Nothing was changed by hand. Lines: see Trace::read there."),
    ];
    for hour in 0..720u32 {
        let (day, of_day) = (hour / 24, hour % 24);
        let busy = (6..20).contains(&of_day);
        let flooded = kind == Kind::Flood && (14..28).contains(&day);
        let telemetry = match (flooded, busy) {
            (true, _) => 2400 + random.below(100),
            (false, true) => 340 + random.below(120),
            (false, false) => 120 + random.below(60),
        };
        let left_on = (5..9).contains(&day) || (14..22).contains(&day) || flooded;
        let diagnostics = if left_on { 330 + random.below(120) } else { random.below(30) };
        lines.push(format!("hour {hour} {telemetry} {} {diagnostics}", random.below(8)));
    }
    for day in 0..30u32 {
        let at = |random: &mut Random| day * 1440 + random.below(1440);
        for _ in 0..4 + random.below(12) {
            lines.push(format!("event {} 1", at(&mut random)));
        }
        if random.below(3) == 0 {
            let begins = at(&mut random);
            for _ in 0..3 + random.below(12) {
                lines.push(format!("alarm {} 1", (begins + random.below(90)).min(43_199)));
            }
        }
        if random.below(2) == 0 {
            let begins = at(&mut random);
            lines.push(format!("outage {begins} {}", begins + 2 + random.below(20)));
        }
        if day % 7 == 3 {
            let begins = at(&mut random);
            lines.push(format!("outage {begins} {}", begins + 60 + random.below(300)));
        }
        lines.push(format!("rest {} {}", at(&mut random), 9_000 + random.below(3_000)));
    }
    lines.push(format!("outage {} {}", 11 * 1440 + 300, 11 * 1440 + 300 + 31 * 60));
    lines.push(format!("roaming {} {}", 24 * 1440 + 600, 26 * 1440 + 600));
    lines.push(format!("restart {}", 8 * 1440 + random.below(1440)));
    lines.push(format!("restart {}", 19 * 1440 + random.below(1440)));
    lines.join("\n")
}

/// SplitMix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        u32::try_from(z % u64::from(n.max(1))).unwrap_or(0)
    }
}
