//! `blk img` against cp and qemu-img: times of whole programs, in turns, on a tmpfs and on the file system of
//! the workspace.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::content;
use super::median;

const MIB: u64 = 1 << 20;
const SOURCE_BYTES: u64 = 512 * MIB;
const EXTENTS: u64 = 100_000;
/// What the files of a folder take at most.
const ROOM_BYTES: u64 = 4 << 30;

/// A measure: two commands that do the same, and how long ours may take as a multiple of the peer's time.
struct Row {
    name: &'static str,
    ours: &'static str,
    peer: &'static str,
    wanted: f64,
    /// The peer's file must not be smaller than ours.
    compares_sizes: bool,
}

const fn row(name: &'static str, ours: &'static str, peer: &'static str, wanted: f64) -> Row {
    Row { name, ours, peer, wanted, compares_sizes: false }
}

const fn smaller(name: &'static str, ours: &'static str, peer: &'static str, wanted: f64) -> Row {
    Row { name, ours, peer, wanted, compares_sizes: true }
}

/// The verifier over two images, and the one that is tested alone.
const VERIFIED: [(&str, &str); 3] = [
    (
        "blk img bench -d 1 -c 200000 -s 4k -S 409612288 blkverify:same:same.qcow2",
        "blk img bench -d 1 -c 200000 -s 4k -S 409612288 -f qcow2 same.qcow2",
    ),
    (
        "blk img bench -d 16 -c 400000 -s 4k -S 409612288 blkverify:same:same.qcow2",
        "blk img bench -d 16 -c 400000 -s 4k -S 409612288 -f qcow2 same.qcow2",
    ),
    (
        "blk img bench -d 1 -c 4000 -s 1m -S 7m blkverify:same:same.qcow2",
        "blk img bench -d 1 -c 4000 -s 1m -S 7m -f qcow2 same.qcow2",
    ),
];
/// The verifier, and QEMU's. Its `bench` reads all requests into one buffer: the images hold one byte.
const BLKVERIFY: [(&str, &str); 3] = [
    (
        "blk img bench -d 1 -c 20000 -s 4k -S 409612288 blkverify:same:same.qcow2",
        "qemu-img bench -d 1 -c 20000 -s 4k -S 409612288 blkverify:same:same.qcow2",
    ),
    (
        "blk img bench -d 16 -c 40000 -s 4k -S 409612288 blkverify:same:same.qcow2",
        "qemu-img bench -d 16 -c 40000 -s 4k -S 409612288 blkverify:same:same.qcow2",
    ),
    (
        "blk img bench -d 1 -c 2000 -s 1m -S 7m blkverify:same:same.qcow2",
        "qemu-img bench -d 1 -c 2000 -s 1m -S 7m blkverify:same:same.qcow2",
    ),
];

/// The word `blk` stands for the program that was built; both commands write `out`.
const ROWS: [Row; 15] = [
    row("convert, cp", "blk img convert -f raw -O raw source out", "cp source out", 1.1),
    row(
        "convert, qemu-img",
        "blk img convert -f raw -O raw source out",
        "qemu-img convert -f raw -O raw source out",
        0.9,
    ),
    row(
        "compare",
        "blk img compare -f raw -F qcow2 source plain",
        "qemu-img compare -f raw -F qcow2 source plain",
        0.7,
    ),
    smaller(
        "convert -c, zlib",
        "blk img convert -c -f raw -O qcow2 source out",
        "qemu-img convert -c -f raw -O qcow2 source out",
        0.3,
    ),
    smaller(
        "convert -c, zstd",
        "blk img convert -c -f raw -O qcow2 -o compression_type=zstd source out",
        "qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd source out",
        0.6,
    ),
    row(
        "back to raw, zlib",
        "blk img convert -f qcow2 -O raw zlib out",
        "qemu-img convert -f qcow2 -O raw zlib out",
        0.5,
    ),
    row(
        "back to raw, zstd",
        "blk img convert -f qcow2 -O raw zstd out",
        "qemu-img convert -f qcow2 -O raw zstd out",
        0.5,
    ),
    row("check of 1 TiB", "blk img check preallocated", "qemu-img check preallocated", 0.25),
    row(
        "map, 100,000 extents",
        "blk img map -f raw --output=json extents2",
        "qemu-img map -f raw --output=json extents2",
        0.5,
    ),
    row("verifier, 4K, 1 in flight", VERIFIED[0].0, VERIFIED[0].1, 2.5),
    row("verifier, 4K, 16 in flight", VERIFIED[1].0, VERIFIED[1].1, 3.5),
    row("verifier, 1M", VERIFIED[2].0, VERIFIED[2].1, 3.0),
    row("blkverify, 4K, 1 in flight", BLKVERIFY[0].0, BLKVERIFY[0].1, 0.05),
    row("blkverify, 4K, 16 in flight", BLKVERIFY[1].0, BLKVERIFY[1].1, 0.125),
    row("blkverify, 1M", BLKVERIFY[2].0, BLKVERIFY[2].1, 0.36),
];

/// Ten times the work may take so much more than ten times the time.
const SCALE_MAX: f64 = 1.3;

/// The same work, and ten and a hundred times as much: `{}` is 0, 1, 2.
const SCALES: [(&str, &str); 4] = [
    ("map", "blk img map -f raw --output=json extents{}"),
    ("convert of extents", "blk img convert -f raw -O raw extents{} out"),
    ("compare of extents", "blk img compare extents{} extents{}"),
    ("convert -c", "blk img convert -c -f raw -O qcow2 piece{} out"),
];

/// Measures everything in each folder; whether every target is reached.
pub(super) fn run(blk: &Path, folders: &[PathBuf], rounds: usize) -> Result<bool> {
    let mut all = true;
    for folder in folders {
        println!("\n{}: whole programs, seconds", folder.display());
        match Place::prepare(blk, folder) {
            Ok(place) => all &= place.measure(rounds)?,
            Err(error) => {
                println!("  SKIPPED: {error:#}");
                all = false;
            }
        }
    }
    Ok(all)
}

/// A folder with the files that are worked on; it is gone with this.
struct Place {
    blk: PathBuf,
    folder: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Place {
    fn prepare(blk: &Path, parent: &Path) -> Result<Self> {
        if !cargo_blk::runs("qemu-img", "--version") {
            bail!("qemu-img is missing (Debian package qemu-utils)");
        }
        let stat = rustix::fs::statvfs(parent)
            .with_context(|| format!("cannot ask for the free space of {}", parent.display()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < ROOM_BYTES {
            bail!("{} MiB are free, {} MiB are needed", free / MIB, ROOM_BYTES / MIB);
        }
        let folder = parent.join(format!("blk-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let place = Self { blk: blk.to_owned(), folder };
        content::write(&place.folder.join("source"), SOURCE_BYTES)?;
        content::write_one_byte(&place.folder.join("same"), SOURCE_BYTES)?;
        for (number, mib) in [(0, 1), (1, 10), (2, 100)] {
            content::write(&place.folder.join(format!("piece{number}")), mib * MIB)?;
            let extents = EXTENTS / [100, 10, 1][number];
            content::write_extents(&place.folder.join(format!("extents{number}")), extents)?;
        }
        for command in [
            "qemu-img convert -f raw -O qcow2 source plain",
            "qemu-img convert -f raw -O qcow2 same same.qcow2",
            "qemu-img convert -c -f raw -O qcow2 source zlib",
            "qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd source zstd",
            "qemu-img create -q -f qcow2 -o preallocation=metadata preallocated 1T",
        ] {
            place.seconds(command)?;
        }
        Ok(place)
    }

    /// How long a command takes, which has to succeed.
    fn seconds(&self, command: &str) -> Result<f64> {
        let _ = fs::remove_file(self.folder.join("out"));
        let mut words = command.split(' ');
        let name = words.next().context("a command has a name")?;
        let program = if name == "blk" { self.blk.as_os_str() } else { name.as_ref() };
        let mut process = Command::new(program);
        process.args(words).current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let output =
            process.stderr(Stdio::piped()).output().with_context(|| format!("cannot run {command}"))?;
        let time = started.elapsed().as_secs_f64();
        if !output.status.success() {
            bail!("{command}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(time)
    }

    /// What the file takes on the host: how its last cluster is counted in its length does not matter.
    fn size_of_out(&self) -> Result<f64> {
        let out = fs::File::open(self.folder.join("out"))?;
        out.sync_all()?;
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than a few digits")]
        Ok((out.metadata()?.blocks() * 512) as f64)
    }

    fn measure(&self, rounds: usize) -> Result<bool> {
        println!("  {:30} {:>9} {:>9}  {:>6} {:>6}", "measure", "ours", "peer", "ratio", "wanted");
        let mut all = true;
        for row in &ROWS {
            all &= self.measure_row(row, rounds)?;
        }
        for (name, command) in SCALES {
            all &= self.measure_scale(name, command, rounds)?;
        }
        Ok(all)
    }

    fn measure_row(&self, row: &Row, rounds: usize) -> Result<bool> {
        let (mut ours, mut peers, mut ratios, mut sizes) = (Vec::new(), Vec::new(), Vec::new(), [0.0; 2]);
        for _ in 0..rounds {
            let peer = self.seconds(row.peer)?;
            sizes[1] = if row.compares_sizes { self.size_of_out()? } else { 0.0 };
            let our = self.seconds(row.ours)?;
            sizes[0] = if row.compares_sizes { self.size_of_out()? } else { 0.0 };
            ours.push(our);
            peers.push(peer);
            ratios.push(our / peer);
        }
        let mut reached = show(row.name, median(ours), median(peers), median(ratios), row.wanted);
        if row.compares_sizes {
            let name = format!("{}: bytes", row.name);
            reached &= show(&name, Some(sizes[0]), Some(sizes[1]), Some(sizes[0] / sizes[1]), 1.0);
        }
        Ok(reached)
    }

    /// What 90 times the work takes on top of the smallest, against what 9 times takes: the start of a
    /// program does not count.
    fn measure_scale(&self, name: &str, command: &str, rounds: usize) -> Result<bool> {
        let (mut tens, mut hundreds, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mut times = [0.0; 3];
            for (number, time) in times.iter_mut().enumerate() {
                *time = self.seconds(&command.replace("{}", &number.to_string()))?;
            }
            let [one, ten, hundred] = times;
            tens.push(ten);
            hundreds.push(hundred);
            ratios.push((hundred - one) / (ten - one).max(1e-4) / 11.0);
        }
        let name = format!("{name}: 10 times the work");
        Ok(show(&name, median(hundreds), median(tens), median(ratios), SCALE_MAX))
    }
}

/// Prints a line; whether the ratio is what is wanted.
fn show(name: &str, ours: Option<f64>, peer: Option<f64>, ratio: Option<f64>, wanted: f64) -> bool {
    let [ours, peer, ratio] = [ours, peer, ratio].map(|value| value.unwrap_or(f64::NAN));
    let reached = ratio <= wanted;
    let verdict = if reached { "" } else { "  MISSED" };
    let digits = if ours > 1e4 { 0 } else { 3 };
    println!("  {name:30} {ours:>9.digits$} {peer:>9.digits$}  {ratio:>6.2} {wanted:>6.2}{verdict}");
    reached
}
