//! Message ids that do not repeat within EXCHANGE_LIFETIME (RFC 7252 §4.4).
//!
//! Ids are handed out in order. Use is remembered by pages of 256 ids, so 65536 ids cost 256 stamps: a page is entered
//! only when its last use is a lifetime ago.

use core::time::Duration;

const PAGES: usize = 256;

#[derive(Debug)]
pub(crate) struct MessageIds {
    next: u16,
    last_use: Vec<Option<Duration>>,
}

impl MessageIds {
    pub(crate) fn new(first: u16) -> MessageIds {
        MessageIds { next: first, last_use: vec![None; PAGES] }
    }

    /// The id [`take`](Self::take) would hand out.
    pub(crate) fn peek(&self) -> u16 {
        self.next
    }

    /// The next id, or `None` until [`free_at`](Self::free_at).
    pub(crate) fn take(&mut self, now: Duration, lifetime: Duration) -> Option<u16> {
        if self.free_at(lifetime).is_some_and(|at| now < at) {
            return None;
        }
        let id = self.next;
        if let Some(stamp) = self.last_use.get_mut(usize::from(id >> 8)) {
            *stamp = Some(now);
        }
        self.next = id.wrapping_add(1);
        Some(id)
    }

    /// When the next id may be used; `None` for at once.
    pub(crate) fn free_at(&self, lifetime: Duration) -> Option<Duration> {
        if self.next & 0xff != 0 {
            return None;
        }
        let used = (*self.last_use.get(usize::from(self.next >> 8))?)?;
        Some(used.saturating_add(lifetime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(247);

    #[test]
    fn an_id_is_not_handed_out_twice_within_its_lifetime() {
        let mut ids = MessageIds::new(0xfff0);
        let mut seen = std::collections::BTreeSet::new();
        while let Some(id) = ids.take(Duration::from_secs(5), LIFETIME) {
            assert!(seen.insert(id), "{id} came twice");
        }
        assert!(seen.len() >= 65536 - 256, "only {} ids", seen.len());
        let free = ids.free_at(LIFETIME).unwrap();
        assert_eq!(free, Duration::from_secs(5) + LIFETIME);
        assert_eq!(ids.take(free - Duration::from_millis(1), LIFETIME), None);
        assert!(ids.take(free, LIFETIME).is_some());
    }

    #[test]
    fn counting_goes_on_where_the_seed_says_and_wraps() {
        let mut ids = MessageIds::new(u16::MAX);
        assert_eq!(ids.peek(), u16::MAX);
        assert_eq!(ids.take(Duration::ZERO, LIFETIME), Some(u16::MAX));
        assert_eq!(ids.take(Duration::ZERO, LIFETIME), Some(0));
    }
}
