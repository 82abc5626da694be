//! Chance as a port: which of the versions behind a weighted alias an invocation meets.

use std::{
    fmt::Debug,
    sync::{Mutex, PoisonError},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Where the stack throws dice.
pub trait Dice: Send + Sync + Debug {
    /// A number of 0 or more and less than 1, each as likely as any other.
    fn roll(&self) -> f64;
}

/// Dice that fall in the same order for the same seed.
#[derive(Debug)]
pub struct SeededDice(Mutex<StdRng>);

impl SeededDice {
    /// Dice of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// Dice of a seed that nobody knows.
    pub fn unknown() -> Self {
        Self::new(rand::random())
    }
}

impl Dice for SeededDice {
    fn roll(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same() {
        let (one, other) = (SeededDice::new(7), SeededDice::new(7));
        for _ in 0..100 {
            let roll = one.roll();
            assert!((0.0..1.0).contains(&roll));
            assert_eq!(roll, other.roll());
        }
    }
}
