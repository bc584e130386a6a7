//! Headers from others: every field is bounded, and an error names it.

mod common;

use std::sync::Arc;
use std::time::Duration;

use blk_core::storage::{FaultRule, FaultStorage, Operation};
use blk_core::{Access, Error, Format, MemoryStorage, Options, Storage};
use blk_luks::{Header, KeySlots, Repeatable};
use common::{QUICK, bytes, image, key, secret, secrets};

/// Other bytes than those that images are made with.
static OTHER: Repeatable = Repeatable::new(9);

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
        (104, &[0, 0, 0, 16], "the material of slot 1, 8192 to 8704, lies over the payload"),
        (104, &most, "the payload offset is 2199023255040, the file has"),
        (108, &[0; 4], "offset 0x6c: key bytes is 0"),
        (108, &most, "key bytes is 4294967295"),
        (164, &[0; 4], "offset 0xa4: the number of iterations is 0"),
        (164, &most, "with a digest of 4294967295: "),
        (168, &[7], "UUID"),
        (slot(0, 0), &[0; 4], "offset 0xd0: slot 0: its state is 0x00000000"),
        (slot(7, 0), &most, "slot 7: its state is 0xffffffff"),
        (slot(0, 4), &[0; 4], "slot 0: the number of iterations is 0"),
        (slot(0, 4), &most, "key slot 0 of 4294967295 iterations, with a digest of 1000: 8589935590 rounds"),
        (slot(0, 40), &[0; 4], "the material of slot 0, 0 to 512, lies over the header"),
        (slot(3, 40), &[0, 0, 0, 8], "lies over that of slot 0"),
        (slot(3, 40), &most, "lies over the payload"),
        (slot(0, 44), &[0; 4], "slot 0: it has 0 stripes"),
        (slot(7, 44), &most, "slot 7: it has 4294967295 stripes"),
        (slot(0, 44), &[0, 0, 0x20, 0], "lies over that of slot 0"),
        (slot(7, 44), &[0, 0, 0x20, 0], "lies over the payload"),
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

/// Rounds of one slot of images as tests have them: 1000 iterations for each of the two parts of a key, and
/// the digest.
const EACH: u64 = 3000;

/// One that asks for too much work is refused before any is done.
#[test]
fn work_is_bounded() {
    let storage = image(1 << 12, Options::new());
    let open = |rounds_max: u64| {
        let format = QUICK.with_rounds_max(rounds_max);
        format.open(Arc::clone(&storage), Access::ReadOnly, key("first"), &secrets())
    };
    let error = open(EACH - 1).unwrap_err().to_string();
    let said =
        "key slot 0 of 1000 iterations, with a digest of 1000: 3000 rounds of sha256, and more than 2999";
    assert!(error.contains(said), "{error}");
    open(EACH).unwrap();
    // What is wrong with the place of the disk is found before.
    storage.write_at(104, &[0xff; 4]).unwrap();
    let error = open(0).unwrap_err().to_string();
    assert!(error.contains("the payload offset is 2199023255040, the file has"), "{error}");
}

/// The bound is one for all slots.
#[test]
fn the_work_of_all_slots_is_bounded_together() {
    let storage = image(1 << 12, Options::new());
    let slots = || KeySlots::open(Arc::clone(&storage), 0, &OTHER).unwrap();
    let volume_key = slots().unlock(&secret("first")).unwrap().unwrap().1;
    for _ in 1..8 {
        slots().add(None, &volume_key, &secret("second"), Duration::ZERO).unwrap();
    }
    let wrong = secret("third");
    assert!(slots().with_rounds_max(8 * EACH).unlock(&wrong).unwrap().is_none());
    let error = slots().with_rounds_max(8 * EACH - 1).unlock(&wrong).unwrap_err().to_string();
    assert!(error.contains("key slot 7"), "{error}");
    let some = slots().with_rounds_max(8 * EACH - 1);
    assert_eq!(some.unlock(&secret("second")).unwrap().unwrap().0, 1);
    // Which slots match is known of all or of none.
    assert_eq!(slots().with_rounds_max(8 * EACH).matching(&secret("first")).unwrap(), [0]);
    some.matching(&secret("first")).unwrap_err();
}

/// A slot that asks for too much, or that cannot be read, keeps no other passphrase from working.
#[test]
fn a_slot_that_cannot_be_tried_leaves_the_others_usable() {
    let storage = image(1 << 12, Options::new());
    let slots = |storage: &Arc<dyn Storage>| KeySlots::open(Arc::clone(storage), 0, &OTHER).unwrap();
    let volume_key = slots(&storage).unlock(&secret("first")).unwrap().unwrap().1;
    slots(&storage).add(Some(3), &volume_key, &secret("second"), Duration::ZERO).unwrap();
    storage.write_at(208 + 4, &[0xff; 4]).unwrap();
    assert_eq!(slots(&storage).unlock(&secret("second")).unwrap().unwrap().0, 3);
    let error = slots(&storage).unlock(&secret("third")).unwrap_err().to_string();
    assert!(error.contains("key slot 0 of 4294967295 iterations"), "{error}");
    storage.write_at(208 + 4, &1000_u32.to_be_bytes()).unwrap();
    let fault = Arc::new(FaultStorage::new(Arc::clone(&storage)));
    let read = slots(&(Arc::clone(&fault) as _));
    fault.add_rule(FaultRule::fail(5).on(Operation::Read));
    assert_eq!(read.unlock(&secret("second")).unwrap().unwrap().0, 3);
    fault.add_rule(FaultRule::fail(5).on(Operation::Read));
    assert!(matches!(read.unlock(&secret("third")), Err(Error::Io { .. })));
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
