//! The judges judged: drivers that are wrong in one place only, each given to every engine that promises to notice.
//!
//! Each bug is the smallest that a judge can miss: one byte at the end of a read, a buffer that is left as it was, a byte in
//! the middle of a sector. A judge that looks a little less closely fails here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Error, Extent, MemoryStorage, NativeFlags, Result,
    Storage, WriteFlags, ZeroFlags,
};
use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::race::RaceEngine;
use blk_harness::scenario::{Config, Scenario};
use blk_harness::space;
use blk_harness::target::{Bench, ImageTarget, Prepared, Subject, Target};
use blk_harness::{Engine, Outcome, RunOptions};

/// What is wrong with [`Plain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    /// The last byte of a read of more than 512 bytes is wrong.
    LastByteOfReads,
    /// Every second read of 4 KiB leaves the buffer as it was.
    ReadsLeaveTheBuffer,
    /// Zeroes change nothing and succeed.
    ZeroesAreIgnored,
    /// A discard puts a byte that was never there into the middle of a sector.
    DiscardsLeaveAByte,
    /// A write of 1 KiB writes one byte too many.
    WritesOneByteTooMany,
    /// A flush does nothing.
    FlushIsForgotten,
    /// A write with FUA is not forced.
    FuaIsForgotten,
    /// A sync that fails is tried once more, and counts then.
    FailedSyncIsRepeated,
    /// A write that fails is reported as done.
    FailedWriteIsDone,
    /// A write that fails leaves zeroes in the sector after it.
    FailedWriteReachesFurther,
}

/// A disk that is its storage, byte for byte, but for its bug.
#[derive(Debug)]
struct Plain {
    storage: Arc<dyn Storage>,
    bug: Bug,
    reads: AtomicU64,
    failed: AtomicU64,
}

const SIZE_BYTES: u64 = 16 << 10;

impl Plain {
    fn write_all(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.storage.write_at(offset, buf)?;
        let end = offset + buf.len() as u64;
        if self.bug == Bug::WritesOneByteTooMany && buf.len() == 1024 && end < SIZE_BYTES {
            self.storage.write_at(end, &[0xdb])?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        if self.failed.load(Ordering::Relaxed) > 0 {
            return Err(Error::Poisoned { cause: "an earlier sync failed".to_owned() });
        }
        let synced = match self.bug {
            Bug::FailedSyncIsRepeated => self.storage.sync().or_else(|_| self.storage.sync()),
            _ => self.storage.sync(),
        };
        if synced.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        synced
    }
}

impl BlockDriver for Plain {
    fn size(&self) -> u64 {
        SIZE_BYTES
    }

    fn limits(&self) -> blk_core::Limits {
        blk_core::Limits { native: NativeFlags::FUA, ..blk_core::Limits::default() }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let is_second = buf.len() == 4096 && self.reads.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        if self.bug == Bug::ReadsLeaveTheBuffer && is_second {
            return Ok(());
        }
        self.storage.read_at(offset, buf)?;
        if let (Bug::LastByteOfReads, true, Some(last)) = (self.bug, buf.len() > 512, buf.last_mut()) {
            *last ^= 1;
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        blk_core::refuse_compressed(flags)?;
        let written = self.write_all(offset, buf);
        let end = offset + buf.len() as u64;
        match self.bug {
            Bug::FailedWriteIsDone => {}
            Bug::FailedWriteReachesFurther if written.is_err() && end + 512 <= SIZE_BYTES => {
                self.storage.write_at(end, &[0; 512])?;
                written?;
            }
            _ => written?,
        }
        if flags.fua && self.bug != Bug::FuaIsForgotten { self.sync() } else { Ok(()) }
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        if self.bug != Bug::ZeroesAreIgnored {
            self.storage.write_zeroes_at(extent)?;
        }
        if flags.fua { self.sync() } else { Ok(()) }
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        self.storage.punch_hole(extent)?;
        if self.bug == Bug::DiscardsLeaveAByte {
            self.storage.write_at(extent.offset + 100, &[0xdb])
        } else {
            Ok(())
        }
    }

    fn flush(&self) -> Result<()> {
        if self.bug == Bug::FlushIsForgotten { Ok(()) } else { self.sync() }
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let length = extent.length;
        Ok(BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset: None })
    }
}

/// Disks with one bug.
#[derive(Debug, Clone, Copy)]
struct Planted(Bug);

impl Planted {
    fn fresh_disk(self) -> Result<Arc<Disk>> {
        let storage: Arc<dyn Storage> = Arc::new(self.fresh()?);
        self.open(storage).map(Arc::new)
    }
}

static IMAGE: LazyLock<Config> =
    LazyLock::new(|| Config { size_bytes: SIZE_BYTES, ..Config::default() }.with(space::UNIT, "4k"));

impl Subject for Planted {
    fn image_config(&self) -> Option<&Config> {
        Some(&IMAGE)
    }
}

impl ImageTarget for Planted {
    fn prepare(&self, _config: &Config) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(*self))
    }
}

impl Prepared for Planted {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        storage.set_len(SIZE_BYTES)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let driver = Plain { storage, bug: self.0, reads: AtomicU64::new(0), failed: AtomicU64::new(0) };
        Ok(Disk::new(driver, Access::ReadWrite))
    }

    fn reference(&self) -> Result<Disk> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        self.create(&storage)?;
        Self(Bug::None).open(storage)
    }
}

impl Target for Planted {
    fn name(&self) -> &'static str {
        "planted"
    }

    fn build(&self, _config: &Config) -> Result<Box<dyn Bench>> {
        Ok(Box::new(Pair { reference: Self(Bug::None).fresh_disk()?, test: self.fresh_disk()? }))
    }
}

#[derive(Debug)]
struct Pair {
    reference: Arc<Disk>,
    test: Arc<Disk>,
}

impl Bench for Pair {
    fn reference(&self) -> Arc<Disk> {
        Arc::clone(&self.reference)
    }

    fn test(&self) -> Arc<Disk> {
        Arc::clone(&self.test)
    }

    fn reopen(&mut self) -> Result<()> {
        self.test.close()
    }
}

/// The engines, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Requests,
    Crashes,
    Faults,
    Races,
}

const ALL: [By; 4] = [By::Requests, By::Crashes, By::Faults, By::Races];

impl By {
    fn run(self, bug: Bug, scenario: &Scenario) -> Outcome {
        let target = &Planted(bug);
        match self {
            Self::Requests => Engine::new(RunOptions::default()).run(target, scenario),
            Self::Crashes => CrashEngine::new(CrashOptions::default()).run(target, scenario),
            Self::Faults => FaultEngine::new(FaultOptions::default()).run(target, scenario),
            Self::Races => RaceEngine::new().run(target, scenario),
        }
    }
}

/// Each bug with requests that meet it, and the engines that must notice.
fn table() -> Vec<(Bug, &'static str, &'static [By])> {
    use By::{Crashes, Faults};
    vec![
        (Bug::LastByteOfReads, "write 0 8k\nread 1k 1k", &ALL),
        (Bug::ReadsLeaveTheBuffer, "write 0 4k\nread 0 4k\nread 0 4k\nread 0 4k\nread 0 4k", &ALL),
        (Bug::ZeroesAreIgnored, "write 0 4k\nwrite -z 1k 1k", &ALL),
        (Bug::DiscardsLeaveAByte, "write 0 4k\ndiscard 1k 1k", &ALL),
        (Bug::WritesOneByteTooMany, "write 0 4k\nwrite 1k 1k", &ALL),
        (Bug::FlushIsForgotten, "write 0 4k\nflush\nwrite 8k 512", &[Crashes]),
        (Bug::FuaIsForgotten, "write -f 0 4k\nwrite 8k 512", &[Crashes]),
        (Bug::FailedSyncIsRepeated, "write 0 4k\nflush", &[Faults]),
        (Bug::FailedWriteIsDone, "write 0 4k\nread 0 4k", &[Faults]),
        (Bug::FailedWriteReachesFurther, "write 0 4k\nwrite 1k 512", &[Faults]),
    ]
}

fn scenario(requests: &str, lanes: u8) -> Scenario {
    let config = if lanes > 0 {
        format!("config size-bytes=16k lanes={lanes}\n")
    } else {
        "config size-bytes=16k\n".to_owned()
    };
    Scenario::from_text(&format!("blk-scenario 1\n{config}{requests}\n"))
        .expect("the requests are well-formed")
}

#[test]
fn every_engine_notices_what_it_promises_to() {
    let mut missed = Vec::new();
    for (bug, requests, engines) in table() {
        for engine in engines {
            if engine.run(bug, &scenario(requests, 0)).finding().is_none() {
                missed.push(format!("{engine:?} miss {bug:?}: {}", requests.replace('\n', "; ")));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn no_engine_complains_about_the_right_driver() {
    for (_, requests, _) in table() {
        for engine in ALL {
            assert_eq!(
                engine.run(Bug::None, &scenario(requests, 0)),
                Outcome::Clean,
                "{engine:?}: {requests}"
            );
        }
        assert_eq!(By::Races.run(Bug::None, &scenario(requests, 3)), Outcome::Clean, "{requests}");
    }
}
