use std::sync::Arc;

use blk_core::storage::Event;
use blk_core::{Extent, MemoryStorage, Storage};

use super::{Breakpoints, DebugStorage};
use crate::spec::rules::Rules;
use crate::spec::text;

fn storage(rules: &str) -> DebugStorage {
    let rules = Rules::take(&mut text::key_values(rules).unwrap()).unwrap();
    DebugStorage::new(Arc::new(MemoryStorage::from_bytes(&[1; 4096])), rules, |_| {})
}

fn read(storage: &DebugStorage, offset: u64) -> i32 {
    storage.event(Event::ReadAio);
    storage.read_at(offset, &mut [0; 512]).map_or_else(|error| error.errno(), |()| 0)
}

fn write(storage: &DebugStorage) -> i32 {
    storage.event(Event::WriteAio);
    storage.write_at(0, &[0; 512]).map_or_else(|error| error.errno(), |()| 0)
}

#[test]
fn an_event_activates_its_rules_in_place_of_others() {
    let storage = storage(
        "inject-error.0.event=read_aio,inject-error.0.errno=5,\
         inject-error.1.event=write_aio,inject-error.1.errno=28",
    );
    assert_eq!(storage.sync().map_err(|error| error.errno()), Ok(()), "nothing is active yet");
    assert_eq!((read(&storage, 0), write(&storage), read(&storage, 0)), (5, 28, 5));
    assert_eq!(storage.sync().unwrap_err().errno(), 5, "the rule stays active");
    assert!(storage.run_at(0).is_ok(), "the block status fails only where a rule says so");
}

#[test]
fn once_is_once_and_the_first_rule_comes_first() {
    let storage = storage(
        "inject-error.0.event=read_aio,inject-error.0.errno=5,inject-error.0.once=on,\
         inject-error.1.event=read_aio,inject-error.1.errno=28,inject-error.1.once=on",
    );
    assert_eq!((read(&storage, 0), read(&storage, 0), read(&storage, 0)), (5, 28, 0));
}

#[test]
fn sectors_and_states_limit_a_rule() {
    let by_sector = storage("inject-error.0.event=read_aio,inject-error.0.sector=1,inject-error.0.once=on");
    assert_eq!((read(&by_sector, 0), read(&by_sector, 512), read(&by_sector, 512)), (0, 5, 0));
    let by_state = storage(
        "set-state.0.event=read_aio,set-state.0.state=1,set-state.0.new_state=2,\
         inject-error.0.event=read_aio,inject-error.0.state=2",
    );
    assert_eq!((read(&by_state, 0), read(&by_state, 0)), (0, 5));
}

#[test]
fn none_holds_from_the_beginning_and_kinds_limit_it() {
    let storage = storage("inject-error.0.event=none,inject-error.0.iotype=write-zeroes");
    assert_eq!((read(&storage, 0), write(&storage)), (0, 0));
    assert_eq!(storage.write_zeroes_at(Extent::new(0, 10)).unwrap_err().errno(), 5);
    assert_eq!(storage.zero_fast(Extent::new(0, 10), true).unwrap_err().errno(), 5);
    storage.punch_hole(Extent::new(0, 10)).unwrap();
}

#[test]
fn errno_0_uses_a_rule_up_without_a_failure() {
    let storage = storage(
        "inject-error.0.event=none,inject-error.0.errno=0,inject-error.0.once=on,inject-error.1.event=none",
    );
    let operation = || storage.sync().map_err(|error| error.errno());
    assert_eq!((operation(), operation()), (Ok(()), Err(5)));
}

#[test]
fn requests_stop_at_break_points_until_they_are_let_go() {
    let storage = Arc::new(storage(""));
    storage.set("read_aio", "A").unwrap();
    storage.set("read_aio", "B").unwrap();
    assert_eq!(storage.set("nothing", "A").unwrap_err().errno(), 2);
    assert_eq!(storage.resume("A").unwrap_err().errno(), 2);
    let other = Arc::clone(&storage);
    let thread = std::thread::spawn(move || read(&other, 0));
    storage.wait_suspended("A");
    assert!(storage.is_suspended("B"));
    assert_eq!(read(&storage, 0), 0, "a break point stops one request");
    storage.resume("A").unwrap();
    assert!(!storage.is_suspended("A") && storage.is_suspended("B"));
    assert_eq!(
        storage.remove("B").unwrap_err().errno(),
        2,
        "gone since it stopped the request, which goes on"
    );
    assert_eq!(thread.join().unwrap(), 0);
    storage.set("read_aio", "C").unwrap();
    storage.remove("C").unwrap();
    assert_eq!(read(&storage, 0), 0);
}
