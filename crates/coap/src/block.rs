//! The Block1 and Block2 option value (RFC 7959 §2.2): NUM, M and SZX packed into at most 24 bits.
//!
//! Own codec: the numbers go up to 2^20 - 1, beyond what 16-bit helpers can hold. A [`Block`] cannot hold an
//! illegal value, so code that has one never checks again.

use core::fmt;

/// The size exponent of a block, 0..=6; the block is `16 << szx` bytes long. 7 is reserved and has no value here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Szx(u8);

impl Szx {
    /// 16-byte blocks, the smallest.
    pub const B16: Szx = Szx(0);
    /// 32-byte blocks.
    pub const B32: Szx = Szx(1);
    /// 64-byte blocks.
    pub const B64: Szx = Szx(2);
    /// 128-byte blocks.
    pub const B128: Szx = Szx(3);
    /// 256-byte blocks.
    pub const B256: Szx = Szx(4);
    /// 512-byte blocks.
    pub const B512: Szx = Szx(5);
    /// 1024-byte blocks, the largest.
    pub const B1024: Szx = Szx(6);

    /// `None` for the reserved 7 and anything larger.
    #[must_use]
    pub const fn new(exponent: u8) -> Option<Szx> {
        if exponent <= 6 { Some(Szx(exponent)) } else { None }
    }

    /// The exponent on the wire, 0..=6.
    #[must_use]
    pub const fn exponent(self) -> u8 {
        self.0
    }

    /// Block length in bytes, 16..=1024.
    #[must_use]
    pub const fn size(self) -> usize {
        16 << self.0
    }
}

/// One Block1 or Block2 option value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    num: u32,
    more: bool,
    szx: Szx,
}

impl Block {
    /// The largest block number, 2^20 - 1.
    pub const MAX_NUM: u32 = (1 << 20) - 1;

    /// `None` when `num` does not fit 20 bits.
    #[must_use]
    pub const fn new(num: u32, more: bool, szx: Szx) -> Option<Block> {
        if num <= Self::MAX_NUM { Some(Block { num, more, szx }) } else { None }
    }

    /// The block a body offset (bytes) falls on; `None` when the offset is not on a block boundary or too far.
    #[must_use]
    pub fn at_offset(offset: usize, more: bool, szx: Szx) -> Option<Block> {
        if !offset.is_multiple_of(szx.size()) {
            return None;
        }
        Block::new(u32::try_from(offset / szx.size()).ok()?, more, szx)
    }

    /// Block number, counted in blocks of this value's size.
    #[must_use]
    pub const fn num(self) -> u32 {
        self.num
    }

    /// Whether more blocks follow.
    #[must_use]
    pub const fn more(self) -> bool {
        self.more
    }

    /// Size exponent.
    #[must_use]
    pub const fn szx(self) -> Szx {
        self.szx
    }

    /// Block length in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        self.szx.size()
    }

    /// Where the block starts in the body, in bytes. Below 2^30, so it fits every supported target.
    #[must_use]
    pub const fn offset(self) -> usize {
        (self.num as usize) << (4 + self.szx.0)
    }

    /// Reads an option value of 0..=3 bytes; missing leading bytes are zero.
    ///
    /// # Errors
    /// [`BadBlock::Length`] above three bytes, [`BadBlock::ReservedSize`] for SZX 7.
    pub fn decode(value: &[u8]) -> Result<Block, BadBlock> {
        if value.len() > 3 {
            return Err(BadBlock::Length);
        }
        let raw = value.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let szx = Szx::new((raw & 0x07) as u8).ok_or(BadBlock::ReservedSize)?;
        Ok(Block { num: raw >> 4, more: raw & 0x08 != 0, szx })
    }

    /// The shortest option value: 0 to 3 bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let raw = self.num << 4 | u32::from(self.more) << 3 | u32::from(self.szx.0);
        raw.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
    }

    /// The part of `body` this block covers, and the block with M set to whether more follows; `None` when it starts
    /// at or beyond the end (block 0 of an empty body exists).
    #[must_use]
    pub fn cut(self, body: &[u8]) -> Option<(Block, &[u8])> {
        let start = self.offset();
        if start >= body.len() && self.num != 0 {
            return None;
        }
        let end = body.len().min(start + self.size());
        let more = end < body.len();
        Some((Block { more, ..self }, body.get(start..end)?))
    }
}

impl fmt::Debug for Block {
    /// The notation of RFC 7959 §3: `num/more/size`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.num, u8::from(self.more), self.size())
    }
}

/// Why an option value is not a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBlock {
    /// More than three bytes.
    #[error("a Block option is longer than 3 bytes; the peer does not follow RFC 7959")]
    Length,
    /// SZX 7.
    #[error("a Block option uses the reserved size exponent 7; the peer does not follow RFC 7959")]
    ReservedSize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_upload_in_1024_byte_blocks_has_the_bytes_seen_on_the_wire() {
        let body = [0u8; 3666];
        let mut seen = Vec::new();
        let mut offset = 0;
        while offset < body.len() {
            let (block, part) = Block::at_offset(offset, false, Szx::B1024).unwrap().cut(&body).unwrap();
            seen.push(block.encode());
            offset += part.len();
        }
        assert_eq!(seen, [vec![0x0e], vec![0x1e], vec![0x2e], vec![0x36]]);
    }

    #[test]
    fn the_first_download_request_is_one_byte_06() {
        assert_eq!(Block::new(0, false, Szx::B1024).unwrap().encode(), [0x06]);
        assert_eq!(Block::new(0, false, Szx::B16).unwrap().encode(), [0u8; 0]);
        assert_eq!(Block::decode(&[]).unwrap(), Block::new(0, false, Szx::B16).unwrap());
    }

    #[test]
    fn numbers_above_16_bits_use_three_bytes() {
        let block = Block::new(5000, true, Szx::B1024).unwrap();
        assert_eq!(block.encode(), [0x01, 0x38, 0x8e]);
        assert_eq!(Block::decode(&[0x01, 0x38, 0x8e]), Ok(block));
        assert_eq!(block.offset(), 5000 * 1024);
        assert_eq!(Block::new(Block::MAX_NUM, true, Szx::B1024).unwrap().encode(), [0xff, 0xff, 0xfe]);
    }

    #[test]
    fn the_reserved_size_and_a_fourth_byte_are_refused() {
        assert_eq!(Block::decode(&[0x07]), Err(BadBlock::ReservedSize));
        assert_eq!(Block::decode(&[0, 0, 0, 6]), Err(BadBlock::Length));
        assert_eq!(Szx::new(7), None);
        assert_eq!(Block::new(Block::MAX_NUM + 1, false, Szx::B16), None);
    }

    #[test]
    fn cutting_stops_at_the_end_of_the_body() {
        let body = [7u8; 48];
        let at = |num| Block::new(num, false, Szx::B32).unwrap().cut(&body).map(|(b, p)| (b.more(), p.len()));
        assert_eq!(at(0), Some((true, 32)));
        assert_eq!(at(1), Some((false, 16)));
        assert_eq!(at(2), None);
        assert_eq!(Block::new(0, true, Szx::B32).unwrap().cut(&[]).map(|(b, _)| b.more()), Some(false));
    }

    proptest! {
        #[test]
        fn every_block_survives_a_round_trip(num in 0..=Block::MAX_NUM, more: bool, szx in 0u8..=6) {
            let block = Block::new(num, more, Szx::new(szx).unwrap()).unwrap();
            prop_assert_eq!(Block::decode(&block.encode()), Ok(block));
            prop_assert_eq!(Block::at_offset(block.offset(), more, block.szx()), Some(block));
        }
    }
}
