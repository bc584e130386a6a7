//! What a request costs, layer by layer, in memory: the raw driver, the qcow2 driver, the verifier over both;
//! and what a whole scenario costs. `cargo bench -p blk-testbed`; ratios against peers: `cargo xtask bench`.

use std::hint::black_box;
use std::sync::Arc;

use blk_core::{Access, DenyResolver, Disk, Format, MemoryStorage, Options, Storage, WriteFlags};
use blk_harness::generate::{Generator, Limits};
use blk_harness::scenario::Scenario;
use blk_harness::{Engine, RunOptions};
use blk_testbed::{QCOW2, Qcow2Target};
use blk_verify::{Policy, Verify};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const DISK_BYTES: u64 = 1 << 20;
const BLOCK_BYTES: usize = 4096;

/// A disk in memory, written whole.
fn disk(format: &dyn Format) -> Arc<Disk> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    format.create(&storage, DISK_BYTES, Options::new()).expect("the options are legal");
    let disk =
        format.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).expect("the image opens");
    disk.write(0, &vec![0x5a; DISK_BYTES as usize], WriteFlags::default()).expect("memory does not fail");
    Arc::new(disk)
}

fn requests(criterion: &mut Criterion) {
    let verify =
        Verify::new(disk(blk_raw::FORMAT), disk(blk_qcow2::FORMAT), Policy::Fail).expect("of the same size");
    let verified = Arc::new(Disk::new(verify, Access::ReadWrite));
    let disks = [("raw", disk(blk_raw::FORMAT)), ("qcow2", disk(blk_qcow2::FORMAT)), ("verify", verified)];
    let mut group = criterion.benchmark_group("4k");
    group.throughput(Throughput::Bytes(BLOCK_BYTES as u64));
    let mut buf = vec![0x5a; BLOCK_BYTES];
    for (name, disk) in &disks {
        let mut at = 0;
        let mut next = || {
            at = (at + 37 * BLOCK_BYTES as u64) % DISK_BYTES;
            at
        };
        group.bench_function(format!("read/{name}"), |bencher| {
            bencher.iter(|| disk.read(next(), black_box(&mut buf)).expect("memory does not fail"));
        });
        group.bench_function(format!("write/{name}"), |bencher| {
            bencher.iter(|| {
                disk.write(next(), black_box(&buf), WriteFlags::default()).expect("memory does not fail");
            });
        });
    }
    group.finish();
}

fn scenarios(criterion: &mut Criterion) {
    let mut generator = Generator::new(&QCOW2, 1, Limits::default());
    let mut engine = Engine::new(RunOptions { track_kinds: false, ..RunOptions::default() });
    criterion.bench_function("scenario/generate", |bencher| {
        let mut scenario = Scenario::default();
        bencher.iter(|| generator.next_into(black_box(&mut scenario)));
    });
    let mut generator = Generator::new(&QCOW2, 1, Limits::default());
    criterion.bench_function("scenario/run", |bencher| {
        let fresh = || generator.next().expect("there is always another");
        bencher.iter_batched(fresh, |scenario| engine.run(&Qcow2Target, &scenario), BatchSize::SmallInput);
    });
}

criterion_group!(benches, requests, scenarios);
criterion_main!(benches);
