//! Random bits that can be had again.

use std::sync::Mutex;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::locked;
use crate::ids::Random;

/// Random bits that depend on a seed and on nothing else.
#[derive(Debug)]
pub struct SeededRandom {
    generator: Mutex<StdRng>,
}

impl SeededRandom {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { generator: Mutex::new(StdRng::seed_from_u64(seed)) }
    }
}

impl Random for SeededRandom {
    fn bits(&self) -> u128 {
        let mut generator = locked(&self.generator);
        u128::from(generator.next_u64()) << 64 | u128::from(generator.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_bits_and_others_do_not() {
        let bits = |seed| SeededRandom::new(seed).bits();
        assert_eq!(bits(7), bits(7));
        assert_ne!(bits(7), bits(8));
    }
}
