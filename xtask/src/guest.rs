//! `cargo xtask guest`: a Linux guest whose disk is our server's export of `blkverify` over our two drivers.
//!
//! ```text
//! guest (Debian's kernel) ── virtio-blk ── qemu-system-x86_64 ── NBD ── blk nbd ── blkverify ─┬─ raw
//!                                                                                             └─ qcow2
//! ```
//!
//! docs/guest.md has what it does, how long it takes, and what a planted bug looks like.

mod cpio;
mod machine;
mod packages;
mod planted;
mod system;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use cargo_blk::target_folder;
use cargo_blk::units::parse_time;
use machine::{End, Images, Machine};
use packages::Packages;

/// What boots, and what is on its first file system.
const GUEST: [&str; 6] = [
    "linux-image-cloud-amd64",
    "busybox-static",
    "e2fsprogs",
    "xfsprogs",
    "tar",
    // Where there is a choice, this one needs the least.
    "usr-is-merged",
];
const EMULATOR: [&str; 1] = ["qemu-system-x86"];
/// What is essential in Debian, and what is installed besides.
const ESSENTIAL: [&str; 2] = ["?essential", "usr-is-merged"];
const DEBIAN: [&str; 5] = ["?essential", "usr-is-merged", "e2fsprogs", "systemd-sysv", "udev"];

/// Folders of the guest's packages that make the tree that is unpacked.
const TREE_SMALL: [&str; 1] = ["usr/share/doc"];
const TREE: [&str; 3] = ["usr/share", "usr/lib/python3.11", "usr/lib/x86_64-linux-gnu"];

/// Bytes of the disk under test.
const DISK_BYTES: &str = "3G";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only ext4 with a small tree: a minute.
    #[arg(long)]
    small: bool,
    /// Only the file systems, or only Debian.
    #[arg(long, value_enum, conflicts_with = "small")]
    only: Option<Part>,
    /// With a driver that has a bug: a discard takes whole clusters. The run has to find it.
    #[arg(long, conflicts_with = "only")]
    planted: bool,
    /// The program that serves the disk, instead of one that is built.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "planted")]
    blk: Option<PathBuf>,
    /// How long a boot of the guest may take.
    #[arg(long, value_name = "TIME", default_value = "20m", value_parser = parse_time)]
    time: Duration,
    /// Where the disks are; beside the packages by default, in target/guest.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Files,
    Debian,
}

pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    let here = target_folder(Path::new(".")).join("guest");
    fs::create_dir_all(&here).with_context(|| format!("cannot make {}", here.display()))?;
    let here = here.canonicalize()?;
    let work = arguments.dir.clone().unwrap_or_else(|| here.join("run"));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let work = work.canonicalize()?;
    let run = Run { arguments, shell: &shell, here, work };
    let begun = Instant::now();
    let good = run.all()?;
    println!("\n{} in {:.0} s", if good { "passed" } else { "FAILED" }, begun.elapsed().as_secs_f64());
    Ok(good)
}

struct Run<'a> {
    arguments: &'a Arguments,
    shell: &'a Shell,
    /// Where packages are, and what is made of them.
    here: PathBuf,
    /// Where disks are.
    work: PathBuf,
}

impl Run<'_> {
    fn all(&self) -> Result<bool> {
        if std::env::consts::ARCH != "x86_64" {
            bail!("the guest is an x86_64 one, and so are the packages");
        }
        let shell = self.shell;
        let step = Timed::begin("build blk");
        let blk = match &self.arguments.blk {
            Some(program) => program.clone(),
            None => planted::build(shell, self.arguments.planted)?,
        };
        step.end();
        let step = Timed::begin("fetch and unpack packages");
        let packages = Packages::new(shell, &self.here)?;
        let (emulator, root) = (self.here.join("emulator"), self.here.join("root"));
        packages.unpack(&EMULATOR, &emulator)?;
        packages.unpack(&GUEST, &root)?;
        step.end();
        let system = system::build(shell, &root, self.here.join("initramfs"))?;
        let machine = Machine {
            blk: &blk,
            emulator: &emulator,
            system: &system,
            folder: &self.work,
            time: self.arguments.time,
        };
        if self.arguments.planted {
            let is_found = !self.files(&machine, &root)?;
            println!("the planted bug was {}", if is_found { "found" } else { "not found" });
            return Ok(is_found);
        }
        let only = self.arguments.only;
        if only != Some(Part::Debian) && !self.files(&machine, &root)? {
            return Ok(false);
        }
        if only == Some(Part::Files) || self.arguments.small {
            return Ok(true);
        }
        self.debian(&machine, &packages)
    }

    /// Fills file systems with a tree of files, and compares them.
    fn files(&self, machine: &Machine<'_>, root: &Path) -> Result<bool> {
        let tree = self.here.join("tree.tar");
        let (job, sources) =
            if self.arguments.small { ("small", &TREE_SMALL[..]) } else { ("full", &TREE[..]) };
        system::pack_tree(self.shell, root, sources, &tree)?;
        self.job(machine, &self.images(machine.blk)?, &tree, job)
    }

    /// Installs Debian on fresh disks, and boots it.
    fn debian(&self, machine: &Machine<'_>, packages: &Packages<'_>) -> Result<bool> {
        let all = packages.fetch(&DEBIAN)?;
        let essential = packages.fetch(&ESSENTIAL)?;
        let archive = self.here.join("debian.tar");
        system::pack_packages(self.shell, &all, &essential, &archive)?;
        let images = self.images(machine.blk)?;
        for job in ["install", "boot"] {
            if !self.job(machine, &images, &archive, job)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fresh images.
    fn images(&self, blk: &Path) -> Result<Images> {
        let (raw, test) = (self.work.join("raw.img"), self.work.join("test.qcow2"));
        let shell = self.shell;
        cmd!(shell, "{blk} img create -q -f raw {raw} {DISK_BYTES}").quiet().run()?;
        cmd!(shell, "{blk} img create -q -f qcow2 {test} {DISK_BYTES}").quiet().run()?;
        let format = if self.arguments.planted { planted::FORMAT } else { "qcow2" };
        Ok(Images { raw, test, format: format.to_owned() })
    }

    /// Boots the guest for a job, and checks what it leaves. Returns whether all is well.
    fn job(&self, machine: &Machine<'_>, images: &Images, archive: &Path, job: &str) -> Result<bool> {
        println!("\nthe guest: {job}");
        match machine.boot(images, archive, job)? {
            End::Well => self.check(machine.blk, images).map(|()| true),
            End::Found(report) => {
                println!("\nthe server has ended:\n{report}");
                planted::explore(self.shell, machine.blk, images, &report)?;
                Ok(false)
            }
        }
    }

    /// Looks at both images from outside, by our programs and by QEMU's.
    fn check(&self, blk: &Path, images: &Images) -> Result<()> {
        let (shell, Images { raw, test, .. }) = (self.shell, images);
        println!("the host:");
        for program in ["blk", "qemu-img"] {
            let words: &[&Path] =
                if program == "blk" { &[blk, Path::new("img")] } else { &[Path::new("qemu-img")] };
            let (first, rest) = words.split_first().context("a command has a name")?;
            let begun = Instant::now();
            cmd!(shell, "{first} {rest...} check -q -f qcow2 {test}").quiet().run()?;
            println!("  {:>7.1} s  {program}: the image is clean", begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            cmd!(shell, "{first} {rest...} compare -q -f raw -F qcow2 {raw} {test}").quiet().run()?;
            println!("  {:>7.1} s  {program}: both sides are equal", begun.elapsed().as_secs_f64());
        }
        Ok(())
    }
}

/// Something that takes time.
struct Timed {
    name: &'static str,
    begun: Instant,
}

impl Timed {
    fn begin(name: &'static str) -> Self {
        println!("{name}");
        Self { name, begun: Instant::now() }
    }

    fn end(self) {
        println!("  {:>7.1} s  {}", self.begun.elapsed().as_secs_f64(), self.name);
    }
}
