//! A driver that is over no storage: its requests are compared, and whatever else is asked for is refused and
//! says why.

use blk_core::{Access, Disk, PassThrough, Result, WriteFlags};
use blk_harness::generate::{Generator, Limits};
use blk_harness::space::PLAIN;
use blk_harness::{FormatDriver, MemoryDisk, Outcome, Suite, suites};

/// Loses the last byte of writes of more than one sector.
#[derive(Debug)]
struct Loses(Disk);

impl PassThrough for Loses {
    fn inner(&self) -> &Disk {
        &self.0
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let kept = if buf.len() > 512 { &buf[..buf.len() - 1] } else { buf };
        self.0.write(offset, kept, flags)
    }
}

fn loses(size: u64) -> Result<Disk> {
    Ok(Disk::new(Loses(MemoryDisk::open(size)?), Access::ReadWrite))
}

static RIGHT: FormatDriver = FormatDriver::of_disk("right", MemoryDisk::open);
static WRONG: FormatDriver = FormatDriver::of_disk("wrong", loses);
static RIGHT_SUITES: [Suite; 4] = suites!(RIGHT, "right");
static WRONG_SUITES: [Suite; 4] = suites!(WRONG, "wrong");

#[test]
fn requests_are_compared() {
    let mut right = RIGHT_SUITES[0].start(blk_harness::Purpose::Fuzz);
    let mut wrong = WRONG_SUITES[0].start(blk_harness::Purpose::Fuzz);
    let mut is_found = false;
    for scenario in Generator::new(&PLAIN, 1, Limits::default()).take(50) {
        assert!(right.run(&scenario).finding().is_none(), "{scenario}");
        is_found |= wrong.run(&scenario).finding().is_some();
    }
    assert!(is_found && right.missing().is_none());
}

#[test]
fn what_needs_a_storage_is_refused() {
    let scenario = Generator::new(&PLAIN, 1, Limits::racing()).next().unwrap();
    for suite in &RIGHT_SUITES[1..] {
        let mut runner = suite.start(blk_harness::Purpose::Replay);
        let Outcome::Refused(why) = runner.run(&scenario) else { panic!("{} ran", suite.name()) };
        assert!(why.contains("right, which is over no storage"), "{why}");
        assert!(runner.missing().is_some(), "nothing was tried, and that is said");
    }
}
