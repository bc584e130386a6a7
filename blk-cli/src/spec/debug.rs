//! `blkdebug`: a storage that lets operations fail as [`Rules`] say, and stops requests at break points.
//!
//! An event of the driver above makes the rules that name it *active*, in place of those that were before; an operation fails
//! by the first active rule that covers it. Rules stay active until an event with rules comes; a rule that counts once is gone
//! after it has let an operation fail. The engine has a number as its state, 1 at first, which rules can ask for and set.

use std::io::{self, Write as _};
use std::sync::Arc;

use blk_core::storage::{Event, PassThrough};
use blk_core::sync::{Condvar, Mutex};
use blk_core::{Error, Extent, Result, Storage, StorageRun};

use super::breakpoints::{Breakpoints, not_found};
use super::rules::{InjectError, IoType, Rules, SetState};

/// A storage with rules over another one.
#[derive(Debug)]
pub(crate) struct DebugStorage {
    inner: Arc<dyn Storage>,
    state: Mutex<State>,
    /// A request has stopped, or may go on.
    changed: Condvar,
    say: fn(&str),
}

#[derive(Debug)]
struct State {
    number: u64,
    transitions: Vec<SetState>,
    /// Each rule with a number of its own.
    inject: Vec<(usize, InjectError)>,
    /// Numbers of the rules that operations are held against, in their order.
    active: Vec<usize>,
    /// Event and tag, in the order of their making.
    breakpoints: Vec<(Event, String)>,
    /// Requests that have stopped, oldest first: number and tag.
    suspended: Vec<(u64, String)>,
    next_suspension: u64,
}

impl State {
    /// What an event does to rules and state.
    fn apply(&mut self, event: Event) {
        let here = |state: u64| state == 0 || state == self.number;
        let matching = self.inject.iter().filter(|(_, rule)| rule.event == event && here(rule.state));
        let active: Vec<usize> = matching.map(|(number, _)| *number).collect();
        let next = self.transitions.iter().find(|rule| rule.event == event && here(rule.state));
        let next = next.map_or(self.number, |rule| rule.new_state);
        if !active.is_empty() {
            self.active = active;
        }
        self.number = next;
    }

    /// Turns the break points of an event into stopped requests, the youngest first. Returns their numbers and tags.
    fn suspend(&mut self, event: Event) -> Vec<(u64, String)> {
        let mut stopped = Vec::new();
        while let Some(at) = self.breakpoints.iter().rposition(|(of, _)| *of == event) {
            let (_, tag) = self.breakpoints.remove(at);
            stopped.push((self.next_suspension, tag));
            self.next_suspension += 1;
        }
        self.suspended.extend(stopped.iter().cloned());
        stopped
    }

    /// How an operation fails, if a rule says so.
    fn failure(&mut self, io_type: IoType, range: Option<(u64, u64)>) -> Option<i32> {
        let inject = &self.inject;
        let rule = |number: usize| inject.iter().find(|(own, _)| *own == number).map(|(_, rule)| *rule);
        let (number, rule) = self
            .active
            .iter()
            .filter_map(|&number| rule(number).map(|rule| (number, rule)))
            .find(|(_, rule)| rule.covers(io_type, range))?;
        if rule.once {
            self.active.retain(|other| *other != number);
            self.inject.retain(|(other, _)| *other != number);
        }
        (rule.errno != 0).then_some(rule.errno)
    }
}

impl DebugStorage {
    /// Puts rules before `inner`; `say` gets what is told about requests that stop and go on, a line each.
    pub(crate) fn new(inner: Arc<dyn Storage>, rules: Rules, say: fn(&str)) -> Self {
        let mut state = State {
            number: 1,
            transitions: rules.set_state,
            inject: rules.inject.into_iter().enumerate().collect(),
            active: Vec::new(),
            breakpoints: Vec::new(),
            suspended: Vec::new(),
            next_suspension: 0,
        };
        state.apply(Event::None);
        Self { inner, state: Mutex::new(state), changed: Condvar::new(), say }
    }

    fn check(&self, operation: &'static str, io_type: IoType, extent: Option<Extent>) -> Result<()> {
        let range = extent.map(|extent| (extent.offset, extent.length));
        match self.state.lock().failure(io_type, range) {
            None => Ok(()),
            Some(errno) => {
                let offset = extent.map_or(0, |extent| extent.offset);
                Err(Error::io(operation, offset, io::Error::from_raw_os_error(errno)))
            }
        }
    }

    fn zero(&self, extent: Extent, zero: impl FnOnce() -> Result<()>) -> Result<()> {
        PassThrough::event(self, Event::PwritevZero);
        self.check("zero", IoType::WriteZeroes, Some(extent))?;
        zero()?;
        PassThrough::event(self, Event::PwritevDone);
        Ok(())
    }

    /// Lets the stopped requests at `tag` go on: all, or the oldest. Returns whether there was one.
    fn release(&self, state: &mut State, tag: &str, all: bool) -> bool {
        let mut found = false;
        while let Some(at) = state.suspended.iter().position(|(_, of)| of == tag) {
            state.suspended.remove(at);
            (self.say)(&format!("blkdebug: Resuming request '{tag}'"));
            found = true;
            if !all {
                break;
            }
        }
        self.changed.notify_all();
        found
    }
}

/// Writes a line to standard output at once; nobody may be there to read it.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

impl PassThrough for DebugStorage {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check("read", IoType::Read, Some(Extent::new(offset, buf.len() as u64)))?;
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        PassThrough::event(self, Event::Pwritev);
        self.check("write", IoType::Write, Some(Extent::new(offset, buf.len() as u64)))?;
        self.inner.write_at(offset, buf)?;
        PassThrough::event(self, Event::PwritevDone);
        Ok(())
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.zero(extent, || self.inner.write_zeroes_at(extent))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.check("punch", IoType::Discard, Some(extent))?;
        self.inner.punch_hole(extent)
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        self.zero(extent, || self.inner.zero_fast(extent, unmap))
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.check("block status", IoType::BlockStatus, Some(Extent::new(offset, 1)))?;
        self.inner.run_at(offset)
    }

    fn sync(&self) -> Result<()> {
        self.check("sync", IoType::Flush, None)?;
        self.inner.sync()
    }

    fn event(&self, event: Event) {
        let mut state = self.state.lock();
        state.apply(event);
        let stopped = state.suspend(event);
        for (_, tag) in &stopped {
            (self.say)(&format!("blkdebug: Suspended request '{tag}'"));
        }
        if !stopped.is_empty() {
            self.changed.notify_all();
        }
        while stopped.iter().any(|mine| state.suspended.contains(mine)) {
            self.changed.wait(&mut state);
        }
    }
}

impl Breakpoints for DebugStorage {
    fn set(&self, event: &str, tag: &str) -> Result<()> {
        let event = event.parse().map_err(|_| not_found("break"))?;
        self.state.lock().breakpoints.push((event, tag.to_owned()));
        Ok(())
    }

    fn remove(&self, tag: &str) -> Result<()> {
        let mut state = self.state.lock();
        let before = state.breakpoints.len();
        state.breakpoints.retain(|(_, of)| of != tag);
        let found = state.breakpoints.len() < before;
        self.release(&mut state, tag, true);
        if found { Ok(()) } else { Err(not_found("remove_break")) }
    }

    fn resume(&self, tag: &str) -> Result<()> {
        if self.release(&mut self.state.lock(), tag, false) { Ok(()) } else { Err(not_found("resume")) }
    }

    fn is_suspended(&self, tag: &str) -> bool {
        self.state.lock().suspended.iter().any(|(_, of)| of == tag)
    }

    fn wait_suspended(&self, tag: &str) {
        let mut state = self.state.lock();
        while !state.suspended.iter().any(|(_, of)| of == tag) {
            self.changed.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests;
