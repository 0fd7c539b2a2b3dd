//! Who says what time it is, ranked (requirement D3). Pure: claims and monotonic time in, a judgement out.
//!
//! A [`Claim`] is one statement of wall time, tied to the monotonic instant it was made at. It is an interval that widens with
//! its age, because a clock that nobody corrects drifts. Each source has one: its newest word, or an earlier one that agrees with
//! it and is the more exact by now. The claim of the best rank decides. A claim of a lower rank that agrees with it
//! may only make the interval narrower; one that contradicts it is reported and never followed. Nothing below the floor, the
//! newest time that was once certain, is ever said.

use std::time::Duration;

use super::{Mono, Wall};

/// Earlier than this no wall clock of a running gateway can be: the start of the year of this release, 2026.
pub const RELEASE_FLOOR_UNIX_MS: i64 = 1_767_225_600_000;

/// How fast a clock that nobody corrects may run away, in millionths: a plain crystal over the temperatures of a cabinet.
pub const DRIFT_PPM: u64 = 50;

/// Who says it, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The system clock, as of the last time that an NTP daemon put it right.
    Ntp,
    /// The system clock, because the operator says that something keeps it right.
    Operator,
    /// The cellular network, through the modem.
    Modem,
    /// A cloud, in an answer over a verified connection.
    Cloud,
}

impl Source {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Ntp, Self::Operator, Self::Modem, Self::Cloud];

    /// One word for pages, metrics and records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ntp => "ntp",
            Self::Operator => "operator",
            Self::Modem => "modem",
            Self::Cloud => "cloud",
        }
    }

    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Ntp => "a time server",
            Self::Operator => "the operator's word",
            Self::Modem => "the cellular network",
            Self::Cloud => "a cloud",
        }
    }

    /// The source of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.word() == word)
    }
}

/// One statement of wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who says it.
    pub source: Source,
    /// Wall time at monotonic zero, unix milliseconds.
    pub offset_ms: i64,
    /// How far off that may be at `at`, either way.
    pub uncertainty_ms: u32,
    /// When it was said.
    pub at: Mono,
}

impl Claim {
    /// What `source` says at `at`: it is `unix_ms`, give or take.
    #[must_use]
    pub fn new(source: Source, at: Mono, unix_ms: i64, uncertainty_ms: u32) -> Self {
        Self { source, offset_ms: unix_ms.saturating_sub(signed(at.ms())), uncertainty_ms, at }
    }

    /// How far off it may be at `moment`, before or after it was said.
    #[must_use]
    pub fn uncertainty_at(&self, moment: Mono) -> u32 {
        let drift = drift_ms(moment.since(self.at).max(self.at.since(moment)));
        u32::try_from(u64::from(self.uncertainty_ms).saturating_add(drift)).unwrap_or(u32::MAX)
    }

    /// Whether both cannot be right: at `moment` their intervals do not meet.
    #[must_use]
    pub fn contradicts(&self, other: &Self, moment: Mono) -> bool {
        let room = u64::from(self.uncertainty_at(moment)) + u64::from(other.uncertainty_at(moment));
        self.offset_ms.abs_diff(other.offset_ms) > room
    }

    /// As wall time at `moment`.
    #[must_use]
    pub fn wall_at(&self, moment: Mono) -> Wall {
        Wall {
            unix_ms: self.offset_ms.saturating_add(signed(moment.ms())),
            uncertainty_ms: self.uncertainty_at(moment),
            trusted: true,
        }
    }
}

/// How far a clock may run away within `age`, milliseconds, rounded up.
#[must_use]
pub fn drift_ms(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX).saturating_mul(DRIFT_PPM).div_ceil(1_000_000)
}

/// Whom to follow at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What is followed, as of the moment; nothing while nobody vouches for any time.
    pub followed: Option<Claim>,
    /// The best ranked of those who cannot be right if the one followed is.
    pub contradicted_by: Option<Contradiction>,
    /// The best ranked of those who say a time that has certainly passed.
    pub in_the_past: Option<Source>,
}

/// Somebody says another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Who.
    pub source: Source,
    /// By how much it is ahead of the one followed, milliseconds.
    pub ahead_ms: i64,
}

/// The newest claim of each source, and the floor.
#[derive(Clone, Debug)]
pub struct Judge {
    floor_unix_ms: i64,
    /// By rank.
    claims: [Option<Claim>; Source::ALL.len()],
}

impl Judge {
    /// Nobody has said anything. The floor is the release's, or `persisted` where that is later.
    #[must_use]
    pub fn new(persisted_floor_unix_ms: Option<i64>) -> Self {
        let floor_unix_ms = persisted_floor_unix_ms.unwrap_or(0).max(RELEASE_FLOOR_UNIX_MS);
        Self { floor_unix_ms, claims: [None; Source::ALL.len()] }
    }

    /// Takes a claim in place of the same source's earlier one. One made earlier than that is ignored, and so is one that agrees
    /// with it and knows less.
    pub fn hear(&mut self, claim: Claim) {
        let news = |held: Claim| {
            let knows_less = claim.uncertainty_ms > held.uncertainty_at(claim.at);
            held.at <= claim.at && (!knows_less || held.contradicts(&claim, claim.at))
        };
        if let Some(held) = self.claims.get_mut(claim.source as usize)
            && held.is_none_or(news)
        {
            *held = Some(claim);
        }
    }

    /// Drops what a source said.
    pub fn forget(&mut self, source: Source) {
        if let Some(held) = self.claims.get_mut(source as usize) {
            *held = None;
        }
    }

    /// Whom to follow at `now`.
    #[must_use]
    pub fn judge(&self, now: Mono) -> Judgement {
        let mut judgement = Judgement::default();
        let mut authority: Option<Claim> = None;
        for claim in self.claims.iter().flatten() {
            let Some(claim) = self.above_floor(claim, now) else {
                judgement.in_the_past = judgement.in_the_past.or(Some(claim.source));
                continue;
            };
            let Some(first) = &authority else {
                authority = Some(claim);
                judgement.followed = Some(claim);
                continue;
            };
            if first.contradicts(&claim, now) {
                let ahead_ms = claim.offset_ms.saturating_sub(first.offset_ms);
                let contradiction = Contradiction { source: claim.source, ahead_ms };
                judgement.contradicted_by = judgement.contradicted_by.or(Some(contradiction));
            } else if judgement.followed.is_some_and(|best| claim.uncertainty_ms < best.uncertainty_ms) {
                judgement.followed = Some(claim);
            }
        }
        judgement
    }

    /// The claim as of `now`, cut off at the floor; `None` when all of it lies below.
    fn above_floor(&self, claim: &Claim, now: Mono) -> Option<Claim> {
        let aged = Claim { uncertainty_ms: claim.uncertainty_at(now), at: now, ..*claim };
        let floor_offset_ms = self.floor_unix_ms.saturating_sub(signed(now.ms()));
        if aged.offset_ms >= floor_offset_ms {
            return Some(aged);
        }
        let highest = aged.offset_ms.saturating_add(i64::from(aged.uncertainty_ms));
        let above = u64::try_from(highest.checked_sub(floor_offset_ms)?).ok()?;
        // The middle of what is left, rounded up so that it stays above the floor and covers both ends.
        let half = above.div_ceil(2);
        Some(Claim {
            offset_ms: floor_offset_ms.saturating_add(signed(half)),
            uncertainty_ms: u32::try_from(half).unwrap_or(u32::MAX),
            ..aged
        })
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Source::{Cloud, Modem, Ntp, Operator};
    use super::*;

    const NOW: Mono = Mono(3_600_000_000_000);
    const NOON: i64 = RELEASE_FLOOR_UNIX_MS + 28_000_000_000;

    fn says(source: Source, wrong_by_ms: i64, uncertainty_ms: u32) -> Claim {
        Claim::new(source, NOW, NOON + wrong_by_ms, uncertainty_ms)
    }

    fn judged(claims: &[Claim]) -> Judgement {
        let mut judge = Judge::new(None);
        claims.iter().for_each(|claim| judge.hear(*claim));
        judge.judge(NOW)
    }

    #[test]
    fn whom_to_follow_is_decided_as_the_table_says() {
        /// In words, who says what, who is followed, who contradicts.
        type Row<'a> = (&'a str, &'a [Claim], Option<Source>, Option<Source>);
        let table: &[Row<'_>] = &[
            ("nobody", &[], None, None),
            ("anybody is better than nobody", &[says(Cloud, 0, 3000)], Some(Cloud), None),
            ("the better rank", &[says(Modem, 900, 2000), says(Ntp, 0, 500)], Some(Ntp), None),
            ("a contradiction", &[says(Ntp, 0, 500), says(Modem, 9000, 2000)], Some(Ntp), Some(Modem)),
            (
                "two of three agree against the best",
                &[says(Operator, 60_000, 2000), says(Modem, 0, 2000), says(Cloud, 0, 2000)],
                Some(Operator),
                Some(Modem),
            ),
            ("agreeing and narrower", &[says(Ntp, 0, 13_000), says(Modem, 4000, 2000)], Some(Modem), None),
            (
                "as wide as both together is no contradiction",
                &[says(Ntp, 0, 500), says(Modem, 2500, 2000)],
                Some(Ntp),
                None,
            ),
            ("one more is", &[says(Ntp, 0, 500), says(Modem, 2501, 2000)], Some(Ntp), Some(Modem)),
        ];
        for (name, claims, followed, contradicted_by) in table {
            let judgement = judged(claims);
            assert_eq!(judgement.followed.map(|claim| claim.source), *followed, "{name}");
            assert_eq!(judgement.contradicted_by.map(|c| c.source), *contradicted_by, "{name}");
        }
    }

    #[test]
    fn a_claim_grows_uncertain_with_its_age_and_into_the_past_alike() {
        let claim = Claim::new(Modem, Mono(0), NOON, 2000);
        let day = Mono::from(Duration::from_secs(86_400));
        assert_eq!(claim.uncertainty_at(day), 2000 + 4320);
        let late = Claim { at: day, ..claim };
        assert_eq!(late.uncertainty_at(Mono(0)), 2000 + 4320);
        assert_eq!(claim.wall_at(day).unix_ms, NOON + 86_400_000);
    }

    #[test]
    fn what_lies_below_the_floor_is_not_followed_and_named() {
        let past = Claim::new(Ntp, NOW, 1_000, 500);
        let judgement = judged(&[past, says(Modem, 0, 2000)]);
        assert_eq!(judgement.followed.map(|claim| claim.source), Some(Modem));
        assert_eq!(judgement.in_the_past, Some(Ntp));
        assert_eq!(judgement.contradicted_by, None);
    }

    #[test]
    fn a_source_replaces_its_own_earlier_word_and_never_its_later_one() {
        let mut judge = Judge::new(None);
        judge.hear(says(Ntp, 0, 500));
        judge.hear(Claim { at: Mono(1), ..says(Ntp, -7_000, 500) });
        assert_eq!(judge.judge(NOW).followed.map(|claim| claim.offset_ms), Some(says(Ntp, 0, 0).offset_ms));
        judge.hear(says(Ntp, 10_800_000, 500));
        assert_eq!(judge.judge(NOW).followed.map(|c| c.offset_ms), Some(says(Ntp, 10_800_000, 0).offset_ms));
        judge.forget(Ntp);
        assert_eq!(judge.judge(NOW), Judgement::default());
    }

    #[test]
    fn a_wide_word_does_not_displace_an_exact_one_that_it_agrees_with() {
        let exact = says(Modem, 0, 2000);
        let hour = NOW.plus(Duration::from_secs(3600));
        let wide = Claim { at: hour, ..says(Modem, 3_000_000, 3_610_000) };
        let mut judge = Judge::new(None);
        judge.hear(exact);
        judge.hear(wide);
        let followed = judge.judge(hour).followed.unwrap();
        assert_eq!(
            (followed.offset_ms, followed.uncertainty_ms),
            (exact.offset_ms, exact.uncertainty_at(hour))
        );
        // One that it cannot be reconciled with is news, however wide.
        judge.hear(Claim { at: hour, ..says(Modem, 9_000_000, 3_610_000) });
        assert_eq!(judge.judge(hour).followed.map(|claim| claim.uncertainty_ms), Some(3_610_000));
    }

    #[test]
    fn every_source_is_found_by_its_word() {
        for source in Source::ALL {
            assert_eq!(Source::from_word(source.word()), Some(source));
        }
        assert_eq!(Source::from_word("sundial"), None);
    }

    fn any_claim() -> impl Strategy<Value = Claim> {
        (0..4_usize, -40_000_000_000_i64..40_000_000_000, any::<u16>(), 0..7_200_000_000_000_u64).prop_map(
            |(rank, off, uncertainty, at)| {
                Claim::new(Source::ALL[rank], Mono(at), NOON + off, u32::from(uncertainty))
            },
        )
    }

    proptest! {
        #[test]
        fn never_below_the_floor_and_never_out_of_nothing(
            claims in prop::collection::vec(any_claim(), 0..9),
            floor in -20_000_000_000_i64..20_000_000_000,
        ) {
            let mut judge = Judge::new(Some(NOON + floor));
            claims.iter().for_each(|claim| judge.hear(*claim));
            let now = Mono(7_200_000_000_000);
            let judgement = judge.judge(now);
            if let Some(followed) = judgement.followed {
                let wall = followed.wall_at(now);
                prop_assert!(wall.unix_ms >= (NOON + floor).max(RELEASE_FLOOR_UNIX_MS));
                prop_assert!(claims.iter().any(|claim| claim.source == followed.source));
            } else {
                prop_assert!(claims.is_empty() || judgement.in_the_past.is_some());
            }
        }

        #[test]
        fn where_all_sources_are_honest_the_truth_lies_within_what_is_said(
            errors in prop::collection::vec((0..4_usize, -1000_i64..1000, 0..1000_u32, 0..7_200_000_u64), 1..9),
            floor_age in 0..10_000_i64,
        ) {
            let (now, truth) = (Mono(7_200_000_000_000), NOON);
            let mut judge = Judge::new(Some(truth + 7_200_000 - floor_age));
            for (rank, error, slack, at_ms) in errors {
                let uncertainty = u32::try_from(error.unsigned_abs()).unwrap() + slack;
                let at = Mono(at_ms * 1_000_000);
                judge.hear(Claim::new(Source::ALL[rank], at, truth + signed(at_ms) + error, uncertainty));
            }
            let judgement = judge.judge(now);
            let wall = judgement.followed.unwrap().wall_at(now);
            let off = wall.unix_ms.abs_diff(truth + 7_200_000);
            prop_assert!(off <= u64::from(wall.uncertainty_ms), "{off} {wall:?}");
            prop_assert_eq!(judgement.contradicted_by, None);
        }

        #[test]
        fn the_newest_word_of_a_source_is_never_contradicted_nor_made_wider_by_its_earlier_ones(
            claims in prop::collection::vec(any_claim(), 1..9),
        ) {
            let mut claims = claims;
            claims.sort_by_key(|claim| claim.at);
            let mut judge = Judge::new(None);
            claims.iter().for_each(|claim| judge.hear(*claim));
            let now = Mono(7_200_000_000_000);
            for source in Source::ALL {
                let newest = claims.iter().filter(|claim| claim.source == source).max_by_key(|claim| claim.at);
                let held = judge.claims[source as usize];
                prop_assert_eq!(newest.is_some(), held.is_some());
                if let Some((newest, held)) = newest.zip(held) {
                    prop_assert!(!held.contradicts(newest, now));
                    prop_assert!(held.uncertainty_at(now) <= newest.uncertainty_at(now) + 1);
                }
            }
        }

        #[test]
        fn what_is_followed_never_contradicts_the_best_rank_there_is(
            claims in prop::collection::vec(any_claim(), 1..9),
        ) {
            let mut judge = Judge::new(None);
            claims.iter().for_each(|claim| judge.hear(*claim));
            let now = Mono(7_200_000_000_000);
            let judgement = judge.judge(now);
            let best = judge.claims.iter().flatten().find_map(|claim| judge.above_floor(claim, now));
            prop_assert_eq!(judgement.followed.is_some(), best.is_some());
            if let (Some(followed), Some(best)) = (judgement.followed, best) {
                prop_assert!(!best.contradicts(&followed, now));
                prop_assert!(followed.uncertainty_ms <= best.uncertainty_ms);
            }
        }
    }
}
