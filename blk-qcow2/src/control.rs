//! Choices that the driver is free to make otherwise: tests make them otherwise, from a seed, to go where the
//! usual ones never lead. Without the feature `control` this is nothing at all.

use blk_core::TypedOptions;

/// Makes the choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Control {
    #[cfg(any(test, feature = "control"))]
    state: u64,
}

impl Control {
    /// What the options say: `x-control`, a seed; 0 is the usual choices.
    #[cfg(any(test, feature = "control"))]
    pub(crate) fn of(options: &TypedOptions) -> Self {
        Self { state: options.number("x-control").unwrap_or(0) }
    }

    /// What the options say: nothing without the feature.
    #[cfg(not(any(test, feature = "control")))]
    pub(crate) fn of(_options: &TypedOptions) -> Self {
        Self {}
    }

    /// One of `choices`, at least 1; 0 is the usual one.
    #[cfg(any(test, feature = "control"))]
    pub(crate) fn choose(&mut self, choices: u64) -> u64 {
        if self.state == 0 {
            return 0;
        }
        // An xorshift generator: 0 is never reached.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        // Mostly the usual choice, so that many of a run's requests stay as they are.
        if self.state >> 60 < 12 { 0 } else { (self.state >> 20) % choices }
    }

    /// One of `choices`: the usual one.
    #[cfg(not(any(test, feature = "control")))]
    #[inline]
    #[expect(clippy::unused_self, reason = "with the feature it has a state")]
    pub(crate) fn choose(&mut self, _choices: u64) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use blk_core::Options;

    use super::*;
    use crate::options::OPEN_OPTIONS;

    fn control(options: Options) -> Control {
        Control::of(&options.typed("qcow2", OPEN_OPTIONS).unwrap())
    }

    fn choices(seed: u64, of: u64) -> Vec<u64> {
        let mut control = control(Options::new().with("x-control", seed));
        (0..1000).map(|_| control.choose(of)).collect()
    }

    /// Findings are identified by the seed: the same one makes the same choices in every version.
    #[test]
    fn a_seed_always_makes_the_same_choices() {
        let first: Vec<u64> = choices(0x1234_5678_9abc_def1, 1000).into_iter().take(24).collect();
        let expected = [159, 0, 669, 0, 0, 0, 0, 0, 0, 859, 888, 0, 0, 13, 0, 0, 450, 0, 0, 0, 0, 438, 0, 0];
        assert_eq!(first, expected);
    }

    #[test]
    fn most_choices_are_the_usual_ones() {
        assert_eq!(control(Options::new()), Control::default());
        assert!(choices(0, 4).iter().all(|choice| *choice == 0));
        for seed in [1, 0x9e37_79b9_7f4a_7c15] {
            let chosen = choices(seed, 4);
            let count = |choice| chosen.iter().filter(|chosen| **chosen == choice).count();
            assert!((750..880).contains(&count(0)), "{seed}: {}", count(0));
            assert!((1..4).all(|choice| count(choice) > 40), "{seed}");
        }
    }
}
