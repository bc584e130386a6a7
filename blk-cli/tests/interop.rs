//! Against the real qemu-img and qemu-io: what they write we read, what we write they read, and both check
//! clean.

mod qemu;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blk_cli::spec::Locking;
use blk_core::{
    Access, DiscardFlags, Disk, Extent, FileStorage, Options, RepairMode, Storage, WriteFlags, ZeroFlags,
};
use qemu::{qemu_img, qemu_io};

/// One image of the product that is tested.
#[derive(Debug, Clone, Copy)]
struct Shape {
    version: u32,
    cluster_bits: u32,
    refcount_bits: u64,
    backing: Backing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backing {
    None,
    Raw,
    Qcow2,
}

const BACKINGS: [Backing; 3] = [Backing::None, Backing::Raw, Backing::Qcow2];

impl Shape {
    fn cluster(self) -> u64 {
        1 << self.cluster_bits
    }

    fn size(self) -> u64 {
        let clusters = match self.cluster_bits {
            9 => 200,
            12 => 50,
            16 => 12,
            _ => 5,
        };
        clusters * self.cluster() - 512
    }

    fn compat(self) -> &'static str {
        if self.version == 2 { "0.10" } else { "1.1" }
    }

    fn make_backing(self, folder: &Path) -> Option<&'static str> {
        let bytes = self.size() / 3 * 2 / 512 * 512;
        let name = match self.backing {
            Backing::None => return None,
            Backing::Raw => "below.raw",
            Backing::Qcow2 => "below.qcow2",
        };
        let format = if self.backing == Backing::Raw { "raw" } else { "qcow2" };
        qemu_img(folder, &["create", "-q", "-f", format, name, &bytes.to_string()]);
        qemu_io(folder, &["-f", format, name], &[format!("write -q -P 0x77 0 {bytes}")]);
        Some(name)
    }
}

/// What QEMU is told to write: every kind of cluster, edges, and the odd end.
fn qemu_commands(shape: Shape, round: u64) -> Vec<String> {
    let (cluster, size) = (shape.cluster(), shape.size());
    vec![
        format!("write -q -P {} 0 {}", 1 + round, cluster / 2),
        format!("write -q -P {} {} {}", 2 + round, cluster + 512 * (round % 2), cluster.max(1024)),
        format!("write -q -z {} {}", size / 4 / 512 * 512, cluster + 512),
        format!("write -q -P {} {} 512", 3 + round, size - 512),
        format!("write -q -c -P {} {} {cluster}", 4 + round, size / 4 * 3 / cluster * cluster),
        format!("discard -q {} {}", size / 3 / cluster * cluster, cluster),
    ]
}

/// The same kinds of changes by our driver, kept in `model` too.
fn change(disk: &Disk, shape: Shape, round: u8, model: &mut [u8]) {
    let (cluster, size) = (shape.cluster(), shape.size());
    let mut write = |offset: u64, length: u64, compressed: bool| {
        let data: Vec<u8> = (0..length).map(|at| (at / 64) as u8 ^ round).collect();
        disk.write(offset, &data, WriteFlags { fua: false, compressed }).unwrap();
        model[offset as usize..(offset + length) as usize].copy_from_slice(&data);
    };
    write(7, cluster, false);
    write(size - 300, 300, false);
    write(size / 2 / cluster * cluster, cluster, true);
    write(cluster, cluster, true);
    write(cluster + 100, 50, false);
    let zeroed = Extent::new(size / 5, cluster + 3);
    disk.write_zeroes(zeroed, ZeroFlags { may_unmap: round.is_multiple_of(2), ..ZeroFlags::default() })
        .unwrap();
    model[zeroed.offset as usize..zeroed.end() as usize].fill(0);
    let gone = Extent::new(size / 3 / cluster * cluster, cluster);
    disk.discard(gone, DiscardFlags::default()).unwrap();
    disk.read(gone.offset, &mut model[gone.offset as usize..gone.end() as usize]).unwrap();
}

fn open(path: &Path) -> Arc<Disk> {
    open_as(path, Some("qcow2"), Access::ReadWrite).unwrap()
}

/// As the program `blk` opens an image, but without locks.
fn open_as(path: &Path, format: Option<&str>, access: Access) -> blk_core::Result<Arc<Disk>> {
    let name = path.display().to_string();
    let format = format.map(str::to_owned);
    let request =
        blk_cli::spec::Request { name, format, access, locking: Locking::Off, ..Default::default() };
    Ok(request.open()?.disk)
}

/// Compares our view of an image with QEMU's; returns it.
fn same_view(folder: &Path, image: &str, shape: Shape) -> Vec<u8> {
    qemu_img(folder, &["convert", "-f", "qcow2", "-O", "raw", image, "view.raw"]);
    let expected = std::fs::read(folder.join("view.raw")).unwrap();
    let disk = open(&folder.join(image));
    assert_eq!(disk.size(), expected.len() as u64, "{shape:?}");
    let mut read = vec![0; expected.len()];
    disk.read(0, &mut read).unwrap();
    let first = read.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!(first, None, "{shape:?}: the first byte that differs");
    let checked = disk.check(RepairMode::None).unwrap();
    assert!(checked.is_clean(), "{shape:?}: {checked}");
    expected
}

/// QEMU finds the image clean, without a leak, and reads what the model says.
fn qemu_agrees(folder: &Path, image: &str, model: &[u8], shape: Shape) {
    let checked = qemu_img(folder, &["check", "-f", "qcow2", image]);
    assert!(checked.contains("No errors were found"), "{shape:?}: {checked}");
    std::fs::write(folder.join("model.raw"), model).unwrap();
    let compared = qemu_img(folder, &["compare", "-f", "qcow2", "-F", "raw", image, "model.raw"]);
    assert!(compared.contains("Images are identical."), "{shape:?}: {compared}");
}

fn qemu_made(folder: &Path, shape: Shape, below: Option<&str>) {
    let options = format!(
        "compat={},cluster_size={},refcount_bits={}",
        shape.compat(),
        shape.cluster(),
        shape.refcount_bits
    );
    let size = shape.size().to_string();
    let mut create = vec!["create", "-q", "-f", "qcow2", "-o", &options];
    if let Some(below) = below {
        create.extend(["-b", below, "-F", if shape.backing == Backing::Raw { "raw" } else { "qcow2" }]);
    }
    create.extend(["theirs.qcow2", &size]);
    qemu_img(folder, &create);
    qemu_io(folder, &["-f", "qcow2", "-d", "unmap", "theirs.qcow2"], &qemu_commands(shape, 0x10));
    let mut model = same_view(folder, "theirs.qcow2", shape);
    let disk = open(&folder.join("theirs.qcow2"));
    change(&disk, shape, 0x21, &mut model);
    disk.close().unwrap();
    drop(disk);
    qemu_agrees(folder, "theirs.qcow2", &model, shape);
}

fn our_made(folder: &Path, shape: Shape, below: Option<&str>) {
    let path = folder.join("ours.qcow2");
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::create(&path).unwrap());
    let mut options = Options::new()
        .with("compat", shape.compat())
        .with("cluster_size", shape.cluster())
        .with("refcount_bits", shape.refcount_bits);
    let mut model = vec![0; shape.size() as usize];
    if let Some(below) = below {
        let format = if shape.backing == Backing::Raw { "raw" } else { "qcow2" };
        options = options.with("backing_file", below).with("backing_fmt", format);
        let shown = shape.size() / 3 * 2 / 512 * 512;
        model[..shown as usize].fill(0x77);
    }
    blk_qcow2::FORMAT.create(&storage, shape.size(), options).unwrap();
    drop(storage);
    let disk = open(&path);
    change(&disk, shape, 0x42, &mut model);
    disk.close().unwrap();
    drop(disk);
    qemu_agrees(folder, "ours.qcow2", &model, shape);
    qemu_io(folder, &["-f", "qcow2", "-d", "unmap", "ours.qcow2"], &qemu_commands(shape, 0x50));
    let mut model = same_view(folder, "ours.qcow2", shape);
    let disk = open(&path);
    change(&disk, shape, 0x63, &mut model);
    disk.close().unwrap();
    drop(disk);
    qemu_agrees(folder, "ours.qcow2", &model, shape);
}

fn product(version: u32, cluster_bits: u32) {
    if !qemu::available() {
        return;
    }
    let refcounts: &[u64] = if version == 2 { &[16] } else { &[1, 16, 64] };
    for &refcount_bits in refcounts {
        for backing in BACKINGS {
            let shape = Shape { version, cluster_bits, refcount_bits, backing };
            let folder = tempfile::tempdir().unwrap();
            let below = shape.make_backing(folder.path());
            qemu_made(folder.path(), shape, below);
            our_made(folder.path(), shape, below);
        }
    }
}

#[test]
fn version_3_clusters_of_512() {
    product(3, 9);
}

#[test]
fn version_3_clusters_of_4k() {
    product(3, 12);
}

#[test]
fn version_3_clusters_of_64k() {
    product(3, 16);
}

#[test]
fn version_3_clusters_of_2m() {
    product(3, 21);
}

#[test]
fn version_2_all_cluster_sizes() {
    for cluster_bits in [9, 12, 16, 21] {
        product(2, cluster_bits);
    }
}

/// Snapshots that QEMU took: shared tables and clusters are copied on write, and the snapshot stays as it
/// was.
#[test]
fn snapshots_of_qemu_survive_our_writes() {
    if !qemu::available() {
        return;
    }
    for cluster_bits in [9, 12, 16] {
        let shape = Shape { version: 3, cluster_bits, refcount_bits: 16, backing: Backing::None };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let options = format!("cluster_size={}", shape.cluster());
        qemu_img(
            path,
            &["create", "-q", "-f", "qcow2", "-o", &options, "a.qcow2", &shape.size().to_string()],
        );
        qemu_io(path, &["-f", "qcow2", "a.qcow2"], &qemu_commands(shape, 0x10));
        let before = same_view(path, "a.qcow2", shape);
        qemu_img(path, &["snapshot", "-c", "kept", "a.qcow2"]);
        let disk = open(&path.join("a.qcow2"));
        let mut model = before.clone();
        change(&disk, shape, 0x31, &mut model);
        let checked = disk.check(RepairMode::None).unwrap();
        assert!(checked.is_clean(), "{shape:?}: {checked}");
        disk.close().unwrap();
        drop(disk);
        qemu_agrees(path, "a.qcow2", &model, shape);
        qemu_img(
            path,
            &["convert", "-l", "snapshot.name=kept", "-f", "qcow2", "-O", "raw", "a.qcow2", "old.raw"],
        );
        assert!(std::fs::read(path.join("old.raw")).unwrap() == before, "{shape:?}: the snapshot changed");
    }
}

/// zstd clusters and dirty bitmaps of QEMU: read, counted, and followed when we write.
/// It has no L1 table at all.
#[test]
fn a_disk_without_a_byte_of_qemu_grows() {
    if !qemu::available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for options in ["compat=0.10", "compat=1.1", "cluster_size=512", "extended_l2=on", "lazy_refcounts=on"] {
        qemu_img(folder.path(), &["create", "-q", "-f", "qcow2", "-o", options, "none.qcow2", "0"]);
        let disk = open(&folder.path().join("none.qcow2"));
        disk.resize(1 << 20).unwrap();
        disk.write(123_456, &[7; 1000], WriteFlags::default()).unwrap();
        disk.close().unwrap();
        drop(disk);
        qemu_img(folder.path(), &["check", "none.qcow2"]);
        qemu_io(folder.path(), &["none.qcow2"], &["read -q -P 7 123456 1000".to_owned()]);
    }
}

#[test]
fn zstd_and_bitmaps_of_qemu() {
    if !qemu::available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let shape = Shape { version: 3, cluster_bits: 16, refcount_bits: 16, backing: Backing::None };
    qemu_img(
        path,
        &["create", "-q", "-f", "qcow2", "-o", "compression_type=zstd", "z.qcow2", &shape.size().to_string()],
    );
    qemu_io(path, &["-f", "qcow2", "z.qcow2"], &qemu_commands(shape, 0x10));
    same_view(path, "z.qcow2", shape);
    qemu_img(path, &["bitmap", "--add", "z.qcow2", "changes"]);
    let mut model = same_view(path, "z.qcow2", shape);
    let disk = open(&path.join("z.qcow2"));
    change(&disk, shape, 0x11, &mut model);
    disk.close().unwrap();
    drop(disk);
    std::fs::write(path.join("model.raw"), &model).unwrap();
    let compared = qemu_img(path, &["compare", "-f", "qcow2", "-F", "raw", "z.qcow2", "model.raw"]);
    assert!(compared.contains("identical"), "{compared}");
    let header = std::fs::read(path.join("z.qcow2")).unwrap();
    assert_eq!(header[88..96], 1_u64.to_be_bytes(), "the bitmaps are vouched for");
    let info = qemu_img(path, &["info", "z.qcow2"]);
    assert!(info.contains("name: changes") && !info.contains("in-use"), "{info}");
    qemu_img(path, &["check", "-q", "z.qcow2"]);
}

/// An image that QEMU left dirty is recovered when it is opened for writing, and clean for QEMU afterwards.
#[test]
fn an_image_that_qemu_left_dirty_is_recovered() {
    if !qemu::available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let options = "lazy_refcounts=on,cluster_size=4096";
    qemu_img(path, &["create", "-q", "-f", "qcow2", "-o", options, "d.qcow2", "1M"]);
    // The process dies with its refcounts unwritten.
    qemu::qemu_io_killed(
        path,
        &["-f", "qcow2", "d.qcow2"],
        &["write -P 9 0 300k".to_owned(), "flush".to_owned(), "abort".to_owned()],
    );
    let image = std::fs::read(path.join("d.qcow2")).unwrap();
    assert_eq!(image[79] & 1, 1, "QEMU left the image dirty");
    let disk = open(&path.join("d.qcow2"));
    let mut read = vec![0; 300 << 10];
    disk.read(0, &mut read).unwrap();
    assert!(read.iter().all(|byte| *byte == 9));
    disk.close().unwrap();
    drop(disk);
    let checked = qemu_img(path, &["check", "-f", "qcow2", "d.qcow2"]);
    assert!(checked.contains("No errors"), "{checked}");
}

/// The seed's example over files of QEMU's: the planted wrong sector is reported.
#[test]
fn the_planted_wrong_sector_is_reported() {
    if !qemu::available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().to_owned();
    for format in ["raw", "qcow2"] {
        let test = format!("test.{format}");
        qemu_img(&path, &["create", "-q", "-f", "raw", "raw.img", "1M"]);
        qemu_img(&path, &["create", "-q", "-f", format, &test, "1M"]);
        let right = ["write -q -P 0xcd 0 512".to_owned(), "write -q -P 1 64k 64k".to_owned()];
        qemu_io(&path, &["-f", "raw", "raw.img"], &right);
        qemu_io(&path, &["-f", format, &test], &["write -q -P 0 0 512".to_owned(), right[1].clone()]);
        let open = |name: &str, format| open_as(&path.join(name), Some(format), Access::ReadWrite).unwrap();
        let verify =
            blk_verify::Verify::new(open("raw.img", "raw"), open(&test, format), blk_verify::Policy::Fail)
                .unwrap();
        let disk = Disk::new(verify, Access::ReadWrite);
        disk.read(64 << 10, &mut [0; 4096]).unwrap();
        let error = disk.read(0, &mut [0; 512]).unwrap_err().to_string();
        let expected = "blkverify: read offset=0 bytes=512 contents mismatch at offset 0 (sector 0)";
        assert!(error.starts_with(expected), "{error}");
        assert!(error.contains("the byte 0xcd, repeated") && error.contains("zeroes"), "{error}");
    }
}

/// A backing chain that comes back to itself is an error, not an endless recursion.
#[test]
fn a_chain_that_loops_is_refused() {
    if !qemu::available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, below) in [("a.qcow2", "b.qcow2"), ("b.qcow2", "a.qcow2"), ("self.qcow2", "a.qcow2")] {
        qemu_img(path, &["create", "-q", "-u", "-f", "qcow2", "-b", below, "-F", "qcow2", name, "1M"]);
    }
    qemu_img(path, &["rebase", "-u", "-f", "qcow2", "-b", "self.qcow2", "-F", "qcow2", "self.qcow2"]);
    for name in ["a.qcow2", "self.qcow2"] {
        let opened = open_as(&path.join(name), None, Access::ReadOnly);
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("comes back to it"), "{error}");
    }
}
