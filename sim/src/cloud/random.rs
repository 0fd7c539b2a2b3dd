//! Random bytes that follow from a seed.

use fieldgate_dtls::Rng;
use sha2::{Digest, Sha256};

/// SHA-256 in counter mode over the seed. The cloud's sessions never leave the machine; whoever knows the seed knows its
/// random bytes, which is the point.
pub(super) fn strong(seed: u64) -> Rng {
    let mut counter = 0_u64;
    let mut left = Vec::new();
    Box::new(move |buffer| {
        for byte in buffer {
            if left.is_empty() {
                let block = [seed.to_be_bytes(), counter.to_be_bytes()].concat();
                counter = counter.wrapping_add(1);
                left = Sha256::digest(block).to_vec();
            }
            *byte = left.pop().unwrap_or_default();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_however_they_are_drawn() {
        let draw = |seed, sizes: &[usize]| {
            let mut rng = strong(seed);
            sizes.iter().fold(Vec::new(), |mut all, size| {
                let mut part = vec![0; *size];
                rng(&mut part);
                all.extend(part);
                all
            })
        };
        assert_eq!(draw(1, &[100]), draw(1, &[1, 31, 32, 36]));
        assert_ne!(draw(1, &[32]), draw(2, &[32]));
    }
}
