use blk_core::{BitmapAct, DirtyBitmap, Extent};

use super::{ActEnded, Bitmaps, FoundBitmap};

const GRANULARITY: u64 = 4096;
const SIZE: u64 = 10 * GRANULARITY;

/// A bitmap in slot 0 that has these granules.
fn found(granules: &[u64]) -> FoundBitmap {
    let mut bits = DirtyBitmap::new(GRANULARITY, 64, Vec::new());
    for granule in granules {
        bits.set(Extent::new(granule * GRANULARITY, 1));
    }
    FoundBitmap { slot: 0, is_enabled: true, bits: Some(bits) }
}

fn disabled(granules: &[u64]) -> FoundBitmap {
    FoundBitmap { is_enabled: false, ..found(granules) }
}

fn lost() -> FoundBitmap {
    FoundBitmap { bits: None, ..found(&[]) }
}

/// Makes a change that takes from `now` to `now + 1`.
fn act(bitmaps: &mut Bitmaps, now: u64, act: BitmapAct, slot: u8) {
    let change = bitmaps.begin_act(now, act, slot);
    assert!(change.is_possible);
    bitmaps.end_act(now + 1, &change, slot, ActEnded::Done);
}

/// A write of a byte of a granule that takes from `now` to `now + 1`.
fn write(bitmaps: &mut Bitmaps, now: u64, granule: u64) {
    let extent = Extent::new(granule * GRANULARITY + 17, 1);
    bitmaps.asked(now, extent);
    bitmaps.followed(now, now + 1, extent);
}

fn close(bitmaps: &mut Bitmaps, now: u64) {
    bitmaps.begin_close(now);
    bitmaps.end_close(now + 1, true);
}

#[test]
fn a_bitmap_has_what_was_done_and_no_more_than_was_asked() {
    let mut bitmaps = Bitmaps::default();
    act(&mut bitmaps, 1, BitmapAct::Add, 0);
    write(&mut bitmaps, 3, 2);
    // What has failed may have left a bit.
    bitmaps.asked(5, Extent::new(7 * GRANULARITY, 1));
    for (granules, is_right) in [
        (&[2][..], true),
        (&[2, 7], true),
        (&[7], false),
        (&[2, 3], false),
        (&[], false),
        (&[2, 6, 7], false),
    ] {
        assert_eq!(bitmaps.judge_live(&[found(granules)], SIZE).is_ok(), is_right, "{granules:?}");
    }
    assert!(bitmaps.judge_live(&[disabled(&[2])], SIZE).is_err(), "it is enabled");
    assert!(bitmaps.judge_live(&[lost()], SIZE).is_err() && bitmaps.judge_live(&[], SIZE).is_err());
    act(&mut bitmaps, 7, BitmapAct::Disable, 0);
    write(&mut bitmaps, 9, 4);
    assert!(bitmaps.judge_live(&[disabled(&[2, 4])], SIZE).is_err(), "it follows no more");
    assert_eq!(bitmaps.judge_live(&[disabled(&[2])], SIZE), Ok(()));
    act(&mut bitmaps, 11, BitmapAct::Add, 1);
    write(&mut bitmaps, 13, 5);
    act(&mut bitmaps, 15, BitmapAct::Merge { from: 1 }, 0);
    assert_eq!(bitmaps.judge_bits(0, found(&[2, 5]).bits.as_ref().unwrap(), SIZE), Ok(()));
    act(&mut bitmaps, 17, BitmapAct::Clear, 0);
    assert_eq!(bitmaps.judge_bits(0, found(&[]).bits.as_ref().unwrap(), SIZE), Ok(()));
    assert!(bitmaps.judge_bits(0, found(&[2]).bits.as_ref().unwrap(), SIZE).is_err());
    assert!(!bitmaps.begin_act(19, BitmapAct::Add, 0).is_possible);
    assert!(!bitmaps.begin_act(20, BitmapAct::Merge { from: 2 }, 0).is_possible);
}

/// A disk of 10 granules, of which some are written, ends in the fourth, and is as large as before again:
/// what it has lost does not come back, but for the granule that holds the end.
#[test]
fn what_a_smaller_disk_has_lost_stays_lost() {
    let middle = 4 * GRANULARITY + 7;
    for (end, written, is_kept) in [
        (4 * GRANULARITY, 3, true),
        (4 * GRANULARITY, 4, false),
        (4 * GRANULARITY, 5, false),
        (middle, 3, true),
        (middle, 4, true),
        (middle, 5, false),
        (middle, 9, false),
    ] {
        let mut bitmaps = Bitmaps::default();
        act(&mut bitmaps, 1, BitmapAct::Add, 0);
        write(&mut bitmaps, 3, written);
        bitmaps.resizing(5);
        bitmaps.resized(end);
        bitmaps.resizing(6);
        bitmaps.resized(SIZE);
        let judged = bitmaps.judge_live(&[found(&[written])], SIZE);
        assert_eq!(judged.is_ok(), is_kept, "{end} {written}: {judged:?}");
    }
}

#[test]
fn what_a_disk_loses_is_forgotten() {
    let mut bitmaps = Bitmaps::default();
    act(&mut bitmaps, 1, BitmapAct::Add, 0);
    write(&mut bitmaps, 3, 8);
    bitmaps.resizing(5);
    bitmaps.resized(6 * GRANULARITY);
    bitmaps.resizing(7);
    bitmaps.resized(SIZE);
    assert_eq!(bitmaps.judge_live(&[found(&[])], SIZE), Ok(()));
    assert!(bitmaps.judge_live(&[found(&[9])], SIZE).is_err(), "what is gained is clean");
}

/// Whether a crash at a time may leave this.
fn may_be(bitmaps: &Bitmaps, time: u64, found: &[FoundBitmap]) -> bool {
    bitmaps.judge_crash(found, SIZE, time).is_ok()
}

#[test]
fn after_a_crash_a_bitmap_is_as_it_was_saved_or_says_that_it_is_not() {
    let mut bitmaps = Bitmaps::default();
    act(&mut bitmaps, 10, BitmapAct::Add, 0);
    assert!(may_be(&bitmaps, 9, &[]) && !may_be(&bitmaps, 9, &[found(&[])]));
    assert!(
        may_be(&bitmaps, 10, &[]) && may_be(&bitmaps, 10, &[found(&[])]) && may_be(&bitmaps, 10, &[lost()])
    );
    assert!(!may_be(&bitmaps, 11, &[]), "which there are is durable at once");
    write(&mut bitmaps, 20, 3);
    assert!(may_be(&bitmaps, 20, &[lost()]) && may_be(&bitmaps, 20, &[found(&[])]));
    assert!(may_be(&bitmaps, 21, &[lost()]) && !may_be(&bitmaps, 21, &[found(&[])]));
    close(&mut bitmaps, 30);
    assert!(may_be(&bitmaps, 30, &[lost()]) && may_be(&bitmaps, 30, &[found(&[3])]));
    assert!(!may_be(&bitmaps, 31, &[lost()]) && may_be(&bitmaps, 31, &[found(&[3])]));
    assert!(!may_be(&bitmaps, 31, &[found(&[])]) && !may_be(&bitmaps, 31, &[found(&[3, 4])]));
    act(&mut bitmaps, 40, BitmapAct::Disable, 0);
    assert!(may_be(&bitmaps, 40, &[lost()]) && may_be(&bitmaps, 40, &[found(&[3])]));
    assert!(may_be(&bitmaps, 41, &[lost()]) && !may_be(&bitmaps, 41, &[disabled(&[3])]));
    close(&mut bitmaps, 50);
    write(&mut bitmaps, 60, 5);
    assert!(
        may_be(&bitmaps, 61, &[disabled(&[3])]) && !may_be(&bitmaps, 61, &[lost()]),
        "it follows nothing"
    );
    bitmaps.resizing(70);
    assert!(may_be(&bitmaps, 70, &[lost()]) && may_be(&bitmaps, 71, &[disabled(&[3])]));
    act(&mut bitmaps, 80, BitmapAct::Remove, 0);
    assert!(may_be(&bitmaps, 80, &[disabled(&[3])]) && may_be(&bitmaps, 80, &[]));
    assert!(may_be(&bitmaps, 81, &[]) && !may_be(&bitmaps, 81, &[disabled(&[3])]));
}

#[test]
fn what_has_failed_has_happened_or_not() {
    let mut bitmaps = Bitmaps::default();
    act(&mut bitmaps, 1, BitmapAct::Add, 0);
    write(&mut bitmaps, 3, 3);
    let failing = |bitmaps: &mut Bitmaps, now: u64, act: BitmapAct, slot: u8| {
        let change = bitmaps.begin_act(now, act, slot);
        bitmaps.end_act(now + 1, &change, slot, ActEnded::Failed);
    };
    failing(&mut bitmaps, 5, BitmapAct::Clear, 0);
    let mut undone = bitmaps.clone();
    assert_eq!(undone.settle(7, &[found(&[3])], SIZE), Ok(()));
    assert!(undone.judge_live(&[found(&[])], SIZE).is_err(), "it was seen not to have happened");
    assert_eq!(bitmaps.settle(7, &[found(&[])], SIZE), Ok(()));
    assert!(bitmaps.judge_live(&[found(&[3])], SIZE).is_err(), "it was seen to have happened");
    failing(&mut bitmaps, 9, BitmapAct::Remove, 0);
    assert!(
        may_be(&bitmaps, 20, &[lost()]) && may_be(&bitmaps, 20, &[]) && !may_be(&bitmaps, 20, &[found(&[])])
    );
    assert!(bitmaps.settle(21, &[disabled(&[])], SIZE).is_err(), "neither");
    bitmaps.adopt(22, &[lost()], SIZE);
    assert!(!bitmaps.is_known(0) && bitmaps.judge_live(&[lost()], SIZE).is_ok());
    write(&mut bitmaps, 23, 1);
    close(&mut bitmaps, 25);
    assert!(may_be(&bitmaps, 26, &[lost()]) && !may_be(&bitmaps, 26, &[found(&[1])]), "it stays unknown");
}

#[test]
fn a_refused_change_leaves_nothing() {
    let mut bitmaps = Bitmaps::default();
    let change = bitmaps.begin_act(1, BitmapAct::Add, 0);
    bitmaps.end_act(2, &change, 0, ActEnded::Refused);
    assert!(may_be(&bitmaps, 3, &[]) && !may_be(&bitmaps, 3, &[found(&[])]));
    assert_eq!(bitmaps.judge_live(&[], SIZE), Ok(()));
}
