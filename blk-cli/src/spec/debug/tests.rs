use std::sync::Arc;

use blk_core::testing::{Maker, conformance};
use blk_core::{
    Access, DenyResolver, DiscardFlags, Disk, Error, Extent, MemoryStorage, Options, Result, Storage,
    WriteFlags,
};

use super::{Breakpoints, DebugNode, DebugStorage, Engine};
use crate::spec::limits::Limits;
use crate::spec::rules::Rules;
use crate::spec::text;

fn engine(rules: &str) -> Arc<Engine> {
    let rules = Rules::take(&mut text::key_values(rules).unwrap()).unwrap();
    Arc::new(Engine::new(rules, false, |_| {}))
}

fn storage(rules: &str) -> DebugStorage {
    over_bytes(engine(rules))
}

fn over_bytes(engine: Arc<Engine>) -> DebugStorage {
    DebugStorage::new(Arc::new(MemoryStorage::from_bytes(&[1; 4096])), engine)
}

fn read(storage: &DebugStorage, offset: u64) -> i32 {
    storage.step(&blk_raw::steps::READ_AIO);
    storage.read_at(offset, &mut [0; 512]).map_or_else(|error| error.errno(), |()| 0)
}

fn write(storage: &DebugStorage) -> i32 {
    storage.step(&blk_raw::steps::WRITE_AIO);
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
    let operation = || storage.read_at(0, &mut [0]).map_err(|error| error.errno());
    assert_eq!((operation(), operation()), (Ok(()), Err(5)));
}

#[test]
fn requests_stop_at_break_points_until_they_are_let_go() {
    let engine = engine("");
    let storage = over_bytes(Arc::clone(&engine));
    engine.set("read_aio", "A").unwrap();
    engine.set("read_aio", "B").unwrap();
    assert_eq!(engine.set("nothing", "A").unwrap_err().errno(), 2);
    assert_eq!(engine.resume("A").unwrap_err().errno(), 2);
    let other = over_bytes(Arc::clone(&engine));
    let thread = std::thread::spawn(move || read(&other, 0));
    engine.wait_suspended("A");
    assert!(engine.is_suspended("B"));
    assert_eq!(read(&storage, 0), 0, "a break point stops one request");
    engine.resume("A").unwrap();
    assert!(!engine.is_suspended("A") && engine.is_suspended("B"));
    assert_eq!(
        engine.remove("B").unwrap_err().errno(),
        2,
        "gone since it stopped the request, which goes on"
    );
    assert_eq!(thread.join().unwrap(), 0);
    engine.set("read_aio", "C").unwrap();
    engine.remove("C").unwrap();
    assert_eq!(read(&storage, 0), 0);
}

#[test]
fn a_flush_fails_only_where_there_is_something_to_flush() {
    let flush = "inject-error.0.event=none,inject-error.0.iotype=flush";
    let over = storage(flush);
    over.sync().unwrap();
    over.write_at(0, &[1]).unwrap();
    assert_eq!(over.sync().unwrap_err().errno(), 5);
    assert_eq!(over.sync().unwrap_err().errno(), 5, "it has not been flushed yet");
    let rules = Rules::take(&mut text::key_values(flush).unwrap()).unwrap();
    let unasked = over_bytes(Arc::new(Engine::new(rules, true, |_| {})));
    unasked.write_at(0, &[1]).unwrap();
    unasked.sync().unwrap();
}

fn limits(options: &str) -> Limits {
    Limits::take(&mut text::key_values(options).unwrap()).unwrap()
}

/// A node over a qcow2 image.
fn node(storage: &Arc<dyn Storage>, access: Access, rules: &str, of: Limits) -> Result<(DebugNode, Disk)> {
    let image = blk_qcow2::FORMAT.open(Arc::clone(storage), access, Options::new(), &DenyResolver)?;
    let node = DebugNode::over(image, engine(rules), of);
    let front = node.front(of);
    Ok((node, front))
}

fn image() -> Arc<dyn Storage> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    blk_qcow2::FORMAT.create(&storage, 1 << 20, Options::new()).unwrap();
    storage
}

struct Limited(&'static str);

impl Maker for Limited {
    type Medium = Arc<dyn Storage>;

    fn make(&self, size: u64) -> Result<Self::Medium> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        blk_qcow2::FORMAT.create(&storage, size, Options::new().with("cluster_size", "4k"))?;
        Ok(storage)
    }

    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
        node(medium, access, "", limits(self.0)).map(|(_, front)| front)
    }
}

#[test]
fn a_node_over_an_image_is_a_disk() {
    conformance(&Limited(""));
    conformance(&Limited("align=512,max-transfer=8k,opt-write-zero=4k"));
}

#[test]
fn a_node_over_an_image_fails_as_its_rules_say() {
    let failing = |rules: &str| node(&image(), Access::ReadWrite, rules, Limits::default()).unwrap().1;
    let errno = |result: Result<()>| result.map_err(|error: Error| error.errno());
    let rule = |kind: &str| format!("inject-error.0.event=none,inject-error.0.iotype={kind}");
    let disk = failing(&rule("discard"));
    disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    assert_eq!(errno(disk.discard(Extent::new(0, 65536), DiscardFlags::default())), Err(5));
    let disk = failing(&rule("block-status"));
    assert_eq!(disk.block_status(Extent::new(0, 512)).unwrap_err().errno(), 5);
    let disk = failing(&rule("flush"));
    let durable = WriteFlags { fua: true, ..WriteFlags::default() };
    assert_eq!(errno(disk.write(0, &[1; 512], durable)), Ok(()), "nothing was written before");
    assert_eq!(errno(disk.write(0, &[1; 512], durable)), Err(5));
    assert_eq!(errno(disk.close()), Err(5));
    let disk = failing("inject-error.0.event=pwritev_done");
    let write = || errno(disk.write(0, &[1; 512], WriteFlags::default()));
    assert_eq!((write(), write()), (Ok(()), Err(5)), "the step after a write counts for the next one");
    let compressed = WriteFlags { compressed: true, ..WriteFlags::default() };
    let refused = failing("").write(0, &vec![1; 65536], compressed).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
}

#[test]
fn what_is_copied_stops_between_its_read_and_its_write() {
    let (node, front) = node(&image(), Access::ReadWrite, "", Limits::default()).unwrap();
    let copying =
        Disk::new(crate::io::copy_on_read::CopyOnRead::new(Arc::new(front), Some(&node)), Access::ReadWrite);
    for step in ["cor_write", "pwritev", "pwritev_zero", "pwritev_done"] {
        node.engine.set(step, step).unwrap();
    }
    let allocated = || copying.block_status(Extent::new(0, 512)).unwrap().allocated;
    std::thread::scope(|scope| {
        let read = scope.spawn(|| copying.read(0, &mut [0; 512]).unwrap());
        node.engine.wait_suspended("cor_write");
        assert!(!allocated(), "read and not yet written");
        let other = scope.spawn(|| copying.read(65536 * 2, &mut [0; 512]).unwrap());
        other.join().unwrap();
        node.engine.resume("cor_write").unwrap();
        read.join().unwrap();
    });
    assert!(allocated());
    assert!(!node.engine.is_suspended("pwritev_zero"), "a copy is no request");
}
