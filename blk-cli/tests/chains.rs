//! Sequences of commands over chains of images, encrypted ones among them, each made by `blk` or by QEMU's
//! tools: create, write, commit, rebase, convert, dd, resize, snapshot, bitmap, amend, check. After each
//! command, what the images show is held against a model, and a check, by the one or the other, finds
//! nothing.
//!
//! `BLK_CHAINS=COUNT` or `BLK_CHAINS=COUNT@SEED` runs so many sequences; a finding is printed as a script.

#[path = "chains/bitmaps.rs"]
mod bitmaps;
#[path = "chains/command.rs"]
mod command;
#[path = "chains/failures.rs"]
mod failures;
#[path = "chains/model.rs"]
mod model;
#[path = "chains/options.rs"]
mod options;
#[path = "qemu/mod.rs"]
mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use blk_harness::random::Random;

use command::{Act, Change, Command, Tool, name, words};
use model::{FILES, Image, World};
use options::{Kind, Options, SECRET};

/// Sequences that CI runs.
const COUNT: u64 = 10;
/// Commands of a sequence.
const LENGTH: usize = 24;
/// How long a command may take, on a machine that does other things, too.
const SECONDS_MAX: &str = "120";
/// Runs that making a sequence shorter takes at most.
const SHRINK_RUNS_MAX: usize = 150;
/// What the model has, for a comparison.
const EXPECTED: &str = "expected.raw";
/// What a snapshot holds.
const HELD: &str = "held.raw";

/// What went wrong, and after which commands.
#[derive(Debug)]
struct Broken {
    /// What, without what depends on the sequence: the same as that of a shorter sequence.
    what: String,
    details: String,
    script: Vec<String>,
}

/// Images in a folder, with what they have to show.
struct Run<'a> {
    folder: &'a Path,
    world: World,
    script: Vec<String>,
    refused: u64,
    /// Commands that a failure of the storage has ended.
    failed: u64,
}

impl Run<'_> {
    fn call(&mut self, tool: Tool, program: &str, words: &[String]) -> process::Output {
        let (path, mut all) = match tool {
            Tool::Blk => (PathBuf::from(env!("CARGO_BIN_EXE_blk")), vec![program.to_owned()]),
            Tool::Qemu => (PathBuf::from(format!("qemu-{program}")), Vec::new()),
        };
        let mut words = words.to_vec();
        if self.world.has_encrypted() || words.iter().any(|word| word.contains("key-secret")) {
            let object = ["--object".to_owned(), SECRET.to_owned()];
            // Behind the command of the program `img`.
            let at = usize::from(program == "img");
            words.splice(at..at, object);
        }
        let shown = if tool == Tool::Blk { format!("blk {program}") } else { format!("qemu-{program}") };
        let quoted = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
        all.extend(words);
        self.script.push(format!("{shown} {quoted}"));
        // One that hangs is a finding, too. QEMU takes long for other widths of refcounts.
        process::Command::new("timeout")
            .arg(SECONDS_MAX)
            .arg(path)
            .args(&all)
            .current_dir(self.folder)
            .output()
            .expect("timeout of coreutils starts")
    }

    fn broken(&self, what: String, details: &process::Output) -> Broken {
        let details = format!(
            "{}{}{}",
            details.status,
            String::from_utf8_lossy(&details.stdout),
            String::from_utf8_lossy(&details.stderr)
        );
        Broken { what, details, script: self.script.clone() }
    }

    /// Makes the command, if these images allow it.
    fn step(&mut self, command: &Command) -> Result<(), Broken> {
        if !self.world.is_legal(command) {
            return Ok(());
        }
        if let Act::Remove { file } = command.act {
            self.remove(file);
            self.world.apply(command);
            return Ok(());
        }
        let command = &self.with_place_of_failure(command);
        let touched = command.touched(&self.world);
        let (program, arguments) = command.words(&self.world);
        let output = self.call(command.tool, program, &arguments);
        let has_failed = !output.status.success() || (program == "io" && !output.stdout.is_empty());
        if !has_failed {
            self.world.apply(command);
        } else if command.failure.is_some() && output.status.code() == Some(1) {
            self.failed += 1;
            return self.settle(command, &arguments[0]);
        } else if !self.world.may_refuse(command) || output.status.code() != Some(1) {
            return Err(self.broken(format!("{:?} {program} {} fails", command.tool, arguments[0]), &output));
        } else {
            self.world.refuse(command);
            self.refused += 1;
        }
        touched.into_iter().try_for_each(|file| self.judge(file, command.judges, &arguments[0]))
    }

    fn with_place_of_failure(&self, command: &Command) -> Command {
        let changed = command.act.changed().map(|file| self.folder.join(name(file)));
        let length = changed.and_then(|path| fs::metadata(path).ok()).map_or(0, |metadata| metadata.len());
        Command { failure: command.failure.map(|failure| failure.in_file(length)), ..command.clone() }
    }

    fn remove(&mut self, file: usize) {
        for name in [name(file), format!("{}.data", name(file))] {
            self.script.push(format!("rm -f {name}"));
            let _ = fs::remove_file(self.folder.join(name));
        }
    }

    /// The image shows what it has to, and a check of it finds nothing.
    fn judge(&mut self, file: usize, [reader, judge]: [Tool; 2], after: &str) -> Result<(), Broken> {
        let Some(image) = self.world.image(file) else { return Ok(()) };
        let (kind, size) = (image.options.kind, image.size());
        fs::write(self.folder.join(EXPECTED), &image.content).expect("the folder takes files");
        let bitmaps = image.bitmaps.clone();
        let name = self.world.address(file, None);
        let compared =
            self.call(reader, "img", &words(&["compare", "-f", "raw", "-F", kind.name(), EXPECTED, &name]));
        if !compared.status.success() {
            return Err(self.broken(format!("an image shows what it must not after {after}"), &compared));
        }
        let info = self.info(reader, file);
        let found = serde_json::from_slice::<serde_json::Value>(&info.stdout).unwrap_or_default();
        if found["virtual-size"].as_u64() != Some(size) {
            return Err(self.broken(format!("a disk has another size after {after}"), &info));
        }
        let told = found["format-specific"]["data"]["bitmaps"].as_array().map_or(&[][..], Vec::as_slice);
        let of_slot = |slot: u8| told.iter().find(|told| told["name"] == bitmaps::name(slot));
        let are_right = told.len() == bitmaps.len()
            && bitmaps
                .iter()
                .all(|(slot, bitmap)| of_slot(*slot).is_some_and(|told| bitmap.is_told_by(told)));
        if !are_right {
            self.script.push(format!("# expected: {bitmaps:?}"));
            return Err(self.broken(format!("an image has other bitmaps after {after}"), &info));
        }
        if kind == Kind::Qcow2 {
            let checked = self.call(judge, "img", &words(&["check", "-f", kind.name(), &name]));
            if !checked.status.success() {
                return Err(self.broken(format!("an image does not check clean after {after}"), &checked));
            }
        }
        Ok(())
    }

    fn info(&mut self, tool: Tool, file: usize) -> process::Output {
        let kind = self.world.image(file).map_or("raw", |image| image.options.kind.name());
        let address = self.world.address(file, None);
        self.call(tool, "img", &words(&["info", "-f", kind, "--output=json", &address]))
    }

    /// All images, and what their snapshots hold.
    fn judge_all(&mut self) -> Result<(), Broken> {
        for (file, tool) in (0..FILES).flat_map(|file| Tool::ALL.map(|tool| (file, tool))) {
            self.judge(file, [tool; 2], "all")?;
            let Some(image) = self.world.image(file) else { continue };
            for (slot, held) in image.snapshots.clone() {
                self.judge_snapshot(file, slot, &held, tool)?;
            }
            self.judge_bitmaps(file, tool)?;
        }
        Ok(())
    }

    /// What the image's bitmaps say over NBD.
    fn judge_bitmaps(&mut self, file: usize, tool: Tool) -> Result<(), Broken> {
        let Some(image) = self.world.image(file).filter(|image| !image.bitmaps.is_empty()) else {
            return Ok(());
        };
        let (address, bitmaps) = (self.world.address(file, None), image.bitmaps.clone());
        let socket = self.folder.join("socket").display().to_string();
        let mut served =
            words(&["--fork", "--pid-file=pid", "-t", "-e", "2", "-r", "-k", &socket, "-f", "qcow2"]);
        served.extend(bitmaps.keys().flat_map(|slot| ["-B".to_owned(), bitmaps::name(*slot)]));
        served.push(address);
        let begun = self.call(tool, "nbd", &served);
        if !begun.status.success() {
            return Err(self.broken("an image with bitmaps is not served".to_owned(), &begun));
        }
        let mut judged = Ok(());
        for (slot, bitmap) in &bitmaps {
            let map = format!("--map=qemu:dirty-bitmap:{}", bitmaps::name(*slot));
            let uri = format!("nbd+unix:///?socket={socket}");
            let output = process::Command::new("nbdinfo").args([&map, "--json", &uri]).output();
            let output = output.expect("nbdinfo starts (Debian package libnbd-bin)");
            let runs = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if let Some(fault) = bitmap.fault_of_runs(&runs) {
                self.script.push(format!("nbdinfo {map} --json '{uri}' # {fault}"));
                judged = Err(self.broken(format!("a bitmap says what it must not, by {tool:?}"), &output));
                break;
            }
        }
        self.end_server();
        judged
    }

    fn end_server(&self) {
        let pid = fs::read_to_string(self.folder.join("pid")).expect("a server has written its number");
        let program = Path::new("/proc").join(pid.trim()).join("exe");
        let ended = process::Command::new("kill").arg(pid.trim()).status().expect("kill of procps starts");
        assert!(ended.success(), "there is no server {pid}");
        while program.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn judge_snapshot(&mut self, file: usize, slot: u8, held: &[u8], tool: Tool) -> Result<(), Broken> {
        let (name, snapshot) = (self.world.address(file, None), format!("snapshot.name=s{slot}"));
        let words = ["convert", "-f", "qcow2", "-l", &snapshot, "-O", "raw", &name, HELD];
        let converted = self.call(tool, "img", &words.map(str::to_owned));
        let mut found = fs::read(self.folder.join(HELD)).unwrap_or_default();
        let mut held = held;
        let size = self.world.image(file).map_or(0, Image::size);
        // QEMU shows a snapshot with the size that the disk has now, and the backing file behind its end.
        if tool == Tool::Qemu && found.len() as u64 == size {
            held = &held[..held.len().min(found.len())];
            found.truncate(held.len());
        }
        if !converted.status.success() || found != held {
            let at = found.iter().zip(held).position(|(found, held)| found != held);
            let what = format!("a snapshot holds what it must not, by {tool:?}");
            let sizes = format!("first at {at:?}; {} bytes, expected {}", found.len(), held.len());
            self.script.push(format!("# {sizes}"));
            return Err(self.broken(what, &converted));
        }
        Ok(())
    }
}

fn quote(word: &str) -> String {
    let is_plain =
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=.,/".contains(c));
    if is_plain { word.to_owned() } else { format!("'{word}'") }
}

/// A folder in memory, where the machine has one.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

/// Makes the commands in a new folder; returns how many were refused, and how many failed.
fn replay(commands: &[Command]) -> Result<[u64; 2], Broken> {
    let folder = folder();
    let world = World { folder: format!("{}/", folder.path().display()), ..World::default() };
    let mut run = Run { folder: folder.path(), world, script: Vec::new(), refused: 0, failed: 0 };
    commands.iter().try_for_each(|command| run.step(command))?;
    run.judge_all()?;
    Ok([run.refused, run.failed])
}

/// The commands of a sequence: each is drawn for the images that those before it leave, where none is
/// refused.
fn draw(seed: u64) -> Vec<Command> {
    let (mut rng, mut world) = (Random::new(seed), World::default());
    let mut commands = Vec::new();
    while commands.len() < LENGTH {
        let command = Command::draw(&mut rng, &world);
        world.apply(&command);
        commands.push(command);
    }
    commands
}

/// Leaves out what the same failure does not need.
fn shrink(mut commands: Vec<Command>, mut broken: Broken) -> Broken {
    let mut runs = 0;
    let mut at = commands.len();
    while at > 0 && runs < SHRINK_RUNS_MAX {
        at -= 1;
        let mut fewer = commands.clone();
        fewer.remove(at);
        runs += 1;
        if let Err(same) = replay(&fewer)
            && same.what == broken.what
        {
            at = at.min(fewer.len());
            (commands, broken) = (fewer, same);
        }
    }
    broken
}

#[test]
fn chains_of_images_show_what_they_have_to() {
    if !qemu::available() {
        return;
    }
    let asked = std::env::var("BLK_CHAINS").unwrap_or_else(|_| COUNT.to_string());
    let (count, first) = asked.split_once('@').unwrap_or((&asked, "0"));
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("BLK_CHAINS={asked}: COUNT[@SEED]"));
    let (count, first): (u64, u64) = (number(count), number(first));
    let (mut made, mut refused, mut failed) = (0, 0, 0);
    for seed in first..first + count {
        let commands = draw(seed);
        made += commands.len() as u64;
        match replay(&commands) {
            Ok(counts) => {
                refused += counts[0];
                failed += counts[1];
            }
            Err(broken) => {
                let Broken { what, details, script } = shrink(commands, broken);
                panic!("seed {seed}: {what}\n{details}\n{}", script.join("\n"));
            }
        }
    }
    println!("{count} sequences of {made} commands, {refused} refused, {failed} failed");
    assert!(refused * 10 < made, "{refused} of {made} commands were refused");
    assert!(failed > 0 || count < COUNT, "no failure of an image's file was met");
}

/// A rebase to a first backing file: what reads as zeroes before does so afterwards, also where the format
/// has no mark for them. QEMU 10.0 shows the backing file (docs/findings/qemu-img-rebase-shows-base.md).
#[test]
fn a_first_backing_file_shows_nowhere() {
    if !qemu::available() {
        return;
    }
    for (version, compress) in [(2, false), (2, true), (3, false), (3, true)] {
        let made = |file, options: Options| Act::Create { file, options, size: 1 << 20, backing: None };
        let change = |file, change, at, length| Act::Change { file, change, at, length };
        let acts = [
            made(0, Options::RAW),
            change(0, Change::Write(0x11), 0, 1 << 20),
            made(1, Options { version, ..Options::plain() }),
            change(1, Change::Write(5), 64 << 10, 64 << 10),
            change(1, Change::Zero { unmap: false }, 64 << 10, 64 << 10),
            change(1, Change::Write(6), 512 << 10, 100 << 10),
            Act::Rebase { file: 1, to: Some(0), compress },
            Act::Rebase { file: 1, to: None, compress },
        ];
        let commands = acts.map(|act| Command { tool: Tool::Blk, act, failure: None, judges: Tool::ALL });
        if let Err(Broken { what, details, script }) = replay(&commands) {
            panic!("version {version}: {what}\n{details}\n{}", script.join("\n"));
        }
    }
}
