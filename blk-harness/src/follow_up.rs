//! The workload that goes on with a disk after a crash, or once a fault is gone.

use crate::generate::{Generator, Limits};
use crate::scenario::{Config, Request};
use crate::space::Space;
use crate::stamp::FOLLOW_UPS;

/// The number of the first of these requests.
pub(crate) const FIRST_NUMBER: u32 = FOLLOW_UPS.start;
/// The crash model wants at least 50.
const REQUESTS: usize = 50;
/// Different lists for different images.
const LISTS: u64 = 8;
/// Largest read or write of them, bytes.
const DATA_BYTES_MAX: u64 = 64 << 10;

/// A few lists of requests for disks of one configuration.
#[derive(Debug, Default)]
pub(crate) struct FollowUps {
    config: Option<Config>,
    lists: Vec<Vec<Request>>,
}

impl FollowUps {
    /// Makes the lists for `config`, unless they are those of the last one.
    pub(crate) fn prepare(&mut self, space: &'static Space, config: &Config) {
        if self.config.as_ref() == Some(config) {
            return;
        }
        let unit_bytes = space.geometry(config).unit_bytes;
        let limits = Limits {
            requests_min: REQUESTS,
            requests_max: REQUESTS,
            disk_bytes_max: config.size_bytes + 2 * unit_bytes,
            data_bytes_max: DATA_BYTES_MAX.min(4 * unit_bytes),
            far: false,
            lanes_max: 0,
            config: Some(config.clone()),
        };
        let generator = Generator::new(space, 0xf0, limits);
        self.lists = generator.take(LISTS as usize).map(|scenario| usable(scenario.requests)).collect();
        self.config = Some(config.clone());
    }

    /// The list for an image of this hash.
    pub(crate) fn requests(&self, hash: u64) -> &[Request] {
        &self.lists[(hash % LISTS) as usize]
    }
}

/// The image stays open, and is checked at the end. One write is compressed: compressing costs more than all else together.
fn usable(requests: Vec<Request>) -> Vec<Request> {
    let mut compressed = 0;
    requests
        .into_iter()
        .map(|request| match request {
            Request::Reopen { .. } | Request::Check { .. } => Request::Flush,
            Request::WriteCompressed { offset, length, fill } => {
                compressed += 1;
                if compressed == 1 { request } else { Request::Write { offset, length, fill, fua: false } }
            }
            other => other,
        })
        .collect()
}
