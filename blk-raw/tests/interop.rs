//! Against QEMU's real tools: what qemu-io wrote reads the same here, and the other way round.
//! `BLK_REQUIRE_QEMU=1`, as in CI, turns a skip into a failure.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use blk_core::{
    Access, DenyResolver, DiscardFlags, Disk, Extent, FileStorage, Options, Storage, WriteFlags, ZeroFlags,
};
use blk_raw::FORMAT;

fn available() -> bool {
    let runs = |program: &str| {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    if runs("qemu-img") && runs("qemu-io") {
        return true;
    }
    let required = std::env::var_os("BLK_REQUIRE_QEMU").is_some();
    assert!(!required, "qemu-img and qemu-io are required here and missing: install qemu-utils");
    eprintln!("SKIPPED: qemu-img and qemu-io are missing (Debian package qemu-utils)");
    false
}

fn call(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn qemu_img(arguments: &[&str]) -> String {
    let output = call("qemu-img", arguments);
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", printed(&output));
    printed(&output)
}

/// Runs qemu-io with these commands, which have to succeed.
fn qemu_io(image: &[&str], commands: &[String]) {
    let mut arguments: Vec<&str> = commands.iter().flat_map(|command| ["-c", command.as_str()]).collect();
    arguments.extend(image);
    let output = call("qemu-io", &arguments);
    let text = printed(&output);
    assert!(
        output.status.success() && !text.contains("rror") && !text.contains("failed"),
        "{commands:?}: {text}"
    );
}

struct Image {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Image {
    fn new(size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.raw");
        let storage: Arc<dyn Storage> = Arc::new(FileStorage::create(&path).unwrap());
        FORMAT.create(&storage, size, Options::new()).unwrap();
        Self { _folder: folder, path }
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn open(&self, options: Options) -> Disk {
        open(&self.path, options)
    }
}

fn open(path: &Path, options: Options) -> Disk {
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(path, Access::ReadWrite).unwrap());
    FORMAT.open(storage, Access::ReadWrite, options, &DenyResolver).unwrap()
}

/// A request of any of the kinds that both sides know.
#[derive(Debug, Clone, Copy)]
enum Request {
    Write(Extent, u8),
    Zero(Extent, bool),
    Discard(Extent),
}

const SIZE_BYTES: u64 = (2 << 20) + 512;

/// Pseudo-random requests, the same in each run.
fn requests(count: u32, unit: u64) -> Vec<Request> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |end: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end
    };
    (0..count)
        .map(|_| {
            let offset = next(SIZE_BYTES / unit) * unit;
            let length = ((1 + next(100_000 / unit)) * unit).min(SIZE_BYTES - offset);
            let extent = Extent::new(offset, length);
            match next(8) {
                0..=3 => Request::Write(extent, 1 + next(255) as u8),
                4 | 5 => Request::Zero(extent, next(2) == 0),
                _ => Request::Discard(extent),
            }
        })
        .collect()
}

impl Request {
    fn for_qemu_io(self) -> String {
        match self {
            Self::Write(extent, byte) => format!("write -P {byte} {} {}", extent.offset, extent.length),
            Self::Zero(extent, true) => format!("write -z -u {} {}", extent.offset, extent.length),
            Self::Zero(extent, false) => format!("write -z {} {}", extent.offset, extent.length),
            Self::Discard(extent) => format!("discard {} {}", extent.offset, extent.length),
        }
    }

    fn make(self, disk: &Disk) {
        match self {
            Self::Write(extent, byte) => {
                disk.write(extent.offset, &vec![byte; extent.length as usize], WriteFlags::default())
            }
            Self::Zero(extent, may_unmap) => {
                disk.write_zeroes(extent, ZeroFlags { may_unmap, ..ZeroFlags::default() })
            }
            Self::Discard(extent) => disk.discard(extent, DiscardFlags::default()),
        }
        .unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }

    /// On a file system that punches holes, as all do that tests run on, a discarded byte is zero.
    fn model(self, bytes: &mut [u8]) {
        let (extent, byte) = match self {
            Self::Write(extent, byte) => (extent, byte),
            Self::Zero(extent, _) | Self::Discard(extent) => (extent, 0),
        };
        bytes[extent.offset as usize..extent.end() as usize].fill(byte);
    }
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0xee; disk.size() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_qemu_wrote_reads_the_same_here() {
    if !available() {
        return;
    }
    let image = Image::new(SIZE_BYTES);
    let all = requests(200, 512);
    let commands: Vec<String> = all.iter().map(|request| request.for_qemu_io()).collect();
    qemu_io(&["-f", "raw", "-d", "unmap", image.name()], &commands);
    let mut model = vec![0; SIZE_BYTES as usize];
    for request in &all {
        request.model(&mut model);
    }
    assert!(content(&image.open(Options::new())) == model);
    same_map(&image);
}

#[test]
fn what_we_wrote_reads_the_same_in_qemu() {
    if !available() {
        return;
    }
    let image = Image::new(SIZE_BYTES);
    let disk = image.open(Options::new());
    let mut model = vec![0; SIZE_BYTES as usize];
    for request in requests(400, 1) {
        request.make(&disk);
        request.model(&mut model);
    }
    disk.close().unwrap();
    assert!(content(&disk) == model);
    same_map(&image);

    let reference = image.path.with_file_name("reference.raw");
    std::fs::write(&reference, &model).unwrap();
    let compare = ["compare", "-f", "raw", "-F", "raw", image.name(), reference.to_str().unwrap()];
    assert!(qemu_img(&compare).contains("identical"));
    // The comparison can fail: one wrong byte is found, and where.
    disk.write(70_000, &[model[70_000] ^ 1], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    let output = call("qemu-img", &compare);
    assert!(!output.status.success() && printed(&output).contains("mismatch"), "{}", printed(&output));
}

/// Turn by turn, on the same file.
#[test]
fn both_write_one_image_in_turns() {
    if !available() {
        return;
    }
    let image = Image::new(SIZE_BYTES);
    let mut model = vec![0; SIZE_BYTES as usize];
    for (number, some) in requests(120, 512).chunks(20).enumerate() {
        if number % 2 == 0 {
            let disk = image.open(Options::new());
            for request in some {
                request.make(&disk);
            }
            disk.close().unwrap();
        } else {
            let commands: Vec<String> = some.iter().map(|request| request.for_qemu_io()).collect();
            qemu_io(&["-f", "raw", "-d", "unmap", image.name()], &commands);
        }
        for request in some {
            request.model(&mut model);
        }
        assert!(content(&image.open(Options::new())) == model, "after turn {number}");
    }
    same_map(&image);
}

/// QEMU's own window and ours show the same bytes of the file.
#[test]
fn windows_agree() {
    if !available() {
        return;
    }
    let image = Image::new(SIZE_BYTES);
    let window =
        format!("driver=raw,offset=66048,size=131072,file.driver=file,file.filename={}", image.name());
    qemu_io(&["--image-opts", &window], &["write -P 5 0 131072".into(), "write -P 6 512 512".into()]);
    let disk = image.open(Options::new().with("offset", 66_048u64).with("size", 131_072u64));
    let bytes = content(&disk);
    assert!(bytes[..512].iter().chain(&bytes[1024..]).all(|byte| *byte == 5));
    assert!(bytes[512..1024].iter().all(|byte| *byte == 6));
    disk.write(1024, &[7; 512], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    qemu_io(&["--image-opts", &window], &["read -P 7 1024 512".into(), "read -P 5 1536 129536".into()]);
    let whole = content(&image.open(Options::new()));
    assert!(whole[..66_048].iter().chain(&whole[66_048 + 131_072..]).all(|byte| *byte == 0));
}

/// QEMU rounds a size up to whole sectors; the bytes that both show are the same, and what is behind is zero.
#[test]
fn sizes_that_are_no_multiple_of_a_sector() {
    if !available() {
        return;
    }
    for size in [1u64, 511, 513, 100_001] {
        let image = Image::new(size);
        let disk = image.open(Options::new());
        disk.write(0, &vec![9; size as usize], WriteFlags::default()).unwrap();
        disk.close().unwrap();
        let info = qemu_img(&["info", "--output=json", "-f", "raw", image.name()]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], size.next_multiple_of(512), "{info}");
        let mut commands = vec![format!("read -P 9 0 {size}")];
        if !size.is_multiple_of(512) {
            commands.push(format!("read -P 0 {size} {}", size.next_multiple_of(512) - size));
        }
        qemu_io(&["-f", "raw", image.name()], &commands);
        assert_eq!(disk.size(), size, "reading does not grow the file");
    }
}

/// Runs of data and of holes, merged: start, length, whether it is data.
type Runs = Vec<(u64, u64, bool)>;

fn push(runs: &mut Runs, start: u64, length: u64, data: bool) {
    match runs.last_mut() {
        Some((_, last, same)) if *same == data => *last += length,
        _ => runs.push((start, length, data)),
    }
}

fn our_runs(disk: &Disk) -> Runs {
    let mut runs = Runs::new();
    let mut at = 0;
    while at < disk.size() {
        let status = disk.block_status(Extent::between(at, disk.size())).unwrap();
        assert_eq!((status.allocated, status.host_offset), (true, Some(at)));
        push(&mut runs, at, status.length, !status.zero);
        at += status.length;
    }
    runs
}

/// `qemu-img map` and our block status tell the same holes.
fn same_map(image: &Image) {
    let text = qemu_img(&["map", "--output=json", "-f", "raw", image.name()]);
    let map: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut runs = Runs::new();
    for entry in map.as_array().unwrap() {
        let number = |name: &str| entry[name].as_u64().unwrap();
        push(&mut runs, number("start"), number("length"), !entry["zero"].as_bool().unwrap());
    }
    assert!(runs.iter().any(|run| run.2) && runs.iter().any(|run| !run.2), "nothing to compare: {runs:?}");
    assert_eq!(our_runs(&image.open(Options::new())), runs);
}
