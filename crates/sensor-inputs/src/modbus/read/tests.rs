use super::*;
use proptest::prelude::*;

fn span(table: Table, first: u16, count: u16) -> Span {
    Span { table, first, count }
}

fn gap(gap: u16) -> Limits {
    Limits { gap, ..Limits::default() }
}

/// Table, first address, count; position and offset of each point.
type Shape = (Table, u16, u16, Vec<(usize, usize)>);

fn shape(reads: &[Read]) -> Vec<Shape> {
    let places = |r: &Read| r.points.iter().map(|p| (p.point, p.offset)).collect();
    reads.iter().map(|r| (r.table, r.first, r.count, places(r))).collect()
}

#[test]
fn neighbours_are_one_read_and_each_knows_its_place() {
    let points = [
        span(Table::Holding, 12, 2),
        span(Table::Input, 12, 1),
        span(Table::Holding, 10, 2),
        span(Table::Holding, 11, 1),
        span(Table::Coil, 3, 1),
    ];
    assert_eq!(
        shape(&reads(&points, &gap(0)).unwrap()),
        [
            (Table::Input, 12, 1, vec![(1, 0)]),
            (Table::Holding, 10, 4, vec![(2, 0), (3, 1), (0, 2)]),
            (Table::Coil, 3, 1, vec![(4, 0)]),
        ]
    );
}

#[test]
fn addresses_that_are_no_point_are_read_only_as_far_as_the_gap_allows() {
    let points = [0, 3, 7].map(|first| span(Table::Holding, first, 1));
    assert_eq!(reads(&points, &gap(0)).unwrap().len(), 3);
    assert_eq!(
        shape(&reads(&points, &gap(2)).unwrap()),
        [(Table::Holding, 0, 4, vec![(0, 0), (1, 3)]), (Table::Holding, 7, 1, vec![(2, 0)])]
    );
    assert_eq!(reads(&points, &gap(3)).unwrap().len(), 1);
}

#[test]
fn a_forbidden_address_in_a_gap_parts_two_reads() {
    let points = [0, 4].map(|first| span(Table::Holding, first, 1));
    let forbid = |table, first, last| Limits { forbidden: vec![Forbidden { table, first, last }], ..gap(8) };
    assert_eq!(reads(&points, &gap(8)).unwrap().len(), 1);
    assert_eq!(reads(&points, &forbid(Table::Holding, 2, 2)).unwrap().len(), 2);
    assert_eq!(reads(&points, &forbid(Table::Input, 2, 2)).unwrap().len(), 1, "of another table");
    assert_eq!(reads(&points, &forbid(Table::Holding, 5, 9)).unwrap().len(), 1, "behind the last");
    assert_eq!(reads(&points, &forbid(Table::Holding, 3, 4)), Err(ReadsRefused::Forbidden(1)));
}

#[test]
fn a_device_that_takes_little_is_asked_for_little() {
    let points: Vec<_> = (0..10).map(|n| span(Table::Input, n * 2, 2)).collect();
    let limits = Limits { registers: 5, ..Limits::default() };
    let counts: Vec<_> = reads(&points, &limits).unwrap().iter().map(|read| read.count).collect();
    assert_eq!(counts, [4; 5], "a value is never cut");
    let limits = Limits { registers: 1, ..Limits::default() };
    assert_eq!(reads(&points, &limits), Err(ReadsRefused::TooLong(0)));
}

#[test]
fn the_last_address_can_be_read_and_no_further() {
    let points = [span(Table::Input, 65_532, 4), span(Table::Coil, 65_535, 1)];
    assert_eq!(
        shape(&reads(&points, &gap(9)).unwrap()),
        [(Table::Input, 65_532, 4, vec![(0, 0)]), (Table::Coil, 65_535, 1, vec![(1, 0)])]
    );
    assert_eq!(reads(&[span(Table::Input, 65_533, 4)], &gap(0)), Err(ReadsRefused::NoPlace(0)));
    assert_eq!(reads(&[span(Table::Input, 0, 0)], &gap(0)), Err(ReadsRefused::NoPlace(0)));
}

#[test]
fn a_refused_read_is_halved_down_to_single_points() {
    let points: Vec<_> = (0..3).map(|n| span(Table::Holding, n * 2, 2)).collect();
    let whole = reads(&points, &gap(0)).unwrap().remove(0);
    let [low, high] = whole.halves().unwrap();
    assert_eq!(shape(std::slice::from_ref(&low)), [(Table::Holding, 0, 2, vec![(0, 0)])]);
    assert_eq!(shape(std::slice::from_ref(&high)), [(Table::Holding, 2, 4, vec![(1, 0), (2, 2)])]);
    assert_eq!(low.halves(), None);
    assert_eq!(shape(&high.halves().unwrap())[1], (Table::Holding, 4, 2, vec![(2, 0)]));
}

fn any_table() -> impl Strategy<Value = Table> {
    prop_oneof![Just(Table::Input), Just(Table::Holding), Just(Table::Coil), Just(Table::Discrete)]
}

fn any_span() -> impl Strategy<Value = Span> {
    let first = prop_oneof![0u16..300, 65_400u16..=65_532];
    (any_table(), first, 1u16..=4)
        .prop_map(|(table, first, count)| span(table, first, if table.is_bits() { 1 } else { count }))
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let forbidden = (any_table(), 0u16..300, 0u16..20).prop_map(|(table, first, len)| Forbidden {
        table,
        first,
        last: first + len,
    });
    (4u16..=125, 1u16..=2_000, 0u16..12, prop::collection::vec(forbidden, 0..5))
        .prop_map(|(registers, bits, gap, forbidden)| Limits { registers, bits, gap, forbidden })
}

/// Every address of a span.
fn addresses(span: &Span) -> impl Iterator<Item = u32> {
    u32::from(span.first)..u32::from(span.first) + u32::from(span.count)
}

proptest! {
    #[test]
    fn every_point_is_read_once_where_it_lies_and_nothing_that_must_not_be(
        spans in prop::collection::vec(any_span(), 0..80), limits in any_limits(),
    ) {
        let is_forbidden = |table, address: u32| limits.forbidden.iter().any(|range| {
            range.table == table && (u32::from(range.first)..=u32::from(range.last)).contains(&address)
        });
        let allowed: Vec<Span> =
            spans.into_iter().filter(|span| !addresses(span).any(|at| is_forbidden(span.table, at))).collect();
        let mut seen = vec![0; allowed.len()];
        for read in reads(&allowed, &limits).unwrap() {
            let most = if read.table.is_bits() { limits.bits } else { limits.registers };
            prop_assert!((1..=most).contains(&read.count));
            let mut asked_for = vec![false; usize::from(read.count)];
            for placed in &read.points {
                let span = &allowed[placed.point];
                seen[placed.point] += 1;
                prop_assert_eq!(span.table, read.table);
                prop_assert_eq!(usize::from(span.first), usize::from(read.first) + placed.offset);
                prop_assert_eq!(placed.len, usize::from(span.count));
                asked_for[placed.offset..placed.offset + placed.len].fill(true);
            }
            let mut in_a_row = 0;
            for (offset, wanted) in asked_for.into_iter().enumerate() {
                prop_assert!(!is_forbidden(read.table, u32::from(read.first) + offset as u32));
                in_a_row = if wanted { 0 } else { in_a_row + 1 };
                prop_assert!(in_a_row <= limits.gap);
            }
        }
        prop_assert!(seen.iter().all(|n| *n == 1));
    }

    #[test]
    fn no_two_reads_could_have_been_one(
        firsts in prop::collection::vec(0u16..400, 1..60), registers in 1u16..=125, gap in 0u16..6,
    ) {
        let limits = Limits { registers, gap, ..Limits::default() };
        let spans: Vec<_> = firsts.into_iter().map(|first| span(Table::Holding, first, 1)).collect();
        let reads = reads(&spans, &limits).unwrap();
        for pair in reads.windows(2) {
            let (low_end, high_end) = (pair[0].first + pair[0].count, pair[1].first + pair[1].count);
            let between = pair[1].first - low_end;
            prop_assert!(between > gap || high_end - pair[0].first > registers);
        }
    }

    #[test]
    fn halving_loses_no_point(spans in prop::collection::vec(any_span(), 1..60)) {
        let mut open = reads(&spans, &gap(3)).unwrap();
        let mut singles = Vec::new();
        while let Some(read) = open.pop() {
            match read.halves() {
                Some(halves) => open.extend(halves),
                None => singles.push(read),
            }
        }
        prop_assert_eq!(singles.len(), spans.len());
        for single in singles {
            let span = &spans[single.points[0].point];
            prop_assert_eq!((single.first, single.count), (span.first, span.count));
        }
    }
}
