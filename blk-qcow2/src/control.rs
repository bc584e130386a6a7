//! Choices that the driver is free to make otherwise: tests make them otherwise, from a seed, to go where the usual ones never
//! lead. Without the feature `control` this is nothing at all.

use blk_core::{Options, Result};

/// Who makes the choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Control {
    #[cfg(feature = "control")]
    state: u64,
}

impl Control {
    /// What the options say: `x-control`, a seed; 0 is the usual choices.
    #[cfg(feature = "control")]
    pub(crate) fn take(options: &mut Options) -> Result<Self> {
        Ok(Self { state: options.take_size("x-control")?.unwrap_or(0) })
    }

    /// What the options say: nothing without the feature.
    #[cfg(not(feature = "control"))]
    #[expect(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
    pub(crate) fn take(_options: &mut Options) -> Result<Self> {
        Ok(Self {})
    }

    /// One of `choices`, at least 1; 0 is the usual one.
    #[cfg(feature = "control")]
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
    #[cfg(not(feature = "control"))]
    #[inline]
    #[expect(clippy::unused_self, reason = "with the feature it has a state")]
    pub(crate) fn choose(&mut self, _choices: u64) -> u64 {
        0
    }
}
