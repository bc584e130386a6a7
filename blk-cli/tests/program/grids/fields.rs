//! Every field of a qcow2 header at its limits: what one program opens, checks or refuses, the other does
//! too.

use std::fmt;
use std::fs;

use super::images::Bytes;
use super::tools::{Tools, compare};
use crate::qemu;

/// Without `BLK_GRID=all`, one cell of so many is asked about.
const SAMPLED: usize = 9;

const MAX_32: u64 = u32::MAX as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Info,
    ReadOnly,
    ReadWrite,
    Check,
}

struct Cell {
    what: String,
    operation: Operation,
    image: Vec<u8>,
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.what, self.operation)
    }
}

impl Cell {
    /// Whether it is known to differ: QEMU does not open an image whose bitmaps are broken, that names a raw
    /// data file without having one, or whose snapshots have too much extra data. Guest data is not touched
    /// by any of these.
    fn is_known(&self) -> bool {
        let is = |start: &str| self.what.starts_with(start);
        let refuses = is("bitmaps") || is("autoclear 0x2") || is("autoclear 0x3") || is("autoclear 0xf");
        // Bitmaps whose names can be told are told.
        let named = is("bitmaps 0 ") || (is("bitmaps 1 0x18 ") && !is("bitmaps 1 0x18 0x8 "));
        let opens = self.operation != Operation::Info || named;
        refuses && opens
    }
}

#[test]
fn header_fields_are_taken_and_refused_alike() {
    if !qemu::available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let all = std::env::var("BLK_GRID").is_ok_and(|wanted| wanted == "all");
    let mut cells = Vec::new();
    for (compat, cluster) in [("1.1", 4096), ("0.10", 4096), ("1.1", 512), ("1.1", 65536)] {
        let made = Bytes::made_by_qemu(folder.path(), compat, cluster, false);
        for (what, image) in changed(&made) {
            for operation in [Operation::Info, Operation::ReadOnly, Operation::ReadWrite, Operation::Check] {
                let what = format!("{what} ({compat}, {cluster})");
                cells.push(Cell { what, operation, image: image.0.clone() });
            }
        }
    }
    if !all {
        cells = cells.into_iter().step_by(SAMPLED).collect();
    }
    eprintln!("{} cells", cells.len());
    compare(cells, |_| (), ask, Cell::is_known);
}

/// The exit code of a check, or whether the image opens.
fn ask(tools: &Tools, cell: &Cell) -> Option<i32> {
    fs::write(tools.path("image"), &cell.image).unwrap();
    let io = |mode: &[&str]| {
        let output = tools.run("qemu-io", &[mode, &["-f", "qcow2", "-c", "length", "image"]].concat());
        output.status.code().map(|code| code.min(1))
    };
    let code = match cell.operation {
        Operation::Info => tools.run("qemu-img", &["info", "-f", "qcow2", "image"]).status.code(),
        Operation::ReadOnly => io(&["-r"]),
        Operation::ReadWrite => io(&[]),
        Operation::Check => tools.run("qemu-img", &["check", "-f", "qcow2", "image"]).status.code(),
    };
    assert!(code.is_some_and(|code| code < 64), "{cell:?}: a panic, or a signal: {code:?}");
    code
}

/// An image by each value of each field, and cut at each structure.
fn changed(made: &Bytes) -> Vec<(String, Bytes)> {
    let mut list = List { made, list: Vec::new() };
    list.places();
    list.numbers();
    list.backing();
    if made.get(4, 4) >= 3 {
        list.version_3();
    }
    list.extensions();
    list.cut();
    list.list
}

struct List<'a> {
    made: &'a Bytes,
    list: Vec<(String, Bytes)>,
}

impl List<'_> {
    fn add(&mut self, what: String, puts: &[(u64, usize, u64)]) {
        let mut image = self.made.clone();
        for (at, width, value) in puts {
            image.put(*at, *width, *value);
        }
        self.list.push((what, image));
    }

    fn field(&mut self, name: &str, at: u64, width: usize, values: &[u64]) {
        for value in values {
            self.add(format!("{name} {value:#x}"), &[(at, width, *value)]);
        }
    }

    fn places(&mut self) {
        let (cluster, end) = (self.made.cluster(), self.made.end());
        let far = [1 << 40, (1 << 56) - cluster, 1 << 56, 1 << 63, u64::MAX - cluster + 1, u64::MAX];
        let places = [&[8, 512 + cluster, end - end % cluster + cluster][..], &far].concat();
        self.field("l1_table_offset", 40, 8, &places);
        self.field("refcount_table_offset", 48, 8, &places);
        let few = [0, 1, 65536, 65537, MAX_32];
        for count in few {
            for at in [8, end - end % cluster + cluster, 1 << 40, u64::MAX] {
                self.add(format!("snapshots {count} {at:#x}"), &[(60, 4, count), (64, 8, at)]);
            }
        }
    }

    fn numbers(&mut self) {
        let cluster = self.made.cluster();
        self.field("magic", 0, 4, &[0, 0x5146_49fa]);
        self.field("version", 4, 4, &[0, 1, 4, MAX_32]);
        // An image whose clusters have another size than they had is a mess that each judges as it likes,
        // where it opens.
        let bits: Vec<u64> = [8, 0, 1, 63, 64, MAX_32].into_iter().chain(22..33).collect();
        self.field("cluster_bits", 20, 4, &bits);
        let large = [1 << 40, i64::MAX as u64 - 511, i64::MAX as u64, 1 << 63, u64::MAX];
        self.field("size", 24, 8, &[&[0, 1, 511, 513, 1000, (1 << 20) + 1][..], &large].concat());
        self.field("crypt", 32, 4, &[1, 2, 3, MAX_32]);
        self.field("l1_size", 36, 4, &[0, 1, 2, (4 << 20) + 1, 1 << 28, 1 << 29, MAX_32]);
        let most = (8 << 20) / cluster;
        self.field("refcount_table_clusters", 56, 4, &[most + 1, 1 << 20, MAX_32]);
    }

    fn backing(&mut self) {
        let cluster = self.made.cluster();
        self.field(
            "backing_file_offset",
            8,
            8,
            &[1, 0x78, cluster - 8, cluster, cluster + 1, 1 << 62, u64::MAX],
        );
        self.field("backing_file_size", 16, 4, &[1, 1023, 1024, MAX_32]);
        for at in [8, 72, 0x78, cluster - 8, cluster - 1] {
            for length in [9, 1024, MAX_32] {
                self.add(format!("backing {at:#x} {length}"), &[(8, 8, at), (16, 4, length)]);
            }
        }
    }

    fn version_3(&mut self) {
        let cluster = self.made.cluster();
        self.field("incompatible", 72, 8, &[1, 2, 3, 4, 8, 32, 64, 1 << 31, 1 << 32, 1 << 63, u64::MAX]);
        self.field("compatible", 80, 8, &[1, 2, 1 << 63, u64::MAX]);
        self.field("autoclear", 88, 8, &[1, 2, 3, 4, 1 << 63, u64::MAX]);
        self.field("refcount_order", 96, 4, &[7, 8, 63, MAX_32]);
        let lengths =
            [0, 71, 72, 103, 104, 105, 108, 112, 120, 128, cluster - 8, cluster, cluster + 8, MAX_32];
        self.field("header_length", 100, 4, &lengths);
        for kind in [0, 1, 2, 255] {
            self.add(format!("compression {kind}"), &[(104, 1, kind)]);
            self.add(format!("compression {kind}, bit"), &[(104, 1, kind), (72, 8, 8)]);
        }
        for (count, bytes, at) in [
            (0, 0, 0),
            (1, 24, cluster),
            (65536, 24, cluster),
            (1, u64::MAX, cluster),
            (1, 24, 8),
            (1, 0, cluster),
        ] {
            let extension =
                [(112, 4, 0x2385_2875), (116, 4, 24), (120, 4, count), (128, 8, bytes), (136, 8, at)];
            let rest = [(144, 8, 0), (88, 8, 1)];
            self.add(format!("bitmaps {count} {bytes:#x} {at:#x}"), &[&extension[..], &rest].concat());
        }
    }

    fn extensions(&mut self) {
        let start = if self.made.get(4, 4) >= 3 { self.made.get(100, 4) } else { 72 };
        let room = self.made.cluster() - start - 8;
        for kind in [0, 1, 0xe279_2aca, 0x6803_f857, 0x0537_be77, 0x4441_5441, 0xdead_beef] {
            for length in [0, 1, 7, 15, 16, 48, room, room + 1, MAX_32, MAX_32 - 7] {
                let what = format!("extension {kind:#x} {length:#x}");
                self.add(what, &[(start, 4, kind), (start + 4, 4, length)]);
            }
        }
    }

    fn cut(&mut self) {
        let cluster = self.made.cluster();
        for length in [0, 4, 8, 71, 72, 103, 104, 105, 112, 511, 512, cluster] {
            let mut image = self.made.clone();
            image.0.truncate(length as usize);
            self.list.push((format!("cut {length}"), image));
        }
    }
}
