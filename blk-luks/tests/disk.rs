//! What is LUKS's own: noise, resizing, headers elsewhere, what does not show without a key.

mod common;

use std::sync::Arc;

use blk_core::{
    Access, Amendment, DiscardFlags, Error, Extent, Format, MemoryStorage, Options, Preallocation, Registry,
    Secret, Storage, WriteFlags, ZeroFlags,
};
use blk_luks::{KeySlots, Repeatable};
use common::{QUICK, bytes, clear, image, key, open, secrets};

/// Other bytes than those that images are made with.
static OTHER: Repeatable = Repeatable::new(9);
/// A pattern that would be seen.
const PLAIN: &[u8; 16] = b"plain text here!";

fn shows(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn nothing_of_the_disk_or_the_keys_shows() {
    let storage = image(1 << 16, Options::new());
    let disk = open(&storage, "first").unwrap();
    disk.write(0, &PLAIN.repeat(1 << 12), WriteFlags::default()).unwrap();
    disk.write(1001, PLAIN, WriteFlags::default()).unwrap();
    disk.write_zeroes(Extent::new(4096, 4096), ZeroFlags::default()).unwrap();
    let host = bytes(&*storage);
    assert!(!shows(&host, PLAIN) && !shows(&host, b"first"));
    let payload = host.len() - (1 << 16);
    assert!(!shows(&host[payload..], &[0; 16]), "zeroes are encrypted, too");
    let debug = format!("{disk:?}");
    assert!(debug.contains("Secret(..)") && debug.len() < 4000, "{debug}");
}

#[test]
fn without_the_key_there_is_the_header_and_no_more() {
    let storage = image(1 << 16, Options::new());
    let open = |options: Options| QUICK.open(Arc::clone(&storage), Access::ReadWrite, options, &secrets());
    let error = open(Options::new()).unwrap_err().to_string();
    assert!(error.contains("'key-secret' is required"), "{error}");
    assert!(open(key("second")).unwrap_err().to_string().contains("Invalid password"));
    assert!(open(key("nobody")).unwrap_err().to_string().contains("nobody"));
    let before = bytes(&*storage);
    let locked = open(Options::new().with("locked", "on")).unwrap();
    assert_eq!((locked.size(), locked.info().unwrap().format), (1 << 16, "luks"));
    let refused = |result: blk_core::Result<()>| {
        assert!(matches!(result, Err(Error::Unsupported { .. })), "{result:?}");
    };
    refused(locked.read(0, &mut [0; 512]));
    refused(locked.write(0, &[0; 512], WriteFlags::default()));
    refused(locked.write_zeroes(Extent::new(0, 512), ZeroFlags::default()));
    refused(locked.discard(Extent::new(0, 512), DiscardFlags::default()));
    refused(locked.resize(1024));
    refused(locked.resize(1 << 20));
    locked.close().unwrap();
    assert!(bytes(&*storage) == before);
}

#[test]
fn what_a_disk_gains_reads_as_zeroes_and_what_it_loses_is_gone() {
    let storage = image(4096, Options::new());
    let disk = open(&storage, "first").unwrap();
    disk.write(0, &[9; 4096], WriteFlags::default()).unwrap();
    for preallocation in [Preallocation::Off, Preallocation::Falloc, Preallocation::Full] {
        disk.resize(2048).unwrap();
        disk.grow(600 << 10, preallocation).unwrap();
        let mut read = vec![1; 600 << 10];
        open(&storage, "first").unwrap().read(0, &mut read).unwrap();
        assert!(read[..2048] == [9; 2048] && read[2048..].iter().all(|byte| *byte == 0), "{preallocation}");
    }
    assert!(matches!(disk.grow(1 << 20, Preallocation::Metadata), Err(Error::Unsupported { .. })));
    assert!(disk.resize(1000).is_err() && disk.resize(u64::MAX / 512 * 512).is_err());
    assert_eq!(disk.size(), 600 << 10);
}

#[test]
fn a_part_of_a_sector_at_the_end_counts_as_a_whole_one() {
    let storage = image(1000, Options::new());
    assert_eq!(open(&storage, "first").unwrap().size(), 1024);
    storage.set_len(storage.len().unwrap() - 24).unwrap();
    let disk = open(&storage, "first").unwrap();
    assert_eq!(disk.size(), 1024);
    clear(&disk).unwrap();
    disk.write(1023, &[1], WriteFlags::default()).unwrap();
    let mut read = [7; 1024];
    open(&storage, "first").unwrap().read(0, &mut read).unwrap();
    assert!(read[..1023].iter().all(|byte| *byte == 0) && read[1023] == 1);
}

#[test]
fn a_header_may_lie_elsewhere() {
    let header = image(0, Options::new().with("detached-header", "on"));
    let data: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&[0; 8192]));
    let mut resolver = secrets();
    resolver.insert_storage("header.img", Arc::clone(&header), Access::ReadWrite);
    let options = key("first").with("header", "header.img");
    let disk = QUICK.open(Arc::clone(&data), Access::ReadWrite, options.clone(), &resolver).unwrap();
    assert_eq!(disk.size(), 8192);
    disk.write(0, &PLAIN.repeat(512), WriteFlags::default()).unwrap();
    assert!(!shows(&bytes(&*data), PLAIN));
    let mut read = [0; 16];
    QUICK.open(data, Access::ReadOnly, options, &resolver).unwrap().read(4096, &mut read).unwrap();
    assert_eq!(read, *PLAIN);
    let error = open(&header, "first").unwrap_err().to_string();
    assert!(error.contains("header="), "{error}");
}

/// The payload offset of such a header counts in the file with the data: it may be the place of a material.
#[test]
fn a_header_elsewhere_may_have_a_payload_offset() {
    for offset in [512_u64, 4096, 8192] {
        let header = image(0, Options::new().with("detached-header", "on"));
        header.write_at(104, &((offset / 512) as u32).to_be_bytes()).unwrap();
        let data: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&[0; 16_384]));
        let mut resolver = secrets();
        resolver.insert_storage("header.img", Arc::clone(&header), Access::ReadWrite);
        let options = key("first").with("header", "header.img");
        let disk = QUICK.open(Arc::clone(&data), Access::ReadWrite, options, &resolver).unwrap();
        assert_eq!(disk.size(), 16_384 - offset);
        disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
        let first = bytes(&*data).iter().position(|byte| *byte != 0).unwrap() as u64;
        assert!((offset..offset + 512).contains(&first), "{first}");
        let error = open(&header, "first").unwrap_err().to_string();
        assert!(error.contains("the payload") || error.contains("header="), "{error}");
    }
}

/// QEMU takes text without a NUL.
#[test]
fn a_passphrase_that_qemu_cannot_take_opens_and_is_not_given_to_a_new_slot() {
    let mut resolver = secrets();
    for (name, bytes) in [("nul", &b"a\0b"[..]), ("latin", b"\xe4")] {
        resolver.insert_secret(name, Secret::from(bytes.to_vec()));
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let error = QUICK.create_with(&storage, 512, key(name), &resolver).unwrap_err().to_string();
        assert!(error.contains("a passphrase of a new key slot"), "{error}");
        assert_eq!(storage.len().unwrap(), 0);
        let storage = image(512, Options::new());
        let disk = open(&storage, "first").unwrap();
        let amend = |options| {
            let progress = &mut |_, _| ();
            blk_core::Amend::amend(&disk, Amendment { options, force: true, resolver: &resolver, progress })
        };
        let error = amend(Options::new().with("state", "active").with("new-secret", name)).unwrap_err();
        assert!(error.to_string().contains("a passphrase of a new key slot"), "{error}");
        // Other programs may have given it.
        let mut slots = KeySlots::open(Arc::clone(&storage), 0, &OTHER).unwrap();
        let (_, volume_key) = slots.unlock(&Secret::from(b"first".to_vec())).unwrap().unwrap();
        slots.add(None, &volume_key, &Secret::from(bytes.to_vec()), std::time::Duration::ZERO).unwrap();
        QUICK.open(storage, Access::ReadOnly, key(name), &resolver).unwrap();
    }
}

#[test]
fn images_are_recognised_and_measured() {
    let storage = image(1 << 16, Options::new());
    let registry = Registry::new([blk_luks::FORMAT, blk_luks::FORMAT]);
    assert_eq!(registry.probe(&*storage).unwrap().name(), "luks");
    let measured = blk_luks::FORMAT.measure(1 << 20, Options::new()).unwrap();
    assert_eq!(measured.fully_allocated, 3_117_056, "what qemu-img says");
    for (name, value) in
        [("cipher-alg", "des"), ("hash-alg", "md5"), ("ivgen-alg", "null"), ("colour", "red")]
    {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let error = QUICK.create_with(&storage, 512, key("first").with(name, value), &secrets()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(storage.len().unwrap(), 0);
    }
}
