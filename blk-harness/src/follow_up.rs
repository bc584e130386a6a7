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
            laned_one_in: 0,
            resizes: true,
            config: Some(config.clone()),
        };
        let generator = Generator::new(space, 0xf0, limits);
        self.lists = generator.take(LISTS as usize).map(|scenario| usable(scenario.requests)).collect();
        self.config = Some(config.clone());
    }

    /// The list for an image of this origin.
    pub(crate) fn requests(&self, origin: u64) -> &[Request] {
        &self.lists[(origin % LISTS) as usize]
    }
}

/// The image stays open, and is checked at the end. One write is compressed: compressing costs more than all
/// else together.
fn usable(requests: Vec<Request>) -> Vec<Request> {
    let mut compressed = 0;
    requests
        .into_iter()
        .map(|request| match request {
            Request::Reopen { .. }
            | Request::Check { .. }
            | Request::Snapshot { .. }
            | Request::Amend { .. } => Request::Flush,
            Request::WriteCompressed { offset, length, fill } => {
                compressed += 1;
                if compressed == 1 { request } else { Request::Write { offset, length, fill, fua: false } }
            }
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Fill, Repair};
    use crate::space::PLAIN;

    #[test]
    fn the_image_stays_open_and_one_write_is_compressed() {
        let compressed = |offset| Request::WriteCompressed { offset, length: 512, fill: Fill::Stamp };
        let plain = |offset| Request::Write { offset, length: 512, fill: Fill::Stamp, fua: false };
        let (reopen, check) = (Request::Reopen { kill: true }, Request::Check { repair: Repair::All });
        let read = Request::Read { offset: 0, length: 1 };
        let made = usable(vec![compressed(0), reopen, compressed(512), read, check, compressed(1024)]);
        assert_eq!(made, [compressed(0), Request::Flush, plain(512), read, Request::Flush, plain(1024)]);
    }

    /// The crash model wants 50 of them, on the disk as it is and a little beyond.
    #[test]
    fn each_list_is_long_enough_and_fits_the_disk() {
        let config = Config { size_bytes: 256 << 10, ..Config::default() };
        let mut follow_ups = FollowUps::default();
        follow_ups.prepare(&PLAIN, &config);
        let unit_bytes = PLAIN.geometry(&config).unit_bytes;
        let lists: Vec<Vec<Request>> = (0..LISTS).map(|hash| follow_ups.requests(hash).to_vec()).collect();
        let mut largest = 0;
        for list in &lists {
            assert_eq!(list.len(), REQUESTS);
            for request in list {
                let (_, length) = request.range().unwrap_or_default();
                if request.kind().moves_data() {
                    assert!(length <= DATA_BYTES_MAX.min(4 * unit_bytes), "{request}");
                }
                if let Request::Resize { size } = request {
                    largest = largest.max(*size);
                }
            }
        }
        let grown = (256 << 10) + 1..=(256 << 10) + 2 * unit_bytes;
        assert!(grown.contains(&largest), "some list makes the disk larger: {largest}");
        assert_ne!(lists[0], lists[1], "different lists for different images");
        assert_eq!(follow_ups.requests(LISTS + 3), lists[3]);
        let before = lists[0].clone();
        follow_ups.prepare(&PLAIN, &Config { size_bytes: 64 << 10, ..config });
        assert_ne!(follow_ups.requests(0), before, "made anew for another configuration");
    }
}
