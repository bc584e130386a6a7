//! A line on standard error that tells how far a run is, where that is a terminal.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blk_verify::session::Counts;

const SHOW_EVERY: Duration = Duration::from_millis(500);

/// Shows progress until it is ended.
pub(super) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    pub(super) fn start(counts: &Arc<Counts>, quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let (end, ended) = mpsc::channel();
        let counts = Arc::clone(counts);
        let started = Instant::now();
        let shown = std::thread::spawn(move || {
            while ended.recv_timeout(SHOW_EVERY) == Err(RecvTimeoutError::Timeout) {
                let _ = write!(std::io::stderr(), "\r{}\x1b[K", summary(&counts, started.elapsed()));
            }
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        });
        Self(Some((end, shown)))
    }

    /// Takes the line away.
    pub(super) fn end(self) {
        if let Some((end, shown)) = self.0 {
            drop(end);
            let _ = shown.join();
        }
    }
}

/// What was done, in a line.
#[expect(clippy::cast_precision_loss, reason = "shares and rates need no more than a few digits")]
pub(super) fn summary(counts: &Counts, time: Duration) -> String {
    let requests = counts.requests();
    let accepted = counts.accepted() as f64 * 100.0 / requests.max(1) as f64;
    let rate = requests as f64 / time.as_secs_f64().max(1e-9);
    let compared = counts.bytes_compared() >> 20;
    format!("{requests} requests, {accepted:.1}% accepted, {compared} MiB compared, {rate:.0} requests/s")
}
