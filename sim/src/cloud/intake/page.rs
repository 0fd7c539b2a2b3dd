//! Sixty-four neighbouring sequences of one stream, without room for those that never came.

/// What is kept of one identity, in 16 bytes. The meaning of `bits` and `kind` is the ledger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) bits: u64,
    pub(super) kind: u8,
    pub(super) quality: u8,
    pub(super) copies: u16,
    /// The message that brought it last, by its place among the arrivals.
    pub(super) message: u32,
}

/// Invariant: `cells` has one entry for every bit of `present`, in their order.
#[derive(Debug, Default)]
pub(super) struct Page {
    present: u64,
    cells: Vec<Cell>,
}

impl Page {
    pub(super) const SIZE: u64 = 64;

    pub(super) fn get(&self, slot: u32) -> Option<&Cell> {
        (self.present >> slot & 1 == 1).then(|| self.cells.get(self.rank(slot)))?
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Cell> {
        let rank = self.rank(slot);
        (self.present >> slot & 1 == 1).then(|| self.cells.get_mut(rank))?
    }

    /// Adds a cell where there is none; `slot` below 64.
    pub(super) fn insert(&mut self, slot: u32, cell: Cell) {
        let rank = self.rank(slot).min(self.cells.len());
        self.cells.insert(rank, cell);
        self.present |= 1 << slot;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Cell)> {
        (0..64).filter(|slot| self.present >> slot & 1 == 1).zip(&self.cells)
    }

    /// For the promise on memory.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.cells.capacity() * std::mem::size_of::<Cell>()
    }

    fn rank(&self, slot: u32) -> usize {
        (self.present & ((1 << slot) - 1)).count_ones() as usize
    }
}
