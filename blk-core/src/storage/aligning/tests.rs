use super::*;
use crate::storage::{FaultRule, FaultStorage, MemoryStorage, Operation, StrictStorage};

const UNITS: [StorageLimits; 4] = [
    StorageLimits { alignment: 512, memory_alignment: 1 },
    StorageLimits { alignment: 4096, memory_alignment: 512 },
    StorageLimits { alignment: 512, memory_alignment: 4096 },
    StorageLimits { alignment: 1, memory_alignment: 512 },
];

fn strict(bytes: &[u8], limits: StorageLimits) -> Arc<dyn Storage> {
    Arc::new(StrictStorage::new(Arc::new(MemoryStorage::from_bytes(bytes)), limits))
}

#[test]
fn a_host_that_demands_nothing_is_taken_as_it_is() {
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    assert!(Arc::ptr_eq(&memory, &for_any_alignment(Arc::clone(&memory))));
    let aligned = for_any_alignment(strict(&[], UNITS[0]));
    assert!(aligned.limits().is_free(), "who stands above may ask for anything");
}

#[test]
fn a_strict_storage_refuses_what_is_unaligned_and_does_nothing() {
    let storage = strict(&[1; 8192], UNITS[1]);
    let mut aligned = Buffer::zeroed(8192, 512);
    storage.read_at(4096, &mut aligned[..4096]).unwrap();
    let misaligned =
        |result: Result<()>| assert!(matches!(result, Err(Error::Misaligned { .. })), "{result:?}");
    misaligned(storage.read_at(512, &mut aligned[..4096]));
    misaligned(storage.write_at(0, &aligned[..512]));
    misaligned(storage.write_zeroes_at(Extent::new(0, 512)));
    misaligned(storage.punch_hole(Extent::new(1, 4096)));
    misaligned(storage.zero_fast(Extent::new(4096, 1), true));
    assert!(storage.write_at(0, &aligned[1..4097]).is_err(), "a buffer at an odd address");
    storage.read_at(0, &mut aligned).unwrap();
    assert!(aligned[..] == [1; 8192]);
}

/// A small random generator (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Requests of any alignment from any address do what memory does, and the length is the same after each.
#[test]
fn requests_of_any_alignment_do_what_memory_does() {
    for limits in UNITS {
        let start: Vec<u8> = (0..20_001_u32).map(|at| at as u8 | 1).collect();
        let expected = MemoryStorage::from_bytes(&start);
        let aligned = for_any_alignment(strict(&start, limits));
        let mut random = Random(7);
        for number in 0..3000_u32 {
            let offset = random.next(30_000);
            let length = 1 + random.next(if number % 5 == 0 { 12_000 } else { 700 });
            let extent =
                if number % 7 == 0 { Extent::new(offset & !4095, 8192) } else { Extent::new(offset, length) };
            for storage in [&expected as &dyn Storage, &*aligned] {
                match number % 6 {
                    0 | 1 => storage.write_at(extent.offset, &vec![number as u8 | 1; extent.length as usize]),
                    2 => storage.write_zeroes_at(extent),
                    3 => storage.punch_hole(extent),
                    4 if number % 4 == 0 => storage.set_len(offset.max(5000)),
                    _ => storage.sync(),
                }
                .unwrap();
            }
            assert_eq!(aligned.len().unwrap(), expected.len().unwrap(), "{number}: {extent:?} {limits:?}");
            let shift = random.next(4) as usize;
            let [mut a, mut b] = [(); 2].map(|()| vec![9; 5000 + shift]);
            expected.read_at(offset, &mut a[shift..]).unwrap();
            aligned.read_at(offset, &mut b[shift..]).unwrap();
            assert!(a == b, "{number}: {extent:?} {limits:?}");
        }
        assert_eq!(expected.to_bytes(1 << 20).unwrap(), {
            let mut all = vec![0; aligned.len().unwrap() as usize];
            aligned.read_at(0, &mut all).unwrap();
            all
        });
    }
}

#[test]
fn fast_zeroes_are_those_of_whole_units() {
    let aligned = for_any_alignment(strict(&[1; 8192], UNITS[0]));
    assert!(matches!(aligned.zero_fast(Extent::new(100, 1000), false), Err(Error::Unsupported { .. })));
    aligned.zero_fast(Extent::new(512, 1024), true).unwrap();
    aligned.zero_fast(Extent::new(8192, 100), true).unwrap();
    let mut bytes = [9; 8192];
    aligned.read_at(0, &mut bytes).unwrap();
    assert!(bytes[..512] == [1; 512] && bytes[512..1536] == [0; 1024] && bytes[1536..] == [1; 6656]);
}

#[test]
fn a_failure_leaves_the_length_and_the_neighbours() {
    let fault = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::from_bytes(&[1; 1000]))));
    let host: Arc<dyn Storage> =
        Arc::new(StrictStorage::new(Arc::clone(&fault) as Arc<dyn Storage>, UNITS[0]));
    let aligned = for_any_alignment(host);
    // The head is written, then the middle fails: the file ends inside a unit again.
    fault.add_rule(FaultRule::fail(5).on(Operation::Write).after(1));
    assert_eq!(aligned.write_at(990, &[2; 2000]).unwrap_err().errno(), 5);
    assert_eq!(
        aligned.len().unwrap(),
        1024,
        "as far as it was written, and no further than the request reaches"
    );
    let mut bytes = [9; 1100];
    aligned.read_at(0, &mut bytes).unwrap();
    assert!(bytes[..990] == [1; 990] && bytes[990..1024] == [2; 34] && bytes[1024..] == [0; 76]);
}

#[test]
fn neighbours_in_one_unit_do_not_undo_one_another() {
    let aligned = for_any_alignment(strict(&[0; 4096], UNITS[1]));
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let aligned = &aligned;
            scope.spawn(move || {
                for round in 0..200_u64 {
                    let at = round % 16 * 256 + u64::from(thread) * 64;
                    aligned.write_at(at, &[thread + 1; 64]).unwrap();
                }
            });
        }
    });
    let mut bytes = [0; 4096];
    aligned.read_at(0, &mut bytes).unwrap();
    for (at, byte) in bytes.iter().enumerate() {
        assert_eq!(usize::from(*byte), at / 64 % 4 + 1, "{at}");
    }
}
