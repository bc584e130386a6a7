//! Commands of `qemu-img` and `qemu-io`, and how they are drawn.

use blk_harness::random::Random;
use serde_json::{Value, json};

use crate::bitmaps;
use crate::model::{FILES, Image, World};
use crate::options::Options;

/// Largest disk, bytes.
const SIZE_MAX: u64 = 3 << 20;

/// Who makes a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Blk,
    Qemu,
}

impl Tool {
    pub(crate) const ALL: [Self; 2] = [Self::Blk, Self::Qemu];
}

/// A change of what a disk shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Write(u8),
    Compressed(u8),
    Zero { unmap: bool },
}

impl Change {
    /// The command that makes it, without its range.
    fn word(self) -> String {
        match self {
            Self::Write(byte) => format!("write -q -P {byte}"),
            Self::Compressed(byte) => format!("write -q -c -P {byte}"),
            Self::Zero { unmap: false } => "write -q -z".to_owned(),
            Self::Zero { unmap: true } => "write -q -z -u".to_owned(),
        }
    }
}

/// What is done. Files are numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Create {
        file: usize,
        options: Options,
        size: u64,
        backing: Option<usize>,
    },
    Change {
        file: usize,
        change: Change,
        at: u64,
        length: u64,
    },
    Commit {
        file: usize,
        drop: bool,
    },
    Rebase {
        file: usize,
        to: Option<usize>,
        compress: bool,
    },
    Convert {
        from: usize,
        to: usize,
        options: Options,
        snapshot: Option<u8>,
        compress: bool,
        keep_backing: bool,
        bitmaps: bool,
    },
    Dd {
        from: usize,
        to: usize,
        block: u64,
        skip: u64,
        count: u64,
    },
    Resize {
        file: usize,
        size: u64,
    },
    /// `change` is the flag: `c`, `a` or `d`.
    Snapshot {
        file: usize,
        slot: u8,
        change: char,
    },
    Bitmap {
        file: usize,
        slot: u8,
        change: bitmaps::Change,
    },
    Amend {
        file: usize,
        option: &'static str,
    },
    Check {
        file: usize,
        repair: bool,
    },
    Remove {
        file: usize,
    },
}

/// What fails of the file of an image, while a command lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    place: Place,
    /// EIO or ENOSPC.
    errno: i32,
}

/// Which operations fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// All writes of a sector.
    Sector(u64),
    /// Likewise; the sector is counted from the end of the file as it is then: what it grows by.
    PastEnd(u64),
    /// What follows a step of the driver, the first time or always.
    Step { event: &'static str, iotype: &'static str, is_once: bool },
}

/// Steps of the driver, each with the operation that follows.
const STEPS: [(&str, &str); 12] = [
    ("write_aio", "write"),
    ("write_aio", "write"),
    ("cow_write", "write"),
    ("write_compressed", "write"),
    ("l2_alloc_write", "write"),
    ("l2_update", "write"),
    ("l1_update", "write"),
    ("l1_grow_write_table", "write"),
    ("refblock_alloc_write", "write"),
    ("refblock_update_part", "write"),
    ("reftable_update", "write"),
    ("flush_to_disk", "flush"),
];

impl Failure {
    fn draw(rng: &mut Random, cluster: u64) -> Self {
        let sector = (rng.below(12) * cluster + rng.below(cluster)) / 512;
        let (event, iotype) = rng.one_of(&STEPS);
        let place = match rng.below(6) {
            0 => Place::Sector(sector),
            1 => Place::PastEnd(sector),
            _ => Place::Step { event, iotype, is_once: rng.chance(1, 2) },
        };
        Self { place, errno: rng.one_of(&[5, 28]) }
    }

    /// In a file of so many bytes.
    pub(crate) fn in_file(self, length: u64) -> Self {
        match self.place {
            Place::PastEnd(sector) => Self { place: Place::Sector(length / 512 + sector), ..self },
            _ => self,
        }
    }

    /// The node over that of the file.
    pub(crate) fn over(self, file: &Value) -> Value {
        let errno = self.errno;
        let error = match self.place {
            Place::Sector(sector) | Place::PastEnd(sector) => {
                json!({"event": "none", "iotype": "write", "errno": errno, "sector": sector})
            }
            Place::Step { event, iotype, is_once } => {
                json!({"event": event, "iotype": iotype, "errno": errno, "once": is_once})
            }
        };
        json!({"driver": "blkdebug", "image": file, "inject-error": [error]})
    }
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) tool: Tool,
    pub(crate) act: Act,
    /// Of the file that is changed.
    pub(crate) failure: Option<Failure>,
    /// Who compares the images afterwards, and who checks them.
    pub(crate) judges: [Tool; 2],
}

/// The name of a file.
pub(crate) fn name(file: usize) -> String {
    format!("{file}.img")
}

/// The format of a file, as the tools call it.
fn kind(world: &World, file: usize) -> &'static str {
    world.image(file).map_or("raw", |image| image.options.kind.name())
}

/// What a change of a bitmap is asked by, with where the bitmap lies that is merged.
fn merged(world: &World, file: usize, change: bitmaps::Change) -> Vec<String> {
    let mut all = change.words();
    if let bitmaps::Change::Merge { from, .. } = change
        && from != file
    {
        all.extend(words(&["-b", &world.address(from, None), "-F", kind(world, from)]));
    }
    all
}

/// Words of a command line.
pub(crate) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

impl Command {
    /// One that can be made of these images.
    pub(crate) fn draw(rng: &mut Random, world: &World) -> Self {
        loop {
            let tool = rng.one_of(&[Tool::Blk, Tool::Blk, Tool::Qemu]);
            let judges = [(); 2].map(|()| rng.one_of(&Tool::ALL));
            let mut command = Self { tool, act: Act::draw(rng, world), failure: None, judges };
            if world.can_fail(&command) && rng.chance(1, 4) {
                let changed = command.act.changed().and_then(|file| world.image(file));
                command.failure = changed.map(|image| Failure::draw(rng, image.options.cluster));
            }
            if world.is_legal(&command) {
                return command;
            }
        }
    }

    /// The files whose content it may have changed.
    pub(crate) fn touched(&self, world: &World) -> Vec<usize> {
        match self.act {
            Act::Commit { file, .. } => {
                let backing = world.image(file).and_then(|image| image.backing);
                [Some(file), backing].into_iter().flatten().collect()
            }
            Act::Convert { from, to, .. } | Act::Dd { from, to, .. } => vec![from, to],
            Act::Create { file, .. }
            | Act::Change { file, .. }
            | Act::Rebase { file, .. }
            | Act::Resize { file, .. }
            | Act::Snapshot { file, .. }
            | Act::Bitmap { file, .. }
            | Act::Amend { file, .. }
            | Act::Check { file, .. } => vec![file],
            Act::Remove { .. } => Vec::new(),
        }
    }

    fn convert(&self, world: &World) -> Vec<String> {
        let Act::Convert { from, to, options, snapshot, compress, keep_backing, bitmaps } = &self.act else {
            return Vec::new();
        };
        let mut all = words(&["convert", "-f", kind(world, *from), "-O", options.kind.name()]);
        all.extend(options.words(&name(*to)));
        all.extend(words(if *compress { &["-c"] } else { &[] }));
        all.extend(words(if *bitmaps { &["--bitmaps"] } else { &[] }));
        if let Some(slot) = snapshot {
            all.extend(words(&["-l", &format!("snapshot.name=s{slot}")]));
        }
        let backing = world.image(*from).and_then(|image| image.backing).filter(|_| *keep_backing);
        if let Some(backing) = backing {
            all.extend(words(&["-B", &world.backing_name(backing), "-F", kind(world, backing)]));
        }
        all.extend([world.address(*from, None), name(*to)]);
        all
    }

    /// The program, `img` or `io`, and its arguments.
    pub(crate) fn words(&self, world: &World) -> (&'static str, Vec<String>) {
        let kind = |file: usize| kind(world, file);
        let changed = self.act.changed();
        let address = |file: usize| world.address(file, self.failure.filter(|_| changed == Some(file)));
        match &self.act {
            Act::Create { file, options, size, backing } => {
                let mut all = words(&["create", "-q", "-f", options.kind.name()]);
                all.extend(options.words(&name(*file)));
                if let Some(backing) = backing {
                    all.extend(words(&["-b", &world.backing_name(*backing), "-F", kind(*backing)]));
                }
                all.extend([name(*file), size.to_string()]);
                ("img", all)
            }
            Act::Change { file, change, at, length } => {
                let done = format!("{} {at} {length}", change.word());
                ("io", words(&["-f", kind(*file), "-c", &done, &address(*file)]))
            }
            Act::Commit { file, drop } => {
                let flags: &[&str] = if *drop { &["-d"] } else { &[] };
                let tail = [address(*file)];
                ("img", [words(&["commit", "-q", "-f", kind(*file)]), words(flags), tail.to_vec()].concat())
            }
            Act::Rebase { file, to, compress } => {
                let flags: &[&str] = if *compress { &["-c"] } else { &[] };
                let backing = match to {
                    Some(to) => words(&["-b", &world.backing_name(*to), "-F", kind(*to)]),
                    None => words(&["-b", ""]),
                };
                let head = words(&["rebase", "-q", "-f", kind(*file)]);
                ("img", [head, words(flags), backing, vec![address(*file)]].concat())
            }
            Act::Convert { .. } => ("img", self.convert(world)),
            Act::Dd { from, to, block, skip, count } => {
                let of = [format!("if={}", address(*from)), format!("of={}", name(*to))];
                let numbers = [format!("bs={block}"), format!("skip={skip}"), format!("count={count}")];
                let head = words(&["dd", "-f", kind(*from), "-O", "raw"]);
                ("img", [head, of.to_vec(), numbers.to_vec()].concat())
            }
            Act::Resize { file, size } => {
                let is_shrunk = world.image(*file).is_some_and(|image| image.size() > *size);
                let shrink: &[&str] = if is_shrunk { &["--shrink"] } else { &[] };
                let tail = [address(*file), size.to_string()];
                ("img", [words(&["resize", "-q", "-f", kind(*file)]), words(shrink), tail.to_vec()].concat())
            }
            Act::Snapshot { file, slot, change } => (
                "img",
                words(&["snapshot", "-q", &format!("-{change}"), &format!("s{slot}"), &address(*file)]),
            ),
            Act::Bitmap { file, slot, change } => {
                let named = [address(*file), bitmaps::name(*slot)];
                (
                    "img",
                    [words(&["bitmap", "-f", "qcow2"]), merged(world, *file, *change), named.to_vec()]
                        .concat(),
                )
            }
            Act::Amend { file, option } => {
                ("img", words(&["amend", "-q", "-f", kind(*file), "-o", option, &address(*file)]))
            }
            Act::Check { file, repair } => {
                let repair: &[&str] = if *repair { &["-r", "all"] } else { &[] };
                let tail = [address(*file)];
                ("img", [words(&["check", "-q", "-f", kind(*file)]), words(repair), tail.to_vec()].concat())
            }
            Act::Remove { file } => ("rm", vec![name(*file)]),
        }
    }
}

impl Act {
    /// The image that it changes, where that is there before.
    pub(crate) fn changed(&self) -> Option<usize> {
        match *self {
            Self::Change { file, .. }
            | Self::Commit { file, .. }
            | Self::Rebase { file, .. }
            | Self::Resize { file, .. }
            | Self::Snapshot { file, .. }
            | Self::Bitmap { file, .. }
            | Self::Amend { file, .. }
            | Self::Check { file, .. } => Some(file),
            Self::Create { .. } | Self::Convert { .. } | Self::Dd { .. } | Self::Remove { .. } => None,
        }
    }

    fn draw(rng: &mut Random, world: &World) -> Self {
        let file = rng.below(FILES as u64) as usize;
        let other = rng.below(FILES as u64) as usize;
        let size = world.image(file).map_or(0, Image::size);
        let slot = rng.below(3) as u8;
        match rng.below(37) {
            0..4 => {
                let backing = Some(other).filter(|other| world.image(*other).is_some() && rng.chance(2, 3));
                Self::Create { file, options: Options::draw(rng), size: draw_size(rng), backing }
            }
            4..14 => {
                let cluster = world.image(file).map_or(512, |image| image.options.cluster);
                let change = draw_change(rng);
                let unit = if matches!(change, Change::Compressed(_)) { cluster } else { 512 };
                let at = rng.below(size / unit + 1) * unit;
                let most = 1 << rng.below(9);
                let units = 1 + rng.below(most);
                Self::Change { file, change, at, length: (units * unit).min(size.saturating_sub(at)) }
            }
            14..17 => Self::Commit { file, drop: rng.chance(1, 3) },
            17..20 => {
                let to = Some(other).filter(|_| rng.chance(3, 4));
                Self::Rebase { file, to, compress: rng.chance(1, 5) }
            }
            20..23 => Self::Convert {
                from: file,
                to: other,
                options: Options::draw(rng),
                snapshot: Some(slot).filter(|_| rng.chance(1, 3)),
                compress: rng.chance(1, 3),
                keep_backing: rng.chance(1, 3),
                bitmaps: rng.chance(1, 3),
            },
            23 => {
                let block = rng.one_of(&[512, 1024, 4096, 65536, 100_352]);
                let skip = rng.below(size / block + 1);
                Self::Dd { from: file, to: other, block, skip, count: skip + 1 + rng.below(64) }
            }
            24..26 => Self::Resize { file, size: draw_size(rng) },
            26..29 => Self::Snapshot { file, slot, change: rng.one_of(&['c', 'c', 'a', 'd']) },
            29 => {
                let option = rng.one_of(&[
                    "compat=0.10",
                    "compat=1.1",
                    "lazy_refcounts=on",
                    "lazy_refcounts=off",
                    "refcount_bits=1",
                    "refcount_bits=16",
                    "refcount_bits=64",
                ]);
                Self::Amend { file, option }
            }
            30..35 => {
                let from = if rng.chance(1, 2) { file } else { other };
                let merged = rng.below(3) as u8;
                let change = bitmaps::Change::draw(rng, from, merged);
                Self::Bitmap { file, slot, change }
            }
            35 => Self::Check { file, repair: rng.chance(1, 2) },
            _ => Self::Remove { file },
        }
    }
}

fn draw_size(rng: &mut Random) -> u64 {
    let unit = rng.one_of(&[512, 4096, 65536]);
    (1 + rng.below(SIZE_MAX / unit)) * unit
}

fn draw_change(rng: &mut Random) -> Change {
    let byte = 1 + rng.below(255) as u8;
    match rng.below(8) {
        0..4 => Change::Write(byte),
        4..6 => Change::Compressed(byte),
        6 => Change::Zero { unmap: false },
        _ => Change::Zero { unmap: true },
    }
}
