//! What is raw's own: options, windows, preallocation, storage of fixed length.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use blk_core::storage::DiskStorage;
use blk_core::{
    Access, DenyResolver, DiscardFlags, Disk, Error, Extent, FileStorage, MemoryStorage, Options, Probe,
    Registry, Result, Storage, WriteFlags, ZeroFlags,
};
use blk_raw::FORMAT;

fn open(storage: &Arc<dyn Storage>, options: Options) -> Result<Disk> {
    FORMAT.open(Arc::clone(storage), Access::ReadWrite, options, &DenyResolver)
}

fn nines(length: usize) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::from_bytes(&vec![9; length]))
}

fn bytes(storage: &Arc<dyn Storage>) -> Vec<u8> {
    let mut bytes = vec![0xee; storage.len().unwrap() as usize];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_window_shows_its_part_and_nothing_else() {
    let storage = nines(3000);
    let disk = open(&storage, Options::new().with("offset", 1000u64).with("size", 500u64)).unwrap();
    assert_eq!(disk.size(), 500);
    disk.write(0, &[1; 500], WriteFlags::default()).unwrap();
    disk.write(100, &[2; 10], WriteFlags::default()).unwrap();
    let mut read = [0; 500];
    disk.read(0, &mut read).unwrap();
    assert!(read[..100].iter().chain(&read[110..]).all(|byte| *byte == 1) && read[100..110] == [2; 10]);
    let mut read = [0; 20];
    disk.read(95, &mut read).unwrap();
    assert_eq!(read, [[1; 5].as_slice(), &[2; 10], &[1; 5]].concat()[..]);
    disk.write(100, &[1; 10], WriteFlags::default()).unwrap();
    assert!(matches!(disk.resize(600), Err(Error::Unsupported { .. })));
    let all = bytes(&storage);
    assert!(all[..1000].iter().chain(&all[1500..]).all(|byte| *byte == 9) && all[1000..1500] == [1; 500]);
}

#[test]
fn a_window_without_a_size_ends_with_the_file_and_grows_with_it() {
    let storage = nines(3000);
    let disk = open(&storage, Options::new().with("offset", "1k")).unwrap();
    assert_eq!(disk.size(), 3000 - 1024);
    disk.resize(4000).unwrap();
    assert_eq!((disk.size(), storage.len().unwrap()), (4000, 5024));
    assert!(matches!(disk.resize(u64::MAX), Err(Error::OutOfRange { .. })));
    assert!(disk.resize(1 << 63).is_err());
    assert_eq!(disk.size(), 4000);
    let all = bytes(&storage);
    assert!(all[..3000].iter().all(|byte| *byte == 9) && all[3000..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_window_lies_inside_the_file_and_what_is_wrong_is_said() {
    for (start, size) in [(3000u64, 0u64), (2000, 1000), (0, 3000)] {
        let options = Options::new().with("offset", start);
        assert_eq!(open(&nines(3000), options.clone()).unwrap().size(), size);
        assert_eq!(open(&nines(3000), options.with("size", size)).unwrap().size(), size);
    }
    for (options, word) in [
        (Options::new().with("offset", 3001u64), "3001 lies past the end of the file, 3000 bytes"),
        (Options::new().with("offset", 2000u64).with("size", 1001u64), "1001 bytes from offset 2000"),
        (Options::new().with("size", u64::MAX), "reach past the end"),
        (Options::new().with("offset", "1q"), "'1q' is not a size"),
        (Options::new().with("discard", "maybe"), "'maybe' is neither unmap nor ignore"),
        (Options::new().with("colour", "red"), "colour"),
    ] {
        let error = open(&nines(3000), options).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let storage = nines(100);
    let error = FORMAT.create(&storage, 50, Options::new().with("preallocation", "some")).unwrap_err();
    assert!(error.to_string().contains("'some' is none of off, falloc, full"), "{error}");
    assert_eq!(bytes(&storage), [9; 100], "a refused create changes nothing");
}

#[test]
fn anything_is_raw_if_it_is_nothing_else() {
    let registry = Registry::new([FORMAT]);
    assert_eq!(registry.probe(&*nines(10)).unwrap().name(), "raw");
    assert_eq!(registry.find("raw").unwrap().probe(&Probe::of_start(&[])), 1);
}

#[test]
fn create_replaces_what_was_there_or_says_why_not() {
    let storage = nines(3000);
    FORMAT.create(&storage, 4001, Options::new()).unwrap();
    assert!(bytes(&storage) == [0; 4001]);

    let small: Arc<dyn Storage> = Arc::new(MemoryStorage::with_capacity_limit(2000));
    small.write_at(0, &[9; 2000]).unwrap();
    assert!(matches!(FORMAT.create(&small, 2001, Options::new()), Err(Error::NoSpace { .. })));
    assert!(bytes(&small) == [9; 2000], "what does not fit destroys nothing");
}

#[test]
fn storage_of_fixed_length_is_zeroed_in_place() {
    for (size, zeroed) in [(300u64, Ok(300)), (500, Ok(500)), (501, Err(()))] {
        let below = nines(1000);
        let window = open(&below, Options::new().with("offset", 200u64).with("size", 500u64)).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(DiskStorage::new(Arc::new(window)));
        let created = FORMAT.create(&storage, size, Options::new());
        let mut expected = vec![9; 1000];
        match (zeroed, created) {
            (Ok(length), Ok(())) => expected[200..200 + length].fill(0),
            (Err(()), Err(Error::NoSpace { what })) => {
                assert!(what.contains("501 bytes are asked for, the storage has 500"), "{what}");
            }
            other => panic!("{size}: {other:?}"),
        }
        assert!(bytes(&below) == expected, "{size}");
    }
}

fn file_with(preallocation: &str) -> (std::fs::File, Arc<dyn Storage>) {
    let file = tempfile::tempfile().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::from_file(file.try_clone().unwrap()).unwrap());
    FORMAT.create(&storage, 3 << 20, Options::new().with("preallocation", preallocation)).unwrap();
    (file, storage)
}

/// Bytes that the file occupies.
fn occupied(file: &std::fs::File) -> u64 {
    file.sync_all().unwrap();
    file.metadata().unwrap().blocks() * 512
}

#[test]
fn preallocation_takes_the_space_at_once() {
    for (preallocation, some) in [("off", false), ("falloc", true), ("full", true)] {
        let (file, storage) = file_with(preallocation);
        assert_eq!(occupied(&file) >= 3 << 20, some, "{preallocation}");
        // What was written is data; what the host promised reads as zeroes, and the driver knows. Asked
        // before the bytes are read: what Linux has in its cache it calls data.
        let status = open(&storage, Options::new()).unwrap().block_status(Extent::new(0, 3 << 20)).unwrap();
        assert_eq!(status.zero, preallocation != "full", "{preallocation}: {status:?}");
        assert!(bytes(&storage).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn space_is_given_back_only_where_that_was_allowed() {
    for (discard, frees) in [("unmap", true), ("ignore", false)] {
        let (file, storage) = file_with("full");
        let disk = open(&storage, Options::new().with("discard", discard)).unwrap();
        disk.write(0, &vec![7; 3 << 20], WriteFlags::default()).unwrap();
        disk.write_zeroes(Extent::new(0, 1 << 20), ZeroFlags::default()).unwrap();
        assert!(occupied(&file) >= 3 << 20, "zeroes that may not unmap keep the space");
        disk.discard(Extent::new(1 << 20, 1 << 20), DiscardFlags::default()).unwrap();
        assert_eq!(occupied(&file) <= 2 << 20, frees, "a discard, {discard}");
        let may_unmap = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
        disk.write_zeroes(Extent::new(2 << 20, 1 << 20), may_unmap).unwrap();
        assert_eq!(occupied(&file) <= 1 << 20, frees, "zeroes that may unmap, {discard}");
        let all = bytes(&storage);
        let discarded = if frees { 0 } else { 7 };
        for (place, expected) in [(0, 0), (1 << 20, discarded), (2 << 20, 0)] {
            assert!(all[place..place + (1 << 20)].iter().all(|byte| *byte == expected), "{place} {discard}");
        }
    }
}

/// The front door compares the size with what was asked: another resize in between must not show.
#[test]
fn resizes_at_once_do_not_disturb_each_other() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
    std::thread::scope(|scope| {
        for number in 1..=4 {
            let disk = &disk;
            scope.spawn(move || (0..2000).for_each(|_| disk.resize(number * 4096).unwrap()));
        }
    });
    assert!(disk.size().is_multiple_of(4096) && disk.size() > 0);
}
