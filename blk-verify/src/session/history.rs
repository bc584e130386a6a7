//! The requests of a session, so that it can be made again.

use blk_core::sync::Mutex;

use crate::scenario::Request;

/// Requests that are remembered: 32 MiB of them.
const REQUESTS_MAX: usize = 1 << 20;

/// What was asked, in order. Threads add to it at the same time.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Vec<Request>>);

impl History {
    pub(super) fn add(&self, request: Request) {
        let mut requests = self.0.lock();
        // One more than are remembered says that some are not.
        if requests.len() <= REQUESTS_MAX {
            requests.push(request);
        }
    }

    /// All of them; `None` if they were too many.
    pub(super) fn requests(&self) -> Option<Vec<Request>> {
        let requests = self.0.lock();
        (requests.len() <= REQUESTS_MAX).then(|| requests.clone())
    }
}
