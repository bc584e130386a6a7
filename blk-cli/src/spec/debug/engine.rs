//! The rules and break points of a `blkdebug` node: what fails, and what stops.
//!
//! An event makes the rules that name it *active*, in place of those that were before; an operation fails by
//! the first active rule that covers it. Rules stay active until an event with rules comes; a rule that
//! counts once is gone after it has let an operation fail. The engine has a number as its state, 1 at first,
//! which rules can ask for and set.

use std::io;

use blk_core::storage::Step;
use blk_core::sync::{Condvar, Mutex};
use blk_core::{Error, Extent, Result};

use crate::spec::breakpoints::{Breakpoints, not_found};
use crate::spec::events::EventName;
use crate::spec::rules::{InjectError, IoType, Rules, SetState};

/// The rules and break points of a node.
#[derive(Debug)]
pub(crate) struct Engine {
    state: Mutex<State>,
    /// A request has stopped, or may go on.
    changed: Condvar,
    /// Flushes are not asked for, so none fails.
    no_flush: bool,
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
    breakpoints: Vec<(EventName, String)>,
    /// Requests that have stopped, oldest first: number and tag.
    suspended: Vec<(u64, String)>,
    next_suspension: u64,
    /// How many requests that write are done, and how many were when the last flush succeeded.
    written: u64,
    flushed: u64,
}

impl State {
    /// What an event does to rules and state.
    fn apply(&mut self, step: &Step) {
        let here = |state: u64| state == 0 || state == self.number;
        let matching = self.inject.iter().filter(|(_, rule)| rule.event.is(step) && here(rule.state));
        let active: Vec<usize> = matching.map(|(number, _)| *number).collect();
        let next = self.transitions.iter().find(|rule| rule.event.is(step) && here(rule.state));
        let next = next.map_or(self.number, |rule| rule.new_state);
        if !active.is_empty() {
            self.active = active;
        }
        self.number = next;
    }

    /// Turns the break points of an event into stopped requests, the youngest first. Returns their numbers
    /// and tags.
    fn suspend(&mut self, step: &Step) -> Vec<(u64, String)> {
        let mut stopped = Vec::new();
        while let Some(at) = self.breakpoints.iter().rposition(|(of, _)| of.is(step)) {
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

impl Engine {
    /// An engine with these rules; `say` gets what is told about requests that stop and go on, a line each.
    pub(crate) fn new(rules: Rules, no_flush: bool, say: fn(&str)) -> Self {
        let mut state = State {
            number: 1,
            transitions: rules.set_state,
            inject: rules.inject.into_iter().enumerate().collect(),
            active: Vec::new(),
            breakpoints: Vec::new(),
            suspended: Vec::new(),
            next_suspension: 0,
            written: 0,
            flushed: 0,
        };
        state.apply(&Step::NONE);
        Self { state: Mutex::new(state), changed: Condvar::new(), no_flush, say }
    }

    /// Fails as an active rule says. `operation` is what it is called in the error.
    pub(crate) fn check(&self, operation: &'static str, io_type: IoType, extent: Extent) -> Result<()> {
        let failure = self.state.lock().failure(io_type, Some((extent.offset, extent.length)));
        failure.map_or(Ok(()), |errno| Err(failed(operation, extent.offset, errno)))
    }

    /// Notes that a request that writes is done, successful or not.
    pub(crate) fn wrote(&self) {
        self.state.lock().written += 1;
    }

    /// How many requests that write are done.
    pub(crate) fn written(&self) -> u64 {
        self.state.lock().written
    }

    /// As [`Engine::check`] for a flush of what `written` requests wrote. It is not one if they have been
    /// flushed before.
    pub(crate) fn check_flush(&self, written: u64) -> Result<()> {
        let mut state = self.state.lock();
        if self.no_flush || state.flushed == written {
            return Ok(());
        }
        if let Some(errno) = state.failure(IoType::Flush, None) {
            return Err(failed("flush", 0, errno));
        }
        state.flushed = written;
        Ok(())
    }

    /// Takes a step: other rules become active, and the request stops here if there is a break point.
    pub(crate) fn step(&self, step: &Step) {
        let mut state = self.state.lock();
        state.apply(step);
        let stopped = state.suspend(step);
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

impl Breakpoints for Engine {
    fn set(&self, event: &str, tag: &str) -> Result<()> {
        let event = EventName::parse(event).ok_or_else(|| not_found("break"))?;
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

fn failed(operation: &'static str, offset: u64, errno: i32) -> Error {
    Error::io(operation, offset, io::Error::from_raw_os_error(errno))
}
