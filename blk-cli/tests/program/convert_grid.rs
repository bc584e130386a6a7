//! `convert` over grids of inputs: what it makes is read back by us and by qemu-img, and is no larger than
//! what qemu-img makes.

use std::fmt::Debug;
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use crate::qemu::{self, qemu_img};

/// Runs `blk img`, which has to succeed.
fn blk_img(folder: &Path, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_blk"))
        .arg("img")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("blk runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "blk img {arguments:?}: {}, {said}", output.status);
}

/// Of so many cells one is tried, unless `BLK_GRID=all`; prime, so that every value of every dimension is
/// met.
const SAMPLE: usize = 5;

/// Gives each cell a folder of its own, and uses all processors.
fn for_each_cell<T: Debug + Send>(mut cells: Vec<T>, test: impl Fn(&Path, &T) + Sync) {
    if std::env::var_os("BLK_GRID").is_none_or(|grid| grid != "all") {
        cells = cells.into_iter().step_by(SAMPLE).collect();
    }
    let rest = Mutex::new(cells);
    let work = || {
        while let Some(cell) = { rest.lock().unwrap().pop() } {
            let folder = tempfile::tempdir().unwrap();
            test(folder.path(), &cell);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, NonZero::get) {
            scope.spawn(work);
        }
    });
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Kinds of content that compress in different ways, each over at least two clusters.
fn contents(cluster: usize) -> Vec<Vec<u8>> {
    let bytes = (2 * cluster).max(192 << 10);
    let each = |make: &dyn Fn(usize) -> Vec<u8>| (0..bytes / cluster).flat_map(make).collect::<Vec<u8>>();
    let with_zeroes = |noisy: usize, seed: usize| {
        let mut content = noise(seed as u64, noisy);
        content.resize(cluster, 0);
        content
    };
    let text = b"Mar 12 10:15:09 host kernel: [ 1234.5678] vda: vda1 vda2 vda3; ";
    vec![
        vec![0; bytes],
        noise(1, bytes),
        each(&|index| with_zeroes(cluster / 2, index)),
        (0..bytes).map(|at| text[at % text.len()] ^ (at / 977) as u8 & 3).collect(),
        // Around the border of what becomes smaller: a byte more of zeroes each time.
        each(&|index| with_zeroes(cluster - index % 40 % cluster, index)),
        // One noisy cluster between compressible ones.
        each(&|index| if index % 3 == 1 { noise(index as u64, cluster) } else { vec![index as u8; cluster] }),
        // A byte alone at the end of each cluster.
        each(&|index| with_zeroes(0, index).into_iter().skip(1).chain([1]).collect()),
    ]
}

/// Where the content starts and ends in clusters of the target.
#[derive(Debug, Clone, Copy)]
enum Alignment {
    Whole,
    /// Everything starts a sector late, and the last cluster is all but a sector long.
    Shifted,
    /// The last cluster has one sector.
    OneSector,
}

fn compressed_source(cluster: usize, alignment: Alignment) -> Vec<u8> {
    let mut source: Vec<u8> = contents(cluster).concat();
    match alignment {
        Alignment::Whole => {}
        Alignment::Shifted => {
            source.splice(0..0, vec![9; 512]);
            source.truncate(source.len().next_multiple_of(cluster) - 512);
        }
        Alignment::OneSector => source.extend([5; 512]),
    }
    source
}

/// 13 cluster sizes, 2 compressions, 3 alignments, 7 kinds of content.
#[test]
fn compressed_images_hold_what_went_in() {
    if !qemu::available() {
        return;
    }
    let mut cells = Vec::new();
    for bits in 9..=21 {
        for kind in ["zlib", "zstd"] {
            for alignment in [Alignment::Whole, Alignment::Shifted, Alignment::OneSector] {
                cells.push((1_usize << bits, kind, alignment));
            }
        }
    }
    for_each_cell(cells, |folder, &(cluster, kind, alignment)| {
        let source = compressed_source(cluster, alignment);
        fs::write(folder.join("source"), &source).unwrap();
        let options = format!("cluster_size={cluster},compression_type={kind}");
        let convert = ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", &options, "source", "ours"];
        blk_img(folder, &convert);
        blk_img(folder, &["convert", "-f", "qcow2", "-O", "raw", "ours", "back"]);
        assert!(fs::read(folder.join("back")).unwrap() == source, "{cluster} {kind} {alignment:?}");
        qemu_img(folder, &["compare", "-f", "raw", "-F", "qcow2", "source", "ours"]);
        qemu_img(folder, &["check", "-q", "ours"]);
        let theirs = [&convert[..9], &["theirs"]].concat();
        qemu_img(folder, &theirs);
        let length = |name| fs::metadata(folder.join(name)).unwrap().len();
        let (ours, theirs) = (length("ours"), length("theirs"));
        let limit = (theirs + theirs / 32).next_multiple_of(cluster as u64);
        assert!(ours <= limit, "{cluster} {kind} {alignment:?}: {ours} bytes, qemu-img's has {theirs}");
    });
}

/// Sizes around sectors and clusters; the content is zero in parts.
fn source_of(size: usize, seed: u64) -> Vec<u8> {
    let mut source = noise(seed, size);
    for (index, part) in source.chunks_mut(24 << 10).enumerate() {
        if (index as u64 + seed).is_multiple_of(3) {
            part.fill(0);
        }
    }
    source
}

/// 7 lists of sizes, 4 cluster sizes, 3 ways to store, 3 sizes of zeroes.
#[test]
fn sources_of_any_size_lie_end_to_end() {
    if !qemu::available() {
        return;
    }
    let lists: [&[usize]; 7] = [
        &[100 << 10],
        &[100_001],
        &[100 << 10, 100 << 10],
        &[512, 65_536, 512],
        &[100_000, 1, 300_000],
        &[(1 << 20) + 512, (1 << 20) - 512],
        &[3 << 20, 2_222_222],
    ];
    let mut cells = Vec::new();
    for sizes in lists {
        for cluster in [512, 4096, 65_536, 2 << 20] {
            for storing in ["", "zlib", "zstd"] {
                cells.extend(["4k", "0", "96k"].map(|sparse| (sizes, cluster, storing, sparse)));
            }
        }
    }
    for_each_cell(cells, |folder, cell @ &(sizes, cluster, storing, sparse)| {
        let mut expected = Vec::new();
        let mut names = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            let source = source_of(*size, index as u64);
            fs::write(folder.join(format!("source{index}")), &source).unwrap();
            names.push(format!("source{index}"));
            expected.extend(source);
            expected.resize(expected.len().next_multiple_of(512), 0);
        }
        let options = format!("cluster_size={cluster}");
        let mut arguments = vec!["convert", "-f", "raw", "-O", "qcow2", "-S", sparse, "-o", &options];
        let compression = format!("compression_type={storing}");
        if !storing.is_empty() {
            arguments.extend(["-c", "-o", &compression]);
        }
        arguments.extend(names.iter().map(String::as_str));
        arguments.push("ours");
        blk_img(folder, &arguments);
        blk_img(folder, &["convert", "-f", "qcow2", "-O", "raw", "ours", "back"]);
        assert!(fs::read(folder.join("back")).unwrap() == expected, "{cell:?}");
        fs::write(folder.join("expected"), &expected).unwrap();
        qemu_img(folder, &["compare", "-f", "raw", "-F", "qcow2", "expected", "ours"]);
        qemu_img(folder, &["check", "-q", "ours"]);
    });
}

const SALVAGED_CLUSTER: u64 = 4096;

/// How an entry of a table is broken.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The L1 entry refers to a table that is no whole cluster.
    L1Unaligned,
    /// The L1 entry refers to a table past the end of the file.
    L1PastTheEnd,
    /// The L2 entry refers to data that is no whole cluster.
    L2Unaligned,
}

fn be64(image: &[u8], at: u64) -> u64 {
    u64::from_be_bytes(image[at as usize..][..8].try_into().unwrap())
}

/// Breaks the entry of the L2 table, or of the L1 table, that maps guest cluster `index`.
fn break_entry(image: &mut [u8], fault: Fault, index: u64) {
    const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
    let entries = SALVAGED_CLUSTER / 8;
    let l1_at = be64(image, 40) + index / entries * 8;
    let l2_at = (be64(image, l1_at) & OFFSET_MASK) + index % entries * 8;
    let (at, bits) = match fault {
        Fault::L1Unaligned => (l1_at, 0x200),
        Fault::L1PastTheEnd => (l1_at, 1 << 40),
        Fault::L2Unaligned => (l2_at, 0x200),
    };
    let broken = be64(image, at) | bits;
    image[at as usize..][..8].copy_from_slice(&broken.to_be_bytes());
}

/// 3 faults, 4 sets of entries that have them.
#[test]
fn what_is_salvaged_of_broken_tables_is_what_qemu_img_salvages() {
    if !qemu::available() {
        return;
    }
    let plain = tempfile::tempdir().unwrap();
    fs::write(plain.path().join("source"), noise(7, 6 << 20)).unwrap();
    let options = format!("cluster_size={SALVAGED_CLUSTER}");
    qemu_img(plain.path(), &["convert", "-f", "raw", "-O", "qcow2", "-o", &options, "source", "image"]);
    let image = fs::read(plain.path().join("image")).unwrap();
    let sets: [&[u64]; 4] = [&[0], &[1535], &[511, 512], &[3, 4, 700, 1200]];
    for fault in [Fault::L1Unaligned, Fault::L1PastTheEnd, Fault::L2Unaligned] {
        for indices in sets {
            let folder = tempfile::tempdir().unwrap();
            let mut broken = image.clone();
            let mut tables: Vec<u64> = Vec::new();
            for index in indices {
                // A table is broken once.
                if matches!(fault, Fault::L2Unaligned) || !tables.contains(&(index / 512)) {
                    break_entry(&mut broken, fault, *index);
                }
                tables.push(index / 512);
            }
            fs::write(folder.path().join("image"), broken).unwrap();
            let convert = ["convert", "-f", "qcow2", "-O", "raw", "image", "out"];
            let fails = Command::new(env!("CARGO_BIN_EXE_blk"))
                .arg("img")
                .args(convert)
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert_eq!(fails.status.code(), Some(1), "{fault:?} {indices:?}");
            let salvage = ["img", "convert", "--salvage", "-f", "qcow2", "-O", "raw", "image", "ours"];
            let ours =
                Command::new(env!("CARGO_BIN_EXE_blk")).args(salvage).current_dir(folder.path()).output();
            let ours = ours.unwrap();
            assert_eq!(ours.status.code(), Some(0), "{fault:?} {indices:?}");
            let said = String::from_utf8_lossy(&ours.stderr);
            assert!(said.contains("cannot be read and become zeroes"), "{fault:?} {indices:?}: {said}");
            let theirs = Command::new("qemu-img")
                .args(&salvage[1..8])
                .arg("theirs")
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert_eq!(theirs.status.code(), Some(0), "{fault:?} {indices:?}");
            let read = |name| fs::read(folder.path().join(name)).unwrap();
            assert!(read("ours") == read("theirs"), "{fault:?} {indices:?}");
        }
    }
}

/// Where the source's own backing file has ended the source shows zeroes; the disk below the target may go on
/// there.
#[test]
fn a_longer_disk_below_the_target_does_not_show() {
    let words: [&[&str]; 5] =
        [&[], &["-c"], &["-S", "0"], &["-o", "cluster_size=512"], &["-o", "extended_l2=on,cluster_size=2M"]];
    for words in words {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let long = noise(3, 3 << 20);
        fs::write(path.join("long"), &long).unwrap();
        fs::write(path.join("base"), &long[..(1 << 20) + 1000]).unwrap();
        blk_img(path, &["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "over", "2M"]);
        let onto = ["-O", "qcow2", "-B", "long", "-F", "raw", "over", "target"];
        blk_img(path, &[&["convert"], words, &onto].concat());
        blk_img(path, &["convert", "-O", "raw", "target", "shown"]);
        let mut expected = long[..(1 << 20) + 1000].to_vec();
        expected.resize(2 << 20, 0);
        assert!(fs::read(path.join("shown")).unwrap() == expected, "{words:?}");
    }
}
