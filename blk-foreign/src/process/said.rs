//! What a process says: the end of it is kept, and no more.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, PipeReader, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_core::sync::{Condvar, Mutex};

/// How much of what a process has said last is kept, bytes.
const LAST_BYTES: usize = 2000;
/// How often a process is looked at that may have ended while another one holds its output.
const LOOK_TIME: Duration = Duration::from_millis(5);

/// The output of a process. A thread drains it: the process would block on a full pipe.
#[derive(Debug, Default)]
pub(super) struct Said {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    last: VecDeque<u8>,
    /// Bytes so far.
    count: u64,
    /// Nobody holds the other end of the pipe any more.
    has_ended: bool,
}

impl Said {
    /// Reads a pipe to its end.
    pub(super) fn read(pipe: PipeReader) -> io::Result<Arc<Self>> {
        let said = Arc::new(Self::default());
        let reading = Arc::clone(&said);
        std::thread::Builder::new().name("said".to_owned()).spawn(move || reading.take_in(pipe))?;
        Ok(said)
    }

    fn take_in(&self, mut pipe: PipeReader) {
        let mut piece = [0; 4096];
        loop {
            match pipe.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => self.state.lock().add(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.state.lock().has_ended = true;
        self.ended.notify_all();
    }

    /// Waits until all that could say something have ended, but no longer than `time`. Returns whether they
    /// have.
    pub(super) fn await_end(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.has_ended && Instant::now() < end {
            self.ended.wait_until(&mut state, end);
        }
        state.has_ended
    }

    /// Waits a little: until all that could say something have ended, which a process does last; or, where
    /// they have, for `pause`. A process that goes wakes whoever waits for it so, and nobody has to look
    /// every now and then.
    pub(super) fn await_end_or(&self, pause: Duration) {
        if self.state.lock().has_ended {
            std::thread::sleep(pause);
        } else {
            self.await_end(LOOK_TIME);
        }
    }

    /// How much was said so far, bytes.
    pub(super) fn count(&self) -> u64 {
        self.state.lock().count
    }

    /// What was said last.
    pub(super) fn last(&self) -> String {
        let mut state = self.state.lock();
        String::from_utf8_lossy(state.last.make_contiguous()).trim().to_owned()
    }
}

impl State {
    fn add(&mut self, bytes: &[u8]) {
        self.count += bytes.len() as u64;
        self.last.extend(bytes);
        let excess = self.last.len().saturating_sub(LAST_BYTES);
        self.last.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_end_is_kept_of_however_much_is_said() {
        let (reader, mut writer) = io::pipe().unwrap();
        let said = Said::read(reader).unwrap();
        for number in 0..100_000 {
            writeln!(writer, "line {number}").unwrap();
        }
        assert!(!said.await_end(Duration::ZERO), "more may come");
        drop(writer);
        assert!(said.await_end(Duration::from_secs(20)));
        assert!(said.last().ends_with("\nline 99998\nline 99999"), "{}", said.last());
        let held = said.state.lock().last.capacity();
        assert!(said.count() > 1_000_000 && held < 4 * (LAST_BYTES + 4096), "{held} bytes are held");
    }
}
