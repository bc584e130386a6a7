use std::sync::Arc;

use super::*;
use crate::fault::{EIO, ENOSPC};
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
        let torn = Edit::Write(offset, &bytes).torn_part().map(|edit| edit.range(0).length);
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

static NAMED: Step = Step::new("named", "");

/// One operation of each kind, by its name, with the fault that hits it.
fn one_of_each(fault: Option<(Kind, Effect)>) -> (Host, Vec<bool>) {
    let fault = fault.map(|(operation, effect)| {
        let at = EDITS.iter().position(|kind| *kind == operation).expect("it is one of them") as u64;
        Fault { at, operation, errno: EIO, effect, sticky: false }
    });
    let settings = Settings { logs_changes: true, lists_calls: true, ..Settings::failing(fault, 512) };
    let host = Host::new(MemoryStorage::from_bytes(&[1; 4096]), settings);
    host.watch(true);
    host.step(&NAMED);
    let done = vec![
        host.write_at(0, &[2; 1024]).is_ok(),
        host.write_zeroes_at(Extent::new(1024, 1024)).is_ok(),
        host.punch_hole(Extent::new(2048, 1024)).is_ok(),
        host.set_len(3584).is_ok(),
        host.read_at(0, &mut [0; 512]).is_ok(),
        host.sync().is_ok(),
    ];
    host.watch(false);
    (host, done)
}

const EDITS: [Kind; 6] =
    [Kind::Write, Kind::WriteZeroes, Kind::PunchHole, Kind::SetLen, Kind::Read, Kind::Sync];

fn firsts(host: &Host) -> Vec<u8> {
    let image = host.surviving_image().unwrap();
    let length = image.len().unwrap();
    image.to_bytes(length).unwrap().chunks(512).map(|sector| sector[0]).collect()
}

/// What each operation leaves that fails before, in the middle of, and after what it does; the others are
/// done.
#[test]
fn an_operation_that_fails_has_done_what_its_effect_says() {
    let all = [2, 2, 0, 0, 0, 0, 1];
    for (kind, effect, expected) in [
        (Kind::Write, Effect::None, vec![1, 1, 0, 0, 0, 0, 1]),
        (Kind::Write, Effect::Half, vec![2, 1, 0, 0, 0, 0, 1]),
        (Kind::Write, Effect::All, all.to_vec()),
        (Kind::WriteZeroes, Effect::None, vec![2, 2, 1, 1, 0, 0, 1]),
        (Kind::WriteZeroes, Effect::Half, vec![2, 2, 0, 1, 0, 0, 1]),
        (Kind::PunchHole, Effect::Half, vec![2, 2, 0, 0, 0, 1, 1]),
        (Kind::SetLen, Effect::None, vec![2, 2, 0, 0, 0, 0, 1, 1]),
        (Kind::SetLen, Effect::All, all.to_vec()),
        (Kind::Read, Effect::All, all.to_vec()),
    ] {
        let (host, done) = one_of_each(Some((kind, effect)));
        let failed: Vec<Kind> =
            EDITS.into_iter().zip(&done).filter(|(_, done)| !**done).map(|(kind, _)| kind).collect();
        assert_eq!(failed, [kind], "{effect:?}");
        assert_eq!(firsts(&host), expected, "{kind:?} {effect:?}");
        assert_eq!((host.failures(), host.count()), (1, 6));
        // The log says the same as the image.
        let mut durability = Durability::new(MemoryStorage::from_bytes(&[1; 4096]), 512);
        for operation in host.log() {
            durability.apply(&operation).unwrap();
        }
        let image = durability.survivor().unwrap();
        assert!(image.to_bytes(4096).unwrap() == host.surviving_image().unwrap().to_bytes(4096).unwrap());
    }
}

#[test]
fn calls_are_listed_with_their_steps_and_units_are_counted() {
    let (host, _) = one_of_each(None);
    let calls = host.take_calls();
    assert_eq!(calls.iter().map(|call| call.operation).collect::<Vec<_>>(), EDITS);
    assert!(calls.iter().all(|call| *call.step == NAMED) && calls[2].extent == Extent::new(2048, 1024));
    assert!(host.take_calls().is_empty() && host.log().iter().all(|operation| *operation.step == NAMED));
    assert_eq!(host.touched(), 2 + 2 + 2 + 1);
    host.forget_touched();
    assert_eq!(host.touched(), 0);
    host.write_at(100, &[3; 500]).unwrap();
    assert_eq!(host.touched(), 2, "half of one sector and some of the next");
    host.write_at(0, &[]).unwrap();
    assert_eq!(host.touched(), 2);
}

#[test]
fn a_clock_goes_on_and_a_log_is_in_the_order_of_completion() {
    let (host, _) = one_of_each(None);
    let log = host.log();
    assert_eq!(log.len(), 5, "reads are not logged");
    let times: Vec<(u64, u64)> = log.iter().map(|one| (one.issued, one.completed.unwrap())).collect();
    assert!(times.is_sorted() && times.iter().all(|(issued, completed)| issued < completed), "{times:?}");
    let now = host.tick();
    assert!(now > times[4].1 && host.tick() == now + 1);
    host.advance(now + 100);
    assert_eq!(host.tick(), now + 101);
    host.advance(5);
    assert_eq!(host.tick(), now + 102, "time does not go back");
    assert_eq!(host.log(), host.take_log());
    assert!(host.log().is_empty());
    host.stop_logging();
    host.write_at(0, &[1; 512]).unwrap();
    assert!(host.log().is_empty());
}

#[test]
fn a_full_host_takes_no_growth_and_lets_shrink() {
    let fault = Fault { at: 0, operation: Kind::Write, errno: ENOSPC, effect: Effect::None, sticky: true };
    let host = Host::new(MemoryStorage::from_bytes(&[1; 4096]), Settings::failing(Some(fault), 512));
    host.watch(true);
    assert!(host.write_at(0, &[2; 512]).is_err());
    for (length, is_ok) in [(4097, false), (8192, false), (4096, true), (512, true), (513, false)] {
        assert_eq!(host.set_len(length).is_ok(), is_ok, "{length}");
    }
    assert!(host.punch_hole(Extent::new(0, 512)).is_ok() && host.sync().is_ok());
    host.clear_fault();
    assert!(host.write_at(0, &[2; 512]).is_ok() && host.set_len(8192).is_ok());
}

/// A failed sync with nothing to write has lost nothing, and so has one that had written all.
#[test]
fn only_what_was_pending_can_be_lost() {
    for (writes, effect, is_lossy) in [
        (false, Effect::None, false),
        (true, Effect::None, true),
        (true, Effect::Half, true),
        (true, Effect::All, false),
    ] {
        let fault = Fault { at: u64::from(writes), operation: Kind::Sync, errno: EIO, effect, sticky: false };
        let host = Host::new(MemoryStorage::from_bytes(&[1; 2048]), Settings::failing(Some(fault), 512));
        host.watch(true);
        if writes {
            host.write_at(0, &[2; 512]).unwrap();
        }
        assert!(host.sync().is_err());
        assert_eq!(host.is_lossy(), is_lossy, "{writes} {effect:?}");
    }
}

/// What memory does not take is no change, and nothing that a sync could lose.
#[test]
fn an_operation_that_memory_refuses_leaves_no_trace() {
    let host = Host::new(MemoryStorage::new(), Settings::crashing());
    assert!(host.write_at(u64::MAX - 100, &[1; 512]).is_err());
    assert!(host.log().is_empty() && host.len().unwrap() == 0);
    let fault = Fault { at: 1, operation: Kind::Sync, errno: EIO, effect: Effect::None, sticky: false };
    let host = Host::new(MemoryStorage::new(), Settings::failing(Some(fault), 512));
    host.watch(true);
    assert!(host.write_at(u64::MAX - 100, &[1; 512]).is_err() && host.sync().is_err());
    assert!(!host.is_lossy(), "nothing was pending");
}

#[test]
fn a_read_that_fails_late_has_read() {
    for (effect, byte) in [(Effect::None, 0), (Effect::All, 1)] {
        let fault = Fault { at: 0, operation: Kind::Read, errno: EIO, effect, sticky: false };
        let host = Host::new(MemoryStorage::from_bytes(&[1; 512]), Settings::failing(Some(fault), 512));
        host.watch(true);
        let mut found = [0; 512];
        assert!(host.read_at(0, &mut found).is_err());
        assert_eq!(found, [byte; 512], "{effect:?}");
        assert_eq!(host.run_at(0).unwrap().map(|run| (run.length, run.data)), Some((512, true)));
    }
}

#[test]
fn the_log_is_in_the_order_in_which_changes_completed() {
    let times = |turn: u8| {
        let host = Arc::new(Host::new(MemoryStorage::from_bytes(&[0; 1024]), Settings::crashing()));
        let control = Arc::new(Control::default());
        let turns = [format!("@{turn}"), String::new()];
        let bodies = turns.iter().zip([0, 512]).map(|(turn, offset)| {
            let (host, control) = (Arc::clone(&host), Arc::clone(&control));
            let turn = Turn::parse(turn).unwrap_or_default();
            Box::new(move || {
                control.begin(1, turn);
                host.write_at(offset, &[7; 512]).unwrap();
            }) as Box<dyn FnOnce() + Send>
        });
        assert!(matches!(Tasks::default().run(&control, bodies.collect()), Ended::Completed));
        let log = host.take_log();
        assert!(log.is_sorted_by_key(|operation| operation.completed), "{log:?}");
        log.iter().map(|operation| operation.issued).collect::<Vec<u64>>()
    };
    assert!((1..5).any(|turn| !times(turn).is_sorted()), "one is issued first and completes last");
}
