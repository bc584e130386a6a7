//! The schedule of a scenario, kept beside its requests: a turn for each, as far as any comes.

use std::ops::Range;

use blk_sim::random::mix;

use super::{Request, Scenario, Turn};

impl Scenario {
    /// When request number `index`, from 0, gives way.
    pub fn turn(&self, index: usize) -> Turn {
        self.schedule.get(index).copied().unwrap_or_default()
    }

    /// Has request number `index`, from 0, give way at `turn`.
    pub fn set_turn(&mut self, index: usize, turn: Turn) {
        if index >= self.schedule.len() {
            if turn.is_never() {
                return;
            }
            self.schedule.resize(index + 1, Turn::default());
        }
        self.schedule[index] = turn;
        self.trim_schedule();
    }

    /// Removes requests with their turns.
    ///
    /// # Panics
    /// If the range reaches beyond the requests.
    pub fn remove_requests(&mut self, range: Range<usize>) {
        let turns = self.schedule.len();
        self.schedule.drain(range.start.min(turns)..range.end.min(turns));
        self.requests.drain(range);
        self.trim_schedule();
    }

    /// The requests, each with its turn.
    pub fn turns(&self) -> impl Iterator<Item = (Request, Turn)> + '_ {
        self.requests.iter().enumerate().map(|(index, request)| (*request, self.turn(index)))
    }

    /// The same, without resizes to more than `size_max` bytes: a block status of nothing stands in the place
    /// of each, so that all others keep their numbers.
    pub(crate) fn turns_within(&self, size_max: u64) -> impl Iterator<Item = (Request, Turn)> + '_ {
        const NOTHING: Request = Request::Status { offset: 0, length: 0 };
        self.turns().map(move |(request, turn)| match request {
            Request::Resize { size } if size > size_max => (NOTHING, turn),
            other => (other, turn),
        })
    }

    /// A number that chooses how a scenario is judged where not all are judged alike: the same for the same
    /// requests and turns, whatever was run before.
    pub(crate) fn number(&self) -> u64 {
        self.turns().fold(mix(self.config.size_bytes), |number, (request, turn)| {
            let (offset, length) = request.range().unwrap_or_default();
            let kind = request.kind().index() as u64 | u64::from(turn.byte()) << 8;
            mix(number ^ mix(offset) ^ mix(length).rotate_left(8) ^ kind)
        })
    }

    /// Puts these requests with their turns in the place of all others.
    pub fn set_turns(&mut self, turns: Vec<(Request, Turn)>) {
        (self.requests, self.schedule) = turns.into_iter().unzip();
        self.trim_schedule();
    }

    /// Drops what says nothing: turns that never come behind the last that does, and those of no request.
    pub fn trim_schedule(&mut self) {
        self.schedule.truncate(self.requests.len());
        while self.schedule.last().is_some_and(|turn| turn.is_never()) {
            self.schedule.pop();
        }
    }
}
