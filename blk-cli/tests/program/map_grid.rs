//! `map` over grids of images, against qemu-img: what is printed and the exit code have to be the same.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::qemu::{self, qemu_img, qemu_io};

/// Folders on the file system of temporary files, and on a tmpfs where there is one.
fn folders() -> Vec<tempfile::TempDir> {
    [tempfile::tempdir().ok(), tempfile::tempdir_in("/dev/shm").ok()].into_iter().flatten().collect()
}

/// Both programs print the same about an image, in both forms.
fn same_map(folder: &Path, arguments: &[&str], cell: &str) {
    for form in ["--output=json", "--output=human"] {
        let run = |program: &str, first: &[&str]| {
            let output = Command::new(program)
                .args(first)
                .args(["map", form])
                .args(arguments)
                .current_dir(folder)
                .output()
                .unwrap_or_else(|error| panic!("{program}: {error}"));
            (output.status.code(), String::from_utf8(output.stdout).expect("text"))
        };
        let theirs = run("qemu-img", &[]);
        let ours = run(env!("CARGO_BIN_EXE_blk"), &["img"]);
        assert!(ours == theirs, "{cell} {form} {arguments:?}\nqemu-img: {theirs:?}\nblk: {ours:?}");
    }
}

const SIZES: [u64; 9] = [0, 1, 511, 512, 513, 4097, 65_537, 100_000, (1 << 20) + 4095];

/// Makes a raw file of `size` bytes with data in one place.
fn make_raw(path: &Path, size: u64, data: &str) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    let (at, length) = match data {
        "all" => (0, size),
        "first byte" => (0, size.min(1)),
        "last byte" => (size.saturating_sub(1), size.min(1)),
        _ => (0, 0),
    };
    file.write_all_at(&vec![1; length as usize], at).unwrap();
}

/// 9 sizes, 4 places of data; alone, in windows, and below overlays of 3 sizes.
#[test]
fn raw_files_with_a_short_last_sector() {
    if !qemu::available() {
        return;
    }
    for folder in folders() {
        let folder = folder.path();
        for size in SIZES {
            for data in ["none", "first byte", "last byte", "all"] {
                let cell = format!("{size} bytes, data: {data}");
                make_raw(&folder.join("raw"), size, data);
                same_map(folder, &["-f", "raw", "raw"], &cell);
                same_map(folder, &["-f", "raw", "-s", "512", "-l", "700", "raw"], &cell);
                for overlay in [&["2M"][..], &["100k"], &[]] {
                    let create = ["create", "-q", "-f", "qcow2", "-b", "raw", "-F", "raw", "overlay"];
                    qemu_img(folder, &[&create[..], overlay].concat());
                    same_map(folder, &["overlay"], &cell);
                }
            }
        }
    }
}

/// Punches holes under these parts of the plain data of `image`.
fn punch(image: &Path, extents: &[(u64, u64)]) {
    let file = OpenOptions::new().write(true).open(image).unwrap();
    for (offset, length) in extents {
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, flags, *offset, *length).unwrap();
    }
}

/// Where plain data lies in the file.
fn plain_extents(folder: &Path, image: &str) -> Vec<(u64, u64)> {
    let map = qemu_img(folder, &["map", "--output=json", image]);
    let runs: Vec<serde_json::Value> = serde_json::from_str(&map).unwrap();
    let plain = |run: &serde_json::Value| Some((run.get("offset")?.as_u64()?, run["length"].as_u64()?));
    runs.iter().filter_map(plain).collect()
}

/// 4 modes of preallocation, 4 cluster sizes, 5 states.
#[test]
fn holes_of_the_host_under_data_clusters() {
    if !qemu::available() {
        return;
    }
    for folder in folders() {
        let folder = folder.path();
        for mode in ["off", "metadata", "falloc", "full"] {
            for cluster in [512, 4096, 65_536, 2 << 20] {
                let cell = |state| format!("preallocation {mode}, clusters of {cluster} bytes, {state}");
                let options = format!("preallocation={mode},cluster_size={cluster}");
                // A disk of very few clusters is a matter of rounding.
                let size = if cluster > 65_536 { "24M" } else { "5M" };
                qemu_img(folder, &["create", "-q", "-f", "qcow2", "-o", &options, "image", size]);
                same_map(folder, &["image"], &cell("empty"));
                let write = |commands: &[&str]| {
                    let commands: Vec<String> = commands.iter().map(|text| (*text).to_owned()).collect();
                    qemu_io(folder, &["image"], &commands);
                };
                write(&["write -q -P 1 1M 100k", "write -q -P 2 3M 64k", "write -q -z 2M 1M"]);
                same_map(folder, &["image"], &cell("written in parts"));
                write(&["write -q -P 1 0 4M"]);
                same_map(folder, &["image"], &cell("mostly written"));
                let extents = plain_extents(folder, "image");
                let few: Vec<_> =
                    extents.iter().take(50).map(|(at, length)| (*at, (*length).min(4096))).collect();
                punch(&folder.join("image"), &few);
                same_map(folder, &["image"], &cell("with a few holes"));
                punch(&folder.join("image"), &extents);
                same_map(folder, &["image"], &cell("with nothing but holes"));
                fs::remove_file(folder.join("image")).unwrap();
            }
        }
    }
}
