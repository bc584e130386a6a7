//! Headers from others: every field is bounded, and an error names it.

mod common;

use std::sync::Arc;

use blk_core::{Access, Format, MemoryStorage, Options, Storage};
use blk_luks::Header;
use common::{QUICK, bytes, image, key, secrets};

fn refused(start: &[u8], offset: usize, with: &[u8]) -> String {
    let mut changed = start.to_vec();
    changed[offset..offset + with.len()].copy_from_slice(with);
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&changed));
    match QUICK.open(storage, Access::ReadOnly, key("first"), &secrets()) {
        Ok(_) => "it opens".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn fields_out_of_bounds_are_named() {
    let start = bytes(&*image(1 << 12, Options::new()));
    let slot = |index: usize, field: usize| 208 + 48 * index + field;
    let most = [0xff; 4];
    for (offset, with, said) in [
        (0, &b"X"[..], "magic"),
        (6, &[0, 2], "version 2"),
        (8, b"cast5", "cipher 'cast5'"),
        (8, &[0xff], "cipher name"),
        (40, b"xts-benbi", "generator 'benbi"),
        (40, b"lrw", "mode 'lrw"),
        (40, &[0], "mode ''"),
        (40, b"cbc", "key bytes is 64"),
        (72, b"md5\0", "hash 'md5'"),
        (72, &[b'x'; 32], "hash 'xxxx"),
        (104, &[0; 4], "header="),
        (104, &[0, 0, 0, 1], "offset 0x68: the payload offset is 512"),
        (104, &[0, 0, 0, 16], "slot 1"),
        (104, &most, "the payload offset is 2199023255040, the file has"),
        (108, &[0; 4], "offset 0x6c: key bytes is 0"),
        (108, &most, "key bytes is 4294967295"),
        (164, &[0; 4], "offset 0xa4: the number of iterations is 0"),
        (164, &most, "4294967295 iterations"),
        (168, &[7], "UUID"),
        (slot(0, 0), &[0; 4], "offset 0xd0: slot 0: its state is 0x00000000"),
        (slot(7, 0), &most, "slot 7: its state is 0xffffffff"),
        (slot(0, 4), &[0; 4], "slot 0: the number of iterations is 0"),
        (slot(0, 4), &most, "key slot 0 of 4294967295 iterations"),
        (slot(0, 40), &[0; 4], "the material of slot 0, 0 to 512, lies over the header"),
        (slot(3, 40), &[0, 0, 0, 8], "lies over that of slot 0"),
        (slot(3, 40), &most, "lies over the payload"),
        (slot(0, 44), &[0; 4], "slot 0: it has 0 stripes"),
        (slot(7, 44), &most, "slot 7: it has 4294967295 stripes"),
        (slot(0, 44), &[0, 0, 0x20, 0], "lies over the payload"),
        (slot(0, 8), &[0xee; 32], "Invalid password"),
        (132, &[0xee; 32], "Invalid password"),
    ] {
        let error = refused(&start, offset, with);
        assert!(error.contains(said), "{offset} {with:02x?}: {error}");
    }
    assert_eq!(refused(&start, 0, b"LUKS"), "it opens");
}

#[test]
fn a_file_that_ends_early_is_no_image() {
    let start = bytes(&*image(1 << 12, Options::new()));
    for length in [0, 5, 591, 592, 4096, 36_000] {
        let error = refused(&start[..length], 0, &[]);
        assert_ne!(error, "it opens", "{length}");
    }
}

/// One that asks for too much work is refused before any is done.
#[test]
fn work_is_bounded() {
    let storage = image(1 << 12, Options::new());
    let impatient = QUICK.with_iterations_max(999);
    let error = impatient.open(Arc::clone(&storage), Access::ReadOnly, key("first"), &secrets()).unwrap_err();
    assert!(error.to_string().contains("key slot 0 of 1000 iterations: more than 999"), "{error}");
    QUICK.with_iterations_max(1000).open(storage, Access::ReadOnly, key("first"), &secrets()).unwrap();
}

/// What a header says that is of no use here stays in it.
#[test]
fn a_header_keeps_its_words() {
    let storage = image(1 << 12, Options::new().with("cipher-mode", "cbc").with("cipher-alg", "aes-128"));
    storage.write_at(40, b"cbc-plain64:whirlpool-of-no-use!").unwrap();
    let header = Header::read(&*storage, 0).unwrap();
    assert_eq!(header.algorithms.mode_name(), "cbc-plain64");
    let disk = common::open(&storage, "first").unwrap();
    let (mut progress, resolver) = (|_, _| (), secrets());
    let options = Options::new().with("state", "active").with("new-secret", "second");
    let amendment =
        blk_core::Amendment { options, force: false, resolver: &resolver, progress: &mut progress };
    blk_core::Amend::amend(&disk, amendment).unwrap();
    assert_eq!(bytes(&*storage)[40..72], *b"cbc-plain64:whirlpool-of-no-use!");
    common::open(&storage, "second").unwrap();
}
