//! A line on standard error that tells how far a run is, where that is a terminal.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

const SHOW_EVERY: Duration = Duration::from_millis(500);

/// Shows progress until it is ended or dropped.
pub(super) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Shows what `line` says, again and again; nothing if that was not wanted or nobody would see it.
    pub(super) fn start(quiet: bool, line: impl Fn() -> String + Send + 'static) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let (end, ended) = mpsc::channel();
        let shown = std::thread::spawn(move || {
            while ended.recv_timeout(SHOW_EVERY) == Err(RecvTimeoutError::Timeout) {
                let _ = write!(std::io::stderr(), "\r{}\x1b[K", line());
            }
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        });
        Self(Some((end, shown)))
    }

    /// Takes the line away.
    pub(super) fn end(mut self) {
        self.take_away();
    }

    fn take_away(&mut self) {
        if let Some((end, shown)) = self.0.take() {
            drop(end);
            let _ = shown.join();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.take_away();
    }
}
