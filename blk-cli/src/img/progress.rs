//! The progress line: `    (12.34/100%)` and a carriage return, so that the next one overwrites it.

use super::failure::Outcome;
use super::output;
use super::size::ratio;

/// How far a command has come, in percent.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
    percent: f64,
    last_printed: f64,
    step: f64,
}

impl Progress {
    /// Prints where `shown`, every `step` percent at most.
    pub(crate) fn new(shown: bool, step: f64) -> Outcome<Self> {
        let mut progress = Self { shown, percent: 0.0, last_printed: 0.0, step };
        progress.print()?;
        Ok(progress)
    }

    /// Whether anybody sees it.
    pub(crate) const fn is_shown(&self) -> bool {
        self.shown
    }

    /// `done` of `all` is done.
    pub(crate) fn set(&mut self, done: u64, all: u64) -> Outcome<()> {
        self.percent = if all == 0 { 100.0 } else { (ratio(done, all) * 100.0).min(100.0) };
        let is_end = self.percent >= 100.0;
        if is_end || self.percent > self.last_printed + self.step { self.print() } else { Ok(()) }
    }

    /// Everything is done.
    pub(crate) fn finish(mut self) -> Outcome<()> {
        self.set(1, 1)?;
        self.end()
    }

    /// Nothing more will be done.
    pub(crate) fn end(self) -> Outcome<()> {
        if self.shown { output::text("\n") } else { Ok(()) }
    }

    fn print(&mut self) -> Outcome<()> {
        self.last_printed = self.percent;
        if self.shown { output::text(&format!("    ({:.2}/100%)\r", self.percent)) } else { Ok(()) }
    }
}
