//! Requests in flight from threads: for a driver that is in another process, where no scheduler of ours is.

use std::panic::resume_unwind;

use blk_core::Disk;
use blk_core::sync::Mutex;
use blk_sim::progress;

use super::drive::drive_after;
use super::{Run, caught};
use crate::relay::Relay;

/// Leaves, also when what runs between panics.
struct Leaving<'a>(&'a Relay, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

impl Run<'_> {
    /// Makes the requests that wait, in `count` lanes that take turns by `relay`.
    pub(super) fn in_threads(&self, relay: &Relay, disk: &Disk, count: usize) {
        let (checker, fill_bytes, panic) = (&*self.checker, self.images.fill_bytes(), Mutex::new(None));
        let watched_by = progress::current();
        relay.start(count);
        let lane = |lane: usize| {
            let leaving = Leaving(relay, lane);
            relay.enter();
            let driven = caught(|| {
                let begins = |_, turn| relay.begin(lane, turn);
                progress::along(watched_by.as_ref(), || {
                    drive_after(checker, disk, lane, fill_bytes, || relay.await_turn(lane), begins);
                });
            });
            if let Err(payload) = driven {
                panic.lock().get_or_insert(payload);
            }
            drop(leaving);
        };
        self.watched(|| {
            std::thread::scope(|scope| {
                for number in 0..count {
                    let thread = std::thread::Builder::new().name(format!("lane {number}"));
                    thread.spawn_scoped(scope, move || lane(number)).expect("a thread can be started");
                }
                relay.conduct();
            });
        });
        if let Some(payload) = panic.into_inner() {
            resume_unwind(payload);
        }
    }
}
