//! Syncs of one storage for several callers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Storage;
use crate::sync::Mutex;
use crate::{Error, Result};

/// Makes a storage durable for several callers: one sync at a time, and none after one that failed.
///
/// When a sync fails, Linux drops what it could not write and tells one caller. Of two syncs in flight the
/// other one then succeeds, although its data is lost. So a driver that lets flushes run together must not
/// let their syncs: whoever waits here hears of the failure of the one before. A sync that has begun after
/// its caller came serves that caller too.
#[derive(Debug, Default)]
pub struct SyncGroup {
    /// Syncs that have begun.
    begun: AtomicU64,
    outcome: Mutex<Outcome>,
}

#[derive(Debug, Default)]
struct Outcome {
    /// The number of the last sync that succeeded.
    succeeded: u64,
    /// Why a sync failed.
    failed: Option<String>,
}

impl SyncGroup {
    /// A group whose storage has lost nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes durable what `storage`, always the same, has been given so far.
    ///
    /// # Errors
    /// That of the sync, whose failure is final; [`Error::Poisoned`] from then on.
    pub fn sync(&self, storage: &dyn Storage) -> Result<()> {
        let came_after = self.begun.load(Ordering::SeqCst);
        let mut outcome = self.outcome.lock();
        outcome.check()?;
        if outcome.succeeded > came_after {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        match storage.sync() {
            Ok(()) => outcome.succeeded = number,
            Err(error) => {
                outcome.failed = Some(error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether no sync has failed.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if one has.
    pub fn check(&self) -> Result<()> {
        self.outcome.lock().check()
    }
}

impl Outcome {
    fn check(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |cause| Err(Error::Poisoned { cause: cause.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::*;
    use crate::storage::{FaultRule, FaultStorage, MemoryStorage, Operation, PassThrough};

    /// Counts syncs; the first waits until two more callers have come.
    #[derive(Debug)]
    struct Counting {
        inner: MemoryStorage,
        syncs: AtomicU64,
        begun: Barrier,
        end: Barrier,
    }

    impl PassThrough for Counting {
        fn inner(&self) -> &dyn Storage {
            &self.inner
        }

        fn sync(&self) -> Result<()> {
            if self.syncs.fetch_add(1, Ordering::SeqCst) == 0 {
                self.begun.wait();
                self.end.wait();
            }
            Ok(())
        }
    }

    #[test]
    fn callers_that_wait_share_one_sync_that_begins_after_they_came() {
        let storage = Counting {
            inner: MemoryStorage::new(),
            syncs: AtomicU64::new(0),
            begun: Barrier::new(2),
            end: Barrier::new(2),
        };
        let group = SyncGroup::new();
        thread::scope(|scope| {
            scope.spawn(|| group.sync(&storage).unwrap());
            storage.begun.wait();
            let waiting = [(); 2].map(|()| {
                let came = Arc::new(Barrier::new(2));
                let (group, storage, comes) = (&group, &storage, Arc::clone(&came));
                let caller = scope.spawn(move || {
                    comes.wait();
                    group.sync(storage).unwrap();
                });
                came.wait();
                caller
            });
            thread::sleep(std::time::Duration::from_millis(50));
            assert!(
                waiting.iter().all(|caller| !caller.is_finished()),
                "no sync that began before serves them"
            );
            storage.end.wait();
        });
        let syncs = storage.syncs.load(Ordering::SeqCst);
        assert!((2..=3).contains(&syncs), "{syncs} syncs");
        group.sync(&storage).unwrap();
        assert_eq!(storage.syncs.load(Ordering::SeqCst), syncs + 1, "what was before serves nobody later");
    }

    #[test]
    fn a_failure_is_told_to_all_from_then_on() {
        let storage = FaultStorage::new(Arc::new(MemoryStorage::new()));
        storage.add_rule(FaultRule::fail(5).on(Operation::Sync));
        let group = SyncGroup::new();
        assert!(matches!(group.sync(&storage), Err(Error::Io { .. })));
        for _ in 0..2 {
            assert!(matches!(group.sync(&storage), Err(Error::Poisoned { .. })));
            assert!(group.check().is_err());
        }
    }
}
