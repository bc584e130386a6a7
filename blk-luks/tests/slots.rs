//! Key slots: added, erased, kept; and what a crash between two writes leaves.

mod common;

use std::sync::Arc;

use blk_core::storage::{FaultRule, FaultStorage, Operation};
use blk_core::{
    Access, Amend, Amendment, Disk, Error, Format, MemoryStorage, Options, Result, Storage, WriteFlags,
};
use blk_luks::{Header, KeySlots, Repeatable};
use common::{QUICK, bytes, image, key, open, secret, secrets};

/// Other bytes than those that images are made with.
static OTHER: Repeatable = Repeatable::new(9);

fn amend(disk: &Disk, options: &[(&str, &str)], force: bool) -> Result<()> {
    let options = options.iter().fold(Options::new(), |all, (name, value)| all.with(name, *value));
    let (mut told, resolver) = (Vec::new(), secrets());
    let mut progress = |done, all| told.push((done, all));
    disk.amend(Amendment { options, force, resolver: &resolver, progress: &mut progress })?;
    assert_eq!(told, [(0, 1), (1, 1)]);
    Ok(())
}

fn active(storage: &Arc<dyn Storage>) -> Vec<usize> {
    let header = Header::read(&**storage, 0).unwrap();
    (0..8).filter(|slot| header.slots[*slot].is_active).collect()
}

#[test]
fn slots_are_added_and_erased_and_the_disk_stays_the_same() {
    let storage = image(1 << 16, Options::new());
    let disk = open(&storage, "first").unwrap();
    disk.write(5000, &[7; 3000], WriteFlags::default()).unwrap();
    amend(&disk, &[("state", "active"), ("new-secret", "second"), ("iter-time", "0")], false).unwrap();
    amend(&disk, &[("state", "active"), ("new-secret", "third"), ("keyslot", "6")], false).unwrap();
    amend(&disk, &[("state", "active"), ("new-secret", "third"), ("keyslot", "7")], false).unwrap();
    assert_eq!(active(&storage), [0, 1, 6, 7]);
    for name in ["first", "second", "third"] {
        let mut read = [0; 3000];
        open(&storage, name).unwrap().read(5000, &mut read).unwrap();
        assert!(read == [7; 3000], "{name}");
    }
    amend(&disk, &[("state", "inactive"), ("old-secret", "third")], false).unwrap();
    amend(&disk, &[("state", "inactive"), ("keyslot", "0")], false).unwrap();
    assert_eq!(active(&storage), [1]);
    let refused = open(&storage, "first").unwrap_err().to_string();
    assert!(refused.contains("Invalid password, cannot unlock any keyslot"), "{refused}");
    open(&storage, "second").unwrap();
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let storage = image(1 << 16, Options::new());
    let disk = open(&storage, "first").unwrap();
    amend(&disk, &[("state", "active"), ("new-secret", "second"), ("keyslot", "5")], false).unwrap();
    let before = bytes(&*storage);
    let active = ("state", "active");
    let inactive = ("state", "inactive");
    for (options, said) in [
        (&[][..], "'state' is missing"),
        (&[("keyslot", "1")], "'state' is missing"),
        (&[("state", "gone")], "'gone'"),
        (&[active], "'new-secret' is required"),
        (&[active, ("new-secret", "nobody")], "nobody"),
        (&[active, ("new-secret", "third"), ("old-secret", "first")], "must not be given when activating"),
        (&[active, ("new-secret", "third"), ("keyslot", "5")], "Refusing to overwrite active keyslot 5"),
        (&[active, ("new-secret", "third"), ("keyslot", "8")], "Invalid keyslot 8"),
        (&[inactive], "To erase keyslot(s)"),
        (&[inactive, ("keyslot", "9")], "Invalid keyslot 9"),
        (&[inactive, ("keyslot", "4")], "Given keyslot 4 is already erased"),
        (&[inactive, ("keyslot", "5"), ("new-secret", "third")], "must not be given when erasing"),
        (&[inactive, ("keyslot", "5"), ("iter-time", "5")], "must not be given when erasing"),
        (&[inactive, ("old-secret", "third")], "No keyslots match"),
        (&[inactive, ("old-secret", "first"), ("keyslot", "5")], "No keyslots match"),
        (&[("size", "1M")], "'size'"),
    ] {
        let error = amend(&disk, options, false).unwrap_err().to_string();
        assert!(error.contains(said), "{options:?}: {error}");
    }
    assert!(bytes(&*storage) == before, "what was refused has changed something");
    let read_only = QUICK.open(storage, Access::ReadOnly, key("first"), &secrets()).unwrap();
    let error = amend(&read_only, &[inactive, ("keyslot", "5")], false).unwrap_err();
    assert!(matches!(error, Error::ReadOnly), "{error}");
}

#[test]
fn the_last_slot_goes_by_force_only() {
    let storage = image(1 << 16, Options::new());
    let disk = open(&storage, "first").unwrap();
    for by in [("keyslot", "0"), ("old-secret", "first")] {
        let error = amend(&disk, &[("state", "inactive"), by], false).unwrap_err().to_string();
        assert!(error.contains("irreversibly - refusing operation"), "{error}");
    }
    amend(&disk, &[("state", "inactive"), ("keyslot", "0")], true).unwrap();
    assert_eq!(active(&storage), [0_usize; 0]);
    assert!(open(&storage, "first").is_err());
    // Whoever has it open still has the key.
    amend(&disk, &[("state", "active"), ("new-secret", "second")], false).unwrap();
    open(&storage, "second").unwrap();
}

/// What a change leaves on a storage that takes only so many writes, and whether it was done.
fn stopped_after(steps: u64, image: &[u8], change: &dyn Fn(&mut KeySlots) -> Result<()>) -> (Vec<u8>, bool) {
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(image));
    let fault = Arc::new(FaultStorage::new(Arc::clone(&memory)));
    let mut slots = KeySlots::open(Arc::clone(&fault) as _, 0, &OTHER).unwrap();
    fault.add_rule(FaultRule::fail(5).on(Operation::Write).after(steps).sticky());
    let done = change(&mut slots).is_ok();
    fault.clear_rules();
    (bytes(&*memory), done)
}

/// Whatever write is the last, one of the passphrases that belong to the old state or the new one opens.
#[test]
fn a_crash_leaves_the_old_slot_or_the_new_one() {
    let storage = image(1 << 12, Options::new());
    let start = bytes(&*storage);
    let opens = |image: &[u8], name: &str| {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(image));
        open(&storage, name).is_ok()
    };
    let volume_key = {
        let slots = KeySlots::open(Arc::clone(&storage), 0, &OTHER).unwrap();
        slots.unlock(&secret("first")).unwrap().unwrap().1
    };
    for slot in [1, 5, 6, 7] {
        let add = |slots: &mut KeySlots| {
            slots.add(Some(slot), &volume_key, &secret("second"), std::time::Duration::ZERO).map(drop)
        };
        let mut complete = None;
        for steps in 0.. {
            let (left, done) = stopped_after(steps, &start, &add);
            assert!(opens(&left, "first"), "slot {slot}: the old one is lost after {steps} writes");
            if done {
                assert!(steps >= 3 && opens(&left, "second"), "slot {slot}");
                complete = Some(left);
                break;
            }
            assert!(!opens(&left, "second"), "slot {slot} opens before it is whole, after {steps} writes");
        }
        let with_both = complete.unwrap();
        for steps in 0.. {
            let (left, done) = stopped_after(steps, &with_both, &|slots| slots.erase(slot));
            assert!(opens(&left, "first"), "slot {slot}: erasing loses another one after {steps} writes");
            assert_eq!(opens(&left, "second"), steps == 0, "slot {slot} after {steps} writes");
            if done {
                let header = Header::read(&MemoryStorage::from_bytes(&left), 0).unwrap();
                let material = header.slots[slot].material_offset as usize;
                assert_ne!(left[material..material + 128], with_both[material..material + 128]);
                break;
            }
        }
    }
}

/// A sync that fails leaves the slot erased: its material goes all the same, or later.
#[test]
fn an_erase_that_failed_midway_forgets_the_key() {
    for slot in [0, 6, 7] {
        for failing in 0..3 {
            let memory = image(1 << 12, Options::new());
            let fault = Arc::new(FaultStorage::new(Arc::clone(&memory)));
            let mut slots = KeySlots::open(Arc::clone(&fault) as _, 0, &OTHER).unwrap();
            let (_, volume_key) = slots.unlock(&secret("first")).unwrap().unwrap();
            if slot != 0 {
                slots.add(Some(slot), &volume_key, &secret("second"), std::time::Duration::ZERO).unwrap();
            }
            let extent = slots.header().slots[slot].material_offset as usize..;
            let extent = extent.start..extent.start + 512;
            let before = bytes(&*memory)[extent.clone()].to_vec();
            fault.add_rule(FaultRule::fail(5).on(Operation::Sync).after(failing));
            let error = slots.erase(slot).unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error}");
            fault.clear_rules();
            assert!(!slots.header().slots[slot].is_active);
            assert!(bytes(&*memory)[extent] != before, "slot {slot}, sync {failing}: the material is there");
            slots.erase(slot).unwrap();
        }
    }
}

/// The first error is told, not that of looking at the header again.
#[test]
fn an_error_is_not_hidden_by_a_later_one() {
    let fault = Arc::new(FaultStorage::new(image(1 << 12, Options::new())));
    let mut slots = KeySlots::open(Arc::clone(&fault) as _, 0, &OTHER).unwrap();
    fault.add_rule(FaultRule::fail(28).on(Operation::Write));
    fault.add_rule(FaultRule::fail(5).on(Operation::Read).sticky());
    let error = slots.erase(0).unwrap_err().to_string();
    let said = Error::io("write", 0, std::io::Error::from_raw_os_error(28)).to_string();
    let reason = said.rsplit(": ").next().unwrap();
    assert!(error.contains(reason), "{error}; {reason}");
}

/// One slot that cannot be erased is no reason to keep the others.
#[test]
fn all_slots_of_a_passphrase_are_erased_even_if_one_fails() {
    let fault = Arc::new(FaultStorage::new(image(1 << 12, Options::new())));
    let storage: Arc<dyn Storage> = Arc::clone(&fault) as _;
    let disk = open(&storage, "first").unwrap();
    for slot in ["2", "4"] {
        amend(&disk, &[("state", "active"), ("new-secret", "second"), ("keyslot", slot)], false).unwrap();
    }
    fault.add_rule(FaultRule::fail(5).on(Operation::Write));
    amend(&disk, &[("state", "inactive"), ("old-secret", "second")], false).unwrap_err();
    fault.clear_rules();
    assert_eq!(active(&storage), [0, 2]);
    amend(&disk, &[("state", "inactive"), ("old-secret", "second")], false).unwrap();
    let again = [("state", "inactive"), ("keyslot", "4")];
    let error = amend(&disk, &again, false).unwrap_err().to_string();
    assert!(error.contains("with force"), "{error}");
    amend(&disk, &again, true).unwrap();
}

/// The header lies in the file that the data lies in: a sync that has failed for one has failed for both.
#[test]
fn a_failed_sync_of_the_header_is_not_forgotten_by_the_disk() {
    let fault = Arc::new(FaultStorage::new(image(1 << 12, Options::new())));
    let storage: Arc<dyn Storage> = Arc::clone(&fault) as _;
    let disk = open(&storage, "first").unwrap();
    disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    fault.add_rule(FaultRule::fail(5).on(Operation::Sync));
    amend(&disk, &[("state", "active"), ("new-secret", "second")], false).unwrap_err();
    fault.clear_rules();
    assert!(matches!(disk.flush(), Err(Error::Poisoned { .. })));
    open(&storage, "first").unwrap();
}
