//! Dirty bitmaps of an image: what they have to say, and what they may.

use blk_harness::random::Random;
use serde_json::Value;

const SECTOR: u64 = 512;

/// What a bitmap says of a sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Clean,
    /// Either is right: a program may have written what was there already.
    Either,
    Dirty,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bitmap {
    pub(crate) is_enabled: bool,
    /// Bytes of a bit.
    granularity: u64,
    /// One for each sector of the disk.
    marks: Vec<Mark>,
}

/// What is done to a bitmap of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Add {
        granularity: u64,
        is_enabled: bool,
    },
    Remove,
    Clear,
    Enable,
    Disable,
    /// Of the bitmap `slot` of an image.
    Merge {
        from: usize,
        slot: u8,
    },
}

impl Change {
    pub(crate) fn draw(rng: &mut Random, from: usize, slot: u8) -> Self {
        let granularity = rng.one_of(&[512, 1024, 4096, 65536, 65536, 1 << 20]);
        match rng.below(8) {
            0..3 => Self::Add { granularity, is_enabled: rng.chance(3, 4) },
            3 => Self::Remove,
            4 => Self::Clear,
            5 => Self::Enable,
            6 => Self::Disable,
            _ => Self::Merge { from, slot },
        }
    }

    /// The flags of `qemu-img bitmap`, but for where another bitmap lies.
    pub(crate) fn words(self) -> Vec<String> {
        let flag = match self {
            Self::Add { granularity, is_enabled } => {
                let mut all = vec!["--add".to_owned(), "-g".to_owned(), granularity.to_string()];
                all.extend((!is_enabled).then(|| "--disable".to_owned()));
                return all;
            }
            Self::Remove => "--remove",
            Self::Clear => "--clear",
            Self::Enable => "--enable",
            Self::Disable => "--disable",
            Self::Merge { slot, .. } => return vec!["--merge".to_owned(), name(slot)],
        };
        vec![flag.to_owned()]
    }
}

/// The name of the bitmap of a slot.
pub(crate) fn name(slot: u8) -> String {
    format!("b{slot}")
}

impl Bitmap {
    /// Of a disk of `size` bytes.
    pub(crate) fn new(granularity: u64, is_enabled: bool, size: u64) -> Self {
        Self { is_enabled, granularity, marks: vec![Mark::Clean; (size / SECTOR) as usize] }
    }

    pub(crate) fn clear(&mut self) {
        self.marks.fill(Mark::Clean);
    }

    /// These bytes were written.
    pub(crate) fn write(&mut self, at: u64, length: u64) {
        self.mark(at, length, Mark::Dirty);
    }

    /// Anything may have been written.
    pub(crate) fn may_be_anything(&mut self) {
        if self.is_enabled {
            self.marks.iter_mut().for_each(|mark| *mark = (*mark).max(Mark::Either));
        }
    }

    /// The bytes that differ were written, and others may have been.
    pub(crate) fn write_differences(&mut self, before: &[u8], after: &[u8]) {
        let sectors = before.chunks(SECTOR as usize).zip(after.chunks(SECTOR as usize));
        for (at, _) in sectors.enumerate().filter(|(_, (before, after))| before != after) {
            self.write(at as u64 * SECTOR, SECTOR);
        }
        self.may_be_anything();
    }

    fn mark(&mut self, at: u64, length: u64, new: Mark) {
        if self.is_enabled {
            let sectors = (at / SECTOR) as usize..(at + length).div_ceil(SECTOR) as usize;
            self.marks[sectors].iter_mut().for_each(|mark| *mark = (*mark).max(new));
        }
    }

    /// A bit that the end of the disk cuts stays as it is.
    pub(crate) fn resize(&mut self, size: u64) {
        let (sectors, per_bit) = ((size / SECTOR) as usize, (self.granularity / SECTOR) as usize);
        let bit = sectors / per_bit * per_bit;
        let cut = self.marks.get(bit..).unwrap_or(&[]).iter().take(per_bit).copied().max();
        self.marks.resize(sectors, Mark::Clean);
        if let Some(last) = self.marks.get_mut(bit..).and_then(<[Mark]>::last_mut) {
            *last = (*last).max(cut.unwrap_or(Mark::Clean).min(Mark::Either));
        }
    }

    /// What `other` says of a disk of the same size is said by this one, too.
    pub(crate) fn merge(&mut self, other: &Self) {
        let per_bit = (other.granularity / SECTOR) as usize;
        for (mine, theirs) in self.marks.chunks_mut(per_bit).zip(other.marks.chunks(per_bit)) {
            let all = theirs.iter().copied().max().unwrap_or(Mark::Clean);
            for mark in mine {
                *mark = (*mark).max(all);
            }
        }
    }

    /// Whether an entry of `info` tells it.
    pub(crate) fn is_told_by(&self, told: &Value) -> bool {
        let flags: &[&str] = if self.is_enabled { &["auto"] } else { &[] };
        told["granularity"] == self.granularity && told["flags"] == serde_json::json!(flags)
    }

    /// What is wrong with the runs that `nbdinfo --map --json` tells of it, if anything.
    pub(crate) fn fault_of_runs(&self, runs: &Value) -> Option<String> {
        let mut told = vec![None; self.marks.len()];
        for run in runs.as_array().into_iter().flatten() {
            let number = |key: &str| run[key].as_u64().unwrap_or(0) / SECTOR;
            let mark = if run["type"] == 1 { Mark::Dirty } else { Mark::Clean };
            let sectors = told.iter_mut().skip(number("offset") as usize).take(number("length") as usize);
            sectors.for_each(|told| *told = Some(mark));
        }
        let per_bit = (self.granularity / SECTOR) as usize;
        let mut bits = self.marks.chunks(per_bit).zip(told.chunks(per_bit)).enumerate();
        bits.find_map(|(bit, (marks, told))| {
            let expected = marks.iter().copied().max().unwrap_or(Mark::Either);
            let is_right =
                |told: &Option<Mark>| told.is_some_and(|told| [told, Mark::Either].contains(&expected));
            let is_wrong = !told.iter().all(is_right);
            is_wrong.then(|| format!("bit {bit}: {told:?}, expected {expected:?}"))
        })
    }
}
