//! What requests to a raw image do to its file, operation by operation.

use std::sync::Arc;

use blk_core::storage::{Operation, TraceStorage};
use blk_core::{Access, DenyResolver, Disk, Extent, MemoryStorage, Options, Preallocation, Storage};
use blk_raw::FORMAT;

/// Where the disk starts in the file.
const START: u64 = 1536;

/// A file of `START` ones and `size` twos; the disk is what follows the ones.
struct Subject {
    disk: Disk,
    memory: Arc<MemoryStorage>,
    trace: Arc<TraceStorage>,
}

impl Subject {
    fn new(size: u64, options: Options) -> Self {
        let mut bytes = vec![1; START as usize];
        bytes.resize((START + size) as usize, 2);
        let memory = Arc::new(MemoryStorage::from_bytes(&bytes));
        let trace = Arc::new(TraceStorage::new(Arc::clone(&memory) as _, 1000));
        let options = options.with("offset", START);
        let disk = FORMAT.open(Arc::clone(&trace) as _, Access::ReadWrite, options, &DenyResolver).unwrap();
        Self { disk, memory, trace }
    }

    /// What `action` does to the file.
    fn steps(&self, action: impl FnOnce(&Disk)) -> Vec<(Operation, Extent)> {
        let before = self.trace.operation_count();
        action(&self.disk);
        let entries = self.trace.entries().into_iter().filter(|entry| entry.number > before);
        entries.map(|entry| (entry.operation, entry.extent)).collect()
    }
}

#[test]
fn requests_are_moved_by_the_start_of_the_window_and_nothing_else() {
    let subject = Subject::new(4096, Options::new());
    let mut read = [0; 10];
    let steps = subject.steps(|disk| disk.read(100, &mut read).unwrap());
    assert_eq!((steps, read), (vec![(Operation::Read, Extent::new(START + 100, 10))], [2; 10]));
    let steps = subject.steps(|disk| disk.flush().unwrap());
    assert_eq!(steps.iter().map(|(operation, _)| *operation).collect::<Vec<_>>(), [Operation::Sync]);
    let steps = subject.steps(|disk| disk.resize(5000).unwrap());
    assert_eq!(steps, [(Operation::SetLen, Extent::new(START + 5000, 0))], "nothing lies past the end");
}

#[test]
fn what_a_disk_gains_is_written_in_pieces_to_its_end() {
    let subject = Subject::new(1000, Options::new());
    let size = 1000 + (600 << 10);
    let steps = subject.steps(|disk| disk.grow(size, Preallocation::Full).unwrap());
    let writes =
        steps.iter().filter(|(operation, _)| *operation == Operation::Write).map(|(_, extent)| *extent);
    let (begin, end, piece) = (START + 1000, START + size, 256 << 10);
    let expected =
        [(begin, piece), (piece, 2 * piece), (2 * piece, end)].map(|(from, to)| Extent::between(from, to));
    assert_eq!(writes.collect::<Vec<_>>(), expected);
    assert_eq!((subject.memory.len().unwrap(), subject.disk.size()), (START + size, size));
    let mut read = vec![9; size as usize];
    subject.disk.read(0, &mut read).unwrap();
    assert!(read[..1000].iter().all(|byte| *byte == 2) && read[1000..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_window_reaches_to_the_end_of_the_file_at_most() {
    let open = |size: u64, options: Options| {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&[1; 2000]));
        let options = options.with("size", size);
        FORMAT.open(storage, Access::ReadWrite, options, &DenyResolver).map(|disk| disk.size())
    };
    let offset = || Options::new().with("offset", 500);
    assert_eq!((open(2000, Options::new()).unwrap(), open(1500, offset()).unwrap()), (2000, 1500));
    assert!(open(2001, Options::new()).is_err() && open(1501, offset()).is_err());
}

#[test]
fn a_new_file_gets_its_length_at_once() {
    for (old, lengths) in [(&[][..], &[700][..]), (&[1; 300][..], &[700, 0, 700])] {
        let trace = Arc::new(TraceStorage::new(Arc::new(MemoryStorage::from_bytes(old)), 100));
        FORMAT.create(&(Arc::clone(&trace) as Arc<dyn Storage>), 700, Options::new()).unwrap();
        let set: Vec<u64> = trace.entries().iter().map(|entry| entry.extent.offset).collect();
        assert_eq!(set, lengths);
    }
}
