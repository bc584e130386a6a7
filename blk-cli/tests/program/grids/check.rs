//! Damage of every kind, checked and repaired: the same lines in the same order, the same summary, the same
//! exit code.

use std::fmt;
use std::fs;
use std::process::Command;

use super::images::{Bytes, COMPRESSED, COPIED};
use super::tools::{Tools, compare};
use crate::qemu;

/// Arguments of a check.
const MODES: [&[&str]; 6] = [
    &[],
    &["-r", "leaks"],
    &["-r", "all"],
    &["--output=json"],
    &["-q", "-r", "all"],
    &["--output=json", "-r", "all"],
];

/// Without `BLK_GRID=all`, every other form is asked about so many kinds only.
const SAMPLED: usize = 5;

/// What we say more of, or do more about, without a repair: structures that no table may be are not read as
/// tables (`l1-unaligned`, `snapshot-l1-entry-unaligned`), an unaligned refcount block does not make us mark
/// the image (`table-unaligned`), a copied flag without a cluster is wrong (`l2-copied-alone`), and in
/// version 2 so is a cluster that reads as zeroes (`0.10 l2-zero-data`).
const SAYS_MORE: [&str; 7] = [
    "l1-unaligned",
    "l2-copied-alone",
    "snapshot-l1-entry-unaligned",
    "0.10 l2-zero-data",
    "snapshots-unaligned",
    "snapshot-extra-large",
    "l1-size-large",
];

/// Clusters that a broken table may refer to are not given back.
const KEEPS_MORE: [&str; 6] = [
    "l1-past",
    "snapshots-at-0",
    "snapshots-past",
    "snapshot-l1-past",
    "snapshot-l1-unaligned",
    "table-unaligned",
];

/// Kinds that we repair whole, and `qemu-img check -r all` in part or not at all, or only by making the file
/// longer.
const REPAIRS_MORE: [&str; 32] = [
    "l2-shifted",
    "l2-unaligned",
    "l2-past",
    "l2-far",
    "l2-reserved",
    "l2-on-l1",
    "l2-on-l2",
    "l2-on-refcount-table",
    "l2-zero-past",
    "compressed-copied",
    "compressed-past",
    "compressed-on-l1",
    "compressed-on-header",
    "l1-entry-past",
    "l1-entry-reserved",
    "l1-on-header",
    "l1-on-itself",
    "l1-on-data",
    "l1-on-block",
    "l1-compressed",
    "table-past",
    "table-reserved",
    "table-end",
    "table-second-past",
    "snapshot-entry-missing",
    "snapshot-l1-at-0",
    "snapshot-l1-active",
    "snapshot-extra-none",
    "snapshot-l1-entry-past",
    "snapshot-l1-entry-reserved",
    "snapshot-l2-unaligned",
    "truncated-cluster",
];

struct Cell {
    compat: &'static str,
    kind: &'static str,
    mode: &'static [&'static str],
    image: Vec<u8>,
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.compat, self.kind, self.mode)
    }
}

impl Cell {
    fn repairs(&self, what: &str) -> bool {
        self.mode.contains(&what)
    }

    /// Whether it is known to differ.
    fn is_known(&self) -> bool {
        let full = format!("{} {}", self.compat, self.kind);
        let is_in = |kinds: &[&str]| kinds.iter().any(|kind| *kind == self.kind || *kind == full);
        let is_told = !(full.starts_with("0.10") && self.repairs("leaks") && self.kind == "l2-zero-data");
        (is_in(&SAYS_MORE) && is_told)
            || (is_in(&KEEPS_MORE) && (self.repairs("leaks") || self.repairs("all")))
            || (is_in(&REPAIRS_MORE)
                && self.repairs("all")
                && !(self.kind == "l1-on-data" && self.repairs("-q")))
    }
}

#[test]
fn damage_is_told_and_repaired_alike() {
    if !qemu::available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let all = std::env::var("BLK_GRID").is_ok_and(|wanted| wanted == "all");
    let mut cells = Vec::new();
    for compat in ["1.1", "0.10"] {
        let made = Bytes::made_by_qemu(folder.path(), compat, 4096, true);
        for (number, (kind, image)) in damaged(&made, compat).into_iter().enumerate() {
            for (form, mode) in MODES.into_iter().enumerate() {
                if all || form < 3 && compat == "1.1" || (number + form).is_multiple_of(SAMPLED) {
                    cells.push(Cell { compat, kind, mode, image: image.0.clone() });
                }
            }
        }
    }
    eprintln!("{} cells", cells.len());
    compare(cells, |_| (), ask, Cell::is_known);
}

/// Exit code, standard output, and the lines of standard error; errors are worded as each program does.
fn ask(tools: &Tools, cell: &Cell) -> (Option<i32>, String, Vec<String>) {
    fs::write(tools.path("image"), &cell.image).unwrap();
    let output = tools.run("qemu-img", &[&["check", "-f", "qcow2"], cell.mode, &["image"]].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let masked = |line: &str| if line.starts_with("qemu-img:") { "qemu-img:" } else { line }.to_owned();
    let is_ours = tools.path("programs").exists();
    if is_ours && cell.repairs("all") && output.status.success() {
        let checked =
            Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(tools.path("image")).output();
        let checked = checked.unwrap();
        assert!(checked.status.success(), "{cell:?}: QEMU finds after our repair: {checked:?}");
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), printed, error.lines().map(masked).collect())
}

/// An image by each kind of damage.
fn damaged(made: &Bytes, compat: &str) -> Vec<(&'static str, Bytes)> {
    let mut list = Damages { made, list: Vec::new() };
    list.counts();
    list.l2_entries();
    list.compressed_entries();
    list.l1_entries();
    list.refcount_table();
    list.header(compat);
    list.snapshots();
    list.list
}

struct Damages<'a> {
    made: &'a Bytes,
    list: Vec<(&'static str, Bytes)>,
}

impl Damages<'_> {
    fn add(&mut self, kind: &'static str, puts: &[(u64, usize, u64)]) {
        self.add_resized(kind, 0, puts);
    }

    /// With so many bytes more.
    fn add_resized(&mut self, kind: &'static str, more: i64, puts: &[(u64, usize, u64)]) {
        let mut image = self.made.clone();
        for (at, width, value) in puts {
            image.put(*at, *width, *value);
        }
        let length = image.end().checked_add_signed(more).unwrap();
        image.0.resize(length as usize, 0);
        self.list.push((kind, image));
    }

    fn counts(&mut self) {
        let m = self.made;
        let cluster = m.cluster().cast_signed();
        let of = |host_offset| m.refcount_of(host_offset);
        let (data, end) = (m.data(), m.end());
        self.add("clean", &[]);
        self.add_resized("longer", 10 * cluster, &[]);
        self.add_resized("shorter-by-a-byte", -1, &[]);
        self.add("count-0", &[(of(data), 2, 0)]);
        self.add("count-2", &[(of(data), 2, 2)]);
        self.add("count-65535", &[(of(data), 2, 65535)]);
        for (kind, at) in
            [("header-0", 0), ("l1-0", m.l1()), ("l2-0", m.l2()), ("block-0", m.refcount_block())]
        {
            self.add(kind, &[(of(at), 2, 0)]);
        }
        for (kind, at) in [("header-2", 0), ("l1-2", m.l1()), ("l2-2", m.l2())] {
            self.add(kind, &[(of(at), 2, 2)]);
        }
        self.add("leak-past-the-end", &[(of(end), 2, 1)]);
        let leaks = [(of(end), 2, 1), (of(end) + 2, 2, 1)];
        self.add_resized("leaks", 2 * cluster, &leaks);
        self.add_resized("leaks-and-count-0", 2 * cluster, &[&leaks[..], &[(of(data), 2, 0)]].concat());
        let shared = m.target(m.l2() + 8);
        self.add("shared-counted-once", &[(of(shared), 2, 1)]);
    }

    fn l2_entries(&mut self) {
        let m = self.made;
        let (l2, cluster, end) = (m.l2(), m.cluster(), m.end());
        let first = m.get(l2, 8);
        let kinds = [
            ("l2-cleared", 0, 0),
            ("l2-shifted", 0, first + cluster),
            ("l2-unaligned", 0, first | 0x200),
            ("l2-past", 0, COPIED | (end + 16 * cluster)),
            ("l2-far", 0, COPIED | 1 << 50),
            ("l2-twice", 1, first),
            ("l2-copied-off", 0, first & !COPIED),
            ("l2-copied-alone", 0, COPIED),
            ("l2-reserved", 0, first | 1 << 57),
            ("l2-on-l1", 0, COPIED | m.l1()),
            ("l2-on-l2", 0, COPIED | l2),
            ("l2-on-block", 0, COPIED | m.refcount_block()),
            ("l2-on-refcount-table", 0, COPIED | m.refcount_table()),
            ("l2-zero", 7, 1),
            ("l2-zero-data", 0, first | 1),
            ("l2-zero-copied", 7, COPIED | 1),
            ("l2-zero-past", 7, (end + 16 * cluster) | 1),
            ("l2-copied-shared", 1, m.get(l2 + 8, 8) | COPIED),
        ];
        for (kind, index, entry) in kinds {
            // Version 2 has no zero clusters; what becomes of one that is there anyhow is tried once.
            if m.get(4, 4) >= 3 || !kind.starts_with("l2-zero") || kind == "l2-zero-data" {
                self.add(kind, &[(l2 + 8 * index, 8, entry)]);
            }
        }
    }

    fn compressed_entries(&mut self) {
        let m = self.made;
        let (at, cluster, end) = (m.l2() + 24, m.cluster(), m.end());
        let entry = m.get(at, 8);
        for (kind, entry) in [
            ("compressed-cleared", 0),
            ("compressed-copied", entry | COPIED),
            ("compressed-past", COMPRESSED | (end + 8 * cluster)),
            ("compressed-over-the-end", COMPRESSED | (end - 100) | 7 << 58),
            ("compressed-on-l1", COMPRESSED | m.l1()),
            ("compressed-on-header", COMPRESSED),
            ("compressed-longer", entry | 15 << 58),
        ] {
            self.add(kind, &[(at, 8, entry)]);
        }
    }

    fn l1_entries(&mut self) {
        let m = self.made;
        let (l1, cluster, end) = (m.l1(), m.cluster(), m.end());
        let first = m.get(l1, 8);
        for (kind, index, entry) in [
            ("l1-cleared", 0, 0),
            ("l1-copied-off", 0, first & !COPIED),
            ("l1-unaligned", 0, first | 0x200),
            ("l1-entry-past", 0, COPIED | (end + 16 * cluster)),
            ("l1-entry-reserved", 0, first | 1 << 57),
            ("l1-compressed", 0, first | COMPRESSED),
            ("l1-twice", 1, first),
            ("l1-on-header", 0, COPIED),
            ("l1-on-itself", 0, COPIED | l1),
            ("l1-on-data", 0, COPIED | m.data()),
            ("l1-on-block", 0, COPIED | m.refcount_block()),
        ] {
            self.add(kind, &[(l1 + 8 * index, 8, entry)]);
        }
        self.add("l1-past", &[(40, 8, end + 16 * cluster)]);
        self.add("l1-size-large", &[(36, 4, 100_000)]);
        self.add_resized("truncated-cluster", -cluster.cast_signed(), &[]);
    }

    fn refcount_table(&mut self) {
        let m = self.made;
        let (table, block, cluster, end) = (m.refcount_table(), m.refcount_block(), m.cluster(), m.end());
        for (kind, index, entry) in [
            ("table-cleared", 0, 0),
            ("table-unaligned", 0, block | 0x200),
            ("table-past", 0, end + 16 * cluster),
            ("table-twice", 1, block),
            ("table-low-bits", 0, 0x100),
            ("table-reserved", 0, block | 1),
            ("table-on-l1", 0, m.l1()),
            ("table-on-data", 0, m.data()),
            ("table-on-itself", 0, table),
            ("table-second-unaligned", 3, 0x1200),
            ("table-second-past", 3, end + 16 * cluster),
            ("table-second-on-data", 1, m.data()),
            ("table-end", 1, end),
        ] {
            self.add(kind, &[(table + 8 * index, 8, entry)]);
        }
        self.add("table-of-no-clusters", &[(56, 4, 0)]);
    }

    fn header(&mut self, compat: &str) {
        if compat == "0.10" {
            return;
        }
        let count = self.made.refcount_of(self.made.data());
        for (kind, bits) in [("dirty", 1), ("corrupt", 2), ("dirty-and-corrupt", 3)] {
            self.add(kind, &[(72, 8, bits)]);
        }
        self.add("dirty-count-0", &[(72, 8, 1), (count, 2, 0)]);
        self.add("corrupt-count-2", &[(72, 8, 2), (count, 2, 2)]);
    }

    fn snapshots(&mut self) {
        let m = self.made;
        let (cluster, end, table) = (m.cluster(), m.end(), m.get(64, 8));
        let l1 = m.get(table, 8);
        let (entry, l2) = (m.get(l1, 8), m.target(l1));
        for (kind, at, width, value) in [
            ("snapshots-at-0", 64, 8, 0),
            ("snapshots-past", 64, 8, end + 16 * cluster),
            ("snapshots-unaligned", 64, 8, table + 8),
            ("snapshots-none", 60, 4, 0),
            ("snapshot-entry-missing", 60, 4, 2),
            ("snapshot-l1-past", table, 8, end + 16 * cluster),
            ("snapshot-l1-unaligned", table, 8, l1 + 512),
            ("snapshot-l1-at-0", table, 8, 0),
            ("snapshot-l1-active", table, 8, m.l1()),
            ("snapshot-l1-of-none", table + 8, 4, 0),
            ("snapshot-l1-of-one", table + 8, 4, 1),
            ("snapshot-extra-none", table + 36, 4, 0),
            ("snapshot-extra-large", table + 36, 4, 2000),
            ("snapshot-l1-entry-cleared", l1, 8, 0),
            ("snapshot-l1-entry-unaligned", l1, 8, entry | 0x200),
            ("snapshot-l1-entry-past", l1, 8, end + 16 * cluster),
            ("snapshot-l1-entry-reserved", l1, 8, entry | 1 << 57),
            ("snapshot-l2-cleared", l2, 8, 0),
            ("snapshot-l2-unaligned", l2, 8, m.get(l2, 8) | 0x200),
            ("snapshot-l2-copied", l2, 8, m.get(l2, 8) | COPIED),
            ("snapshot-l1-count-0", m.refcount_of(l1), 2, 0),
            ("snapshot-table-count-0", m.refcount_of(table), 2, 0),
        ] {
            let is_incomplete = kind == "snapshot-entry-missing" || kind == "snapshot-extra-none";
            // Only version 3 asks for more than the entry itself.
            if m.get(4, 4) >= 3 || !is_incomplete {
                self.add(kind, &[(at, width, value)]);
            }
        }
    }
}
