use std::sync::Arc;

use super::*;
use crate::fault::EIO;
use crate::scheduler::{Control, Ended, Tasks};
use crate::turn::Turn;

fn failing_sync(effect: Effect) -> Host {
    let image = MemoryStorage::from_bytes(&[1; 2048]);
    let fault = Fault { at: 2, operation: Kind::Sync, errno: EIO, effect, sticky: false };
    let host = Host::new(image, Settings::failing(Some(fault), 512));
    host.watch(true);
    host
}

fn bytes(storage: &dyn Storage) -> [u8; 4] {
    let mut bytes = [0; 4];
    for (sector, byte) in bytes.iter_mut().enumerate() {
        storage.read_at(sector as u64 * 512, std::slice::from_mut(byte)).unwrap();
    }
    bytes
}

/// Two changes, a sync that fails, another change, a sync that succeeds.
fn left_after(effect: Effect) -> [u8; 4] {
    let host = failing_sync(effect);
    host.write_at(0, &[2; 512]).unwrap();
    host.write_zeroes_at(Extent::new(512, 512)).unwrap();
    assert!(host.sync().is_err());
    host.write_at(1024, &[4; 512]).unwrap();
    host.sync().unwrap();
    host.watch(false);
    assert_eq!(bytes(&host), [2, 0, 4, 1], "while the image is open nothing has changed");
    assert_eq!(bytes(&host.surviving_image().unwrap()), {
        host.drop_page_cache().unwrap();
        bytes(&host)
    });
    bytes(&host)
}

#[test]
fn what_a_failed_sync_was_to_write_is_gone_after_a_reopen() {
    assert_eq!(left_after(Effect::None), [1, 1, 4, 1]);
    assert_eq!(left_after(Effect::Half), [2, 1, 4, 1]);
    assert_eq!(left_after(Effect::All), [2, 0, 4, 1]);
}

#[test]
fn a_sector_that_is_written_in_part_after_a_failed_sync_is_written_whole() {
    let host = failing_sync(Effect::None);
    host.write_at(0, &[2; 512]).unwrap();
    host.write_at(512, &[2; 512]).unwrap();
    assert!(host.sync().is_err() && host.is_lossy());
    host.write_at(512, &[3; 8]).unwrap();
    host.sync().unwrap();
    assert!(host.drop_page_cache().unwrap() && !host.is_lossy());
    let mut found = [0; 1024];
    host.read_at(0, &mut found).unwrap();
    assert!(found[..512] == [1; 512] && found[512..520] == [3; 8] && found[520..] == [2; 504]);
}

#[test]
fn half_of_a_write_is_whole_sectors() {
    let image = MemoryStorage::from_bytes(&[1; 2048]);
    let fault = Fault { at: 0, operation: Kind::Write, errno: EIO, effect: Effect::Half, sticky: true };
    let host = Host::new(image, Settings::failing(Some(fault), 512));
    host.watch(true);
    assert!(host.write_at(256, &[2; 1792]).is_err());
    assert!(host.sync().is_err(), "a dead disk syncs nothing");
    assert_eq!(host.failures(), 2);
    host.clear_fault();
    let mut read = [0; 2048];
    host.read_at(0, &mut read).unwrap();
    assert!(read[256..1024] == [2; 768] && read[1024..] == [1; 1024]);
}

#[test]
fn writes_are_torn_between_sectors() {
    for (offset, length, first) in [
        (0, 512, None),
        (0, 1024, Some(512)),
        (256, 512, Some(256)),
        (0, 100, None),
        (512, 1536, Some(1024)),
        (300, 2048, Some(1236)),
    ] {
        let bytes = vec![0; length];
        let torn = torn_part(Edit::Write(offset, &bytes)).map(|edit| edit.range(0).length);
        assert_eq!(torn, first, "{offset} {length}");
    }
    let host = Host::new(MemoryStorage::new(), Settings::default());
    let data: Vec<u8> = (0..=255).cycle().take(3000).collect();
    host.write_at(300, &data).unwrap();
    let mut found = vec![0; 3000];
    host.read_at(300, &mut found).unwrap();
    assert!(found == data && host.len().unwrap() == 3300);
}

#[test]
fn only_what_is_watched_counts_and_what_fails_leaves_no_trace() {
    let fault = Fault { at: 1, operation: Kind::Write, errno: EIO, effect: Effect::None, sticky: false };
    let settings = Settings { logs_changes: true, ..Settings::failing(Some(fault), 512) };
    let host = Host::new(MemoryStorage::new(), settings);
    host.write_at(0, &[1; 512]).unwrap();
    host.watch(true);
    host.write_at(512, &[2; 512]).unwrap();
    assert!(host.write_at(1024, &[3; 512]).is_err());
    assert_eq!((host.count(), host.failures(), host.touched()), (2, 1, 2));
    assert_eq!(host.take_log().len(), 2);
    assert_eq!(host.len().unwrap(), 1024);
}

/// What a read shows that comes after each number of points of a write in flight.
fn reads_during_a_write(length: usize) -> Vec<(u8, u8)> {
    let mut seen = Vec::new();
    for points in 1..6 {
        let host = Arc::new(Host::new(MemoryStorage::from_bytes(&[1; 1024]), Settings::default()));
        let control = Arc::new(Control::default());
        let found = Arc::new(Mutex::new([0; 1024]));
        let writer = {
            let (host, control) = (Arc::clone(&host), Arc::clone(&control));
            move || {
                control.begin(1, Turn::new(points, false, false));
                host.write_at(0, &[2; 1024][..length]).unwrap();
            }
        };
        let reader = {
            let (host, found) = (Arc::clone(&host), Arc::clone(&found));
            move || {
                let mut bytes = [0; 1024];
                host.read_at(0, &mut bytes).unwrap();
                in_one_step(|| *found.lock() = bytes);
            }
        };
        let ended = Tasks::default().run(&control, vec![Box::new(writer), Box::new(reader)]);
        assert!(matches!(ended, Ended::Completed));
        let found = *found.lock();
        seen.push((found[0], found[1023]));
    }
    seen.dedup();
    seen
}

#[test]
fn a_read_may_come_between_the_two_halves_of_a_write() {
    assert_eq!(reads_during_a_write(1024), [(1, 1), (2, 1), (2, 2)]);
    assert_eq!(reads_during_a_write(512), [(1, 1), (2, 1)]);
}
