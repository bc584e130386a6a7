use super::*;

fn overlay(inner: &[u8], memory_bytes_max: u64) -> (OverlayStorage, Arc<MemoryStorage>) {
    let inner = Arc::new(MemoryStorage::from_bytes(inner));
    let storage: Arc<dyn Storage> = inner.clone();
    (OverlayStorage::over(storage, memory_bytes_max, Arc::default()).unwrap(), inner)
}

/// All bytes, one longer than the storage: what lies past the end reads as zero.
fn all(storage: &dyn Storage) -> Vec<u8> {
    let mut bytes = vec![0xee; storage.len().unwrap() as usize + 1];
    storage.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes.pop(), Some(0));
    bytes
}

/// A generator that tests need no crate for.
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// One random operation on both.
fn change(storages: [&dyn Storage; 2], state: &mut u64, byte: u8) {
    const END: u64 = 20_000;
    let extent = Extent::new(random(state, END), random(state, END / 4));
    let kind = random(state, 8);
    for storage in storages {
        match kind {
            0..=3 => storage.write_at(extent.offset, &vec![byte; extent.length as usize]).unwrap(),
            4 => storage.write_zeroes_at(extent).unwrap(),
            5 => storage.punch_hole(extent).unwrap(),
            6 => storage.zero_fast(extent, extent.length.is_multiple_of(2)).unwrap(),
            _ => storage.set_len(extent.offset).unwrap(),
        }
    }
}

#[test]
fn it_reads_as_a_storage_that_was_changed_and_the_inner_one_stays() {
    for seed in 0..40 {
        let before: Vec<u8> = (0..12_000_u32).map(|index| index.to_le_bytes()[0] | 1).collect();
        // Some of them go over to a file.
        let (overlay, inner) = overlay(&before, if seed % 2 == 0 { u64::MAX } else { 3000 });
        let plain = MemoryStorage::from_bytes(&before);
        let mut state = seed;
        for byte in 1..60 {
            change([&overlay, &plain], &mut state, byte);
            assert_eq!(all(&overlay), all(&plain), "seed {seed}, step {byte}");
        }
        let is_file = matches!(overlay.state.read().changes, Changes::File(_));
        assert_eq!(is_file, seed % 2 == 1);
        assert_eq!(all(&*inner), before);
    }
}

#[test]
fn runs_cover_it_and_holes_are_zero() {
    let mut inner = vec![7; 40_000];
    inner[8192..16_384].fill(0);
    let (overlay, _) = overlay(&inner, u64::MAX);
    overlay.punch_hole(Extent::new(20_000, 9000)).unwrap();
    overlay.write_at(100_000, &[1; 10]).unwrap();
    let (mut at, mut holes) = (0, 0);
    let bytes = all(&overlay);
    while let Some(run) = overlay.run_at(at).unwrap() {
        let part = &bytes[at as usize..(at + run.length) as usize];
        if !run.data {
            assert!(part.iter().all(|byte| *byte == 0), "the hole at {at}");
            holes += run.length;
        }
        at += run.length;
    }
    assert_eq!(at, 100_010);
    assert!(holes > 50_000, "{holes}");
}

#[test]
fn huge_ranges_take_no_memory_and_overflow_nothing() {
    let (overlay, _) = overlay(&[1; 100], 1000);
    overlay.set_len(1 << 60).unwrap();
    overlay.write_zeroes_at(Extent::new(10, 1 << 59)).unwrap();
    overlay.punch_hole(Extent::new(5, u64::MAX)).unwrap();
    assert!(overlay.write_zeroes_at(Extent::new(9, u64::MAX)).is_err());
    let mut start = [9; 10];
    overlay.read_at(0, &mut start).unwrap();
    assert_eq!(start, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
    assert_eq!(overlay.len().unwrap(), 1 << 60);
}

#[test]
fn rewriting_the_same_place_stays_in_memory() {
    let (overlay, _) = overlay(&[], 1 << 20);
    for _ in 0..1000 {
        overlay.write_at(0, &vec![3; 100_000]).unwrap();
    }
    assert!(matches!(overlay.state.read().changes, Changes::Memory { .. }));
}
