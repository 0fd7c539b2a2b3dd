//! Which addresses are asked for in which request.
//!
//! Points of one table that lie beside each other are read with one request, within what the device takes. Invariant:
//! every point is in exactly one read, which covers all its addresses; no read asks for an address that is forbidden, or
//! for more addresses in a row that are no point than allowed.

use super::layout::Table;

/// The addresses of one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it lies.
    pub table: Table,
    /// Its first address.
    pub first: u16,
    /// How many it takes; at least 1.
    pub count: u16,
}

/// What a device takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most registers one request may read: 1 to 125.
    pub registers: u16,
    /// Most bits one request may read: 1 to 2000.
    pub bits: u16,
    /// Addresses in a row that are no point and are read along for nothing, to save a request. With 0, none: a device may
    /// answer an address that is in no manual with an exception for the whole request, and reading some registers clears
    /// them.
    pub gap: u16,
    /// Addresses that are never read, not even in a gap.
    pub forbidden: Vec<Forbidden>,
}

impl Default for Limits {
    /// What the protocol allows (6.1 to 6.4), and no gaps.
    fn default() -> Self {
        Self { registers: 125, bits: 2_000, gap: 0, forbidden: Vec::new() }
    }
}

/// Addresses that must not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// Of which table.
    pub table: Table,
    /// The first.
    pub first: u16,
    /// The last, included.
    pub last: u16,
}

/// Why there are no such reads. Points by their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadsRefused {
    /// It takes no address, or some beyond 65535.
    #[error("the value does not fit into its table")]
    NoPlace(usize),
    /// It alone is more than one request may read.
    #[error("the value is longer than what the device takes in one request")]
    TooLong(usize),
    /// It lies where nothing may be read.
    #[error("the value lies where the device must not be read")]
    Forbidden(usize),
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Of which table.
    pub table: Table,
    /// Address of the first register or bit.
    pub first: u16,
    /// How many.
    pub count: u16,
    /// What is in the answer.
    pub points: Vec<Placed>,
}

/// A point's place in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its position among the points that were given.
    pub point: usize,
    /// Registers or bits before it.
    pub offset: usize,
    /// Registers or bits of it.
    pub len: usize,
}

/// The fewest reads of these points, in the order of tables and addresses.
///
/// # Errors
/// See [`ReadsRefused`]; the first point that cannot be read.
pub fn reads(points: &[Span], limits: &Limits) -> Result<Vec<Read>, ReadsRefused> {
    let mut places = Vec::with_capacity(points.len());
    for (point, span) in points.iter().enumerate() {
        places.push(Place::of(point, *span, limits)?);
    }
    places.sort_by_key(|place| (place.table, place.first, place.end, place.point));
    let mut groups: Vec<Vec<Place>> = Vec::new();
    for place in places {
        let joins = groups.last().and_then(|group| bounds(group)).is_some_and(|(table, first, end)| {
            table == place.table
                && place.first <= end + u32::from(limits.gap)
                && place.end.max(end) - first <= limits.most(table)
                && !limits.forbid(table, end, place.first)
        });
        match groups.last_mut().filter(|_| joins) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    Ok(groups.iter().filter_map(|group| read(group)).collect())
}

impl Read {
    /// Bytes of data in the answer.
    #[must_use]
    pub fn answer_bytes(&self) -> u8 {
        let bytes = if self.table.is_bits() { self.count.div_ceil(8) } else { self.count.saturating_mul(2) };
        u8::try_from(bytes).unwrap_or(u8::MAX)
    }

    /// Two reads of half as many points each: a device that refuses the whole may not refuse both parts, and in the end
    /// only the point it does not know is without a value. `None` for a single point.
    #[must_use]
    pub fn halves(&self) -> Option<[Self; 2]> {
        let places: Vec<Place> = self
            .points
            .iter()
            .map(|placed| {
                let first = u32::from(self.first) + u32::try_from(placed.offset).unwrap_or(0);
                let end = first + u32::try_from(placed.len).unwrap_or(0);
                Place { table: self.table, first, end, point: placed.point }
            })
            .collect();
        let (low, high) = places.split_at(places.len() / 2);
        Some([read(low)?, read(high)?])
    }
}

impl Limits {
    fn most(&self, table: Table) -> u32 {
        let (asked, allowed) = if table.is_bits() { (self.bits, 2_000) } else { (self.registers, 125) };
        u32::from(asked.clamp(1, allowed))
    }

    /// Whether any address from `from` up to but without `to` is forbidden.
    fn forbid(&self, table: Table, from: u32, to: u32) -> bool {
        self.forbidden.iter().any(|range| {
            range.table == table && u32::from(range.first) < to && u32::from(range.last) >= from && from < to
        })
    }
}

/// The addresses of one point; `end` is the first behind it, which may be 65536.
#[derive(Clone, Copy)]
struct Place {
    table: Table,
    first: u32,
    end: u32,
    point: usize,
}

impl Place {
    fn of(point: usize, span: Span, limits: &Limits) -> Result<Self, ReadsRefused> {
        let (table, first, count) = (span.table, u32::from(span.first), u32::from(span.count));
        let end = first + count;
        if count == 0 || end > 65_536 {
            Err(ReadsRefused::NoPlace(point))
        } else if count > limits.most(table) {
            Err(ReadsRefused::TooLong(point))
        } else if limits.forbid(table, first, end) {
            Err(ReadsRefused::Forbidden(point))
        } else {
            Ok(Self { table, first, end, point })
        }
    }
}

fn bounds(group: &[Place]) -> Option<(Table, u32, u32)> {
    let first = group.iter().map(|place| place.first).min()?;
    let end = group.iter().map(|place| place.end).max()?;
    Some((group.first()?.table, first, end))
}

fn read(group: &[Place]) -> Option<Read> {
    let (table, first, end) = bounds(group)?;
    let points = group
        .iter()
        .map(|place| Placed {
            point: place.point,
            offset: (place.first - first) as usize,
            len: (place.end - place.first) as usize,
        })
        .collect();
    Some(Read { table, first: u16::try_from(first).ok()?, count: u16::try_from(end - first).ok()?, points })
}

#[cfg(test)]
mod tests;
