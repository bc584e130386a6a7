//! Rules about what is read after what was written.

use super::{Maker, USUAL_BYTES, pattern, read, usual};
use crate::{Access, Error, Extent, WriteFlags, ZeroFlags};

/// Whatever the medium held before.
pub(super) fn a_fresh_disk_reads_as_zeroes<M: Maker>(maker: &M) {
    let (_medium, disk) = usual(maker);
    assert!(read(&disk, 0, USUAL_BYTES as usize).iter().all(|byte| *byte == 0));
}

/// Writes of every alignment change their own bytes and no others.
pub(super) fn odd_ranges_keep_their_neighbours<M: Maker>(maker: &M) {
    let (_medium, disk) = usual(maker);
    let mut model = pattern(0, USUAL_BYTES as usize, 9);
    disk.write(0, &model, WriteFlags::default()).expect("write all");
    for (number, offset) in
        [0, 1, 511, 512, 4095, 4096, 65_535, 65_536, 131_071, 524_287].into_iter().enumerate()
    {
        for length in [1, 2, 511, 513, 1024, 4097, 65_537] {
            let data = pattern(offset, length, 40 + number as u8);
            let flags = WriteFlags { fua: length % 2 == 0, compressed: false };
            disk.write(offset, &data, flags).expect("write");
            model[offset as usize..offset as usize + length].copy_from_slice(&data);
            let around = offset.saturating_sub(3);
            let end = (offset as usize + length + 3).min(model.len());
            assert!(
                read(&disk, around, end - around as usize) == model[around as usize..end],
                "{offset} {length}"
            );
        }
    }
    assert!(read(&disk, 0, model.len()) == model, "the whole disk");
}

/// Zeroes of every alignment, with every flag; refused only where `no_fallback` allows it.
pub(super) fn zeroes_are_zeroes_with_every_flag<M: Maker>(maker: &M) {
    for bits in 0..8u8 {
        let flags = ZeroFlags { fua: bits & 1 != 0, may_unmap: bits & 2 != 0, no_fallback: bits & 4 != 0 };
        let (_medium, disk) = usual(maker);
        let mut model = pattern(0, USUAL_BYTES as usize, 11);
        disk.write(0, &model, WriteFlags::default()).expect("write all");
        for (offset, length) in
            [(0, 1), (511, 2), (4096, 4096), (65_536, 65_536), (65_535, 131_074), (999_999, 48_000)]
        {
            match disk.write_zeroes(Extent::new(offset, length), flags) {
                Ok(()) => model[offset as usize..(offset + length) as usize].fill(0),
                Err(Error::Unsupported { .. }) if flags.no_fallback => {}
                Err(error) => panic!("write zeroes {offset} {length} {flags:?}: {error}"),
            }
            assert!(read(&disk, 0, model.len()) == model, "{offset} {length} {flags:?}");
        }
    }
}

/// Each discarded byte is old or zero, stays so, and its neighbours are as they were.
pub(super) fn a_discard_leaves_old_bytes_or_zeroes<M: Maker>(maker: &M) {
    let (_medium, disk) = usual(maker);
    let model = pattern(0, USUAL_BYTES as usize, 13);
    disk.write(0, &model, WriteFlags::default()).expect("write all");
    for (offset, length) in [(0, 65_536), (70_000, 200_000), (1_000_000, 48_000), (500_000, 1)] {
        match disk.discard(Extent::new(offset, length)) {
            Ok(()) | Err(Error::Unsupported { .. }) => {}
            Err(error) => panic!("discard {offset} {length}: {error}"),
        }
    }
    let after = read(&disk, 0, model.len());
    let discarded =
        |at: usize| at < 65_536 || (70_000..270_000).contains(&at) || at >= 1_000_000 || at == 500_000;
    for (at, (now, old)) in after.iter().zip(&model).enumerate() {
        assert!(now == old || (*now == 0 && discarded(at)), "byte {at} became {now:#x} from {old:#x}");
    }
    assert!(read(&disk, 0, model.len()) == after, "a second read differs from the first");
}

/// What a larger disk gains reads as zeroes, also behind what was written at the old end.
pub(super) fn growing_shows_only_zeroes<M: Maker>(maker: &M) {
    let (_medium, disk) = usual(maker);
    let mut model = pattern(0, USUAL_BYTES as usize, 17);
    disk.write(0, &model, WriteFlags::default()).expect("write all");
    for size in [USUAL_BYTES + 512, USUAL_BYTES + 70_000 / 512 * 512, 3 << 20] {
        match disk.resize(size) {
            Ok(()) => {}
            Err(Error::Unsupported { .. }) => return,
            Err(error) => panic!("resize to {size}: {error}"),
        }
        model.resize(size as usize, 0);
        assert!(read(&disk, 0, model.len()) == model, "after growing to {size}");
        let last = size - 10;
        disk.write(last, &[0xcc; 10], WriteFlags::default()).expect("a write at the new end");
        model[last as usize..].fill(0xcc);
    }
    assert!(read(&disk, 0, model.len()) == model, "after all");
}

/// A compressed write is refused, or reads back as what was written.
pub(super) fn compressed_writes_are_right_or_refused<M: Maker>(maker: &M) {
    let (_medium, disk) = usual(maker);
    let cluster = disk.limits().zero_granularity.max(512);
    let mut model = vec![0; USUAL_BYTES as usize];
    for number in 0..4 {
        let (offset, length) = (number * cluster, cluster as usize);
        if offset + cluster > USUAL_BYTES {
            break;
        }
        let data = vec![number as u8 + 1; length];
        match disk.write(offset, &data, WriteFlags { compressed: true, fua: false }) {
            Ok(()) => model[offset as usize..offset as usize + length].copy_from_slice(&data),
            Err(Error::Unsupported { .. } | Error::Misaligned { .. }) => {}
            Err(error) => panic!("compressed write {offset} {length}: {error}"),
        }
    }
    assert!(read(&disk, 0, model.len()) == model);
}

/// What was written is there after closing and opening, and the image is clean.
pub(super) fn a_reopened_disk_keeps_everything<M: Maker>(maker: &M) {
    let (medium, mut disk) = usual(maker);
    let mut model = vec![0; USUAL_BYTES as usize];
    for round in 0..3u8 {
        for number in 0..10u64 {
            let offset = (number * 104_729 + u64::from(round) * 3331) % (USUAL_BYTES - 9000);
            let data = pattern(offset, 9000, round);
            disk.write(offset, &data, WriteFlags::default()).expect("write");
            model[offset as usize..offset as usize + 9000].copy_from_slice(&data);
        }
        disk.close().expect("close");
        drop(disk);
        disk = maker.open(&medium, Access::ReadWrite).expect("open again");
        assert!(read(&disk, 0, model.len()) == model, "round {round}");
        if disk.driver().as_check().is_some() {
            let checked = disk.check(crate::RepairMode::None).expect("check");
            assert!(checked.is_clean(), "{checked}");
        }
    }
}
