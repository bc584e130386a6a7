//! Every field of the tables of a qcow2 image that the specification restricts: L1 and L2 entries, compressed
//! descriptors, refcount table entries, the snapshot table, header extensions. What it forbids is refused, at
//! the open or where it is used first, and never acted on; all else is taken. What QEMU's tools refuse is
//! refused too.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use blk_core::{
    Access, DenyResolver, Disk, Error, ErrorKind, MemoryStorage, Options, RepairMode, Result, Storage,
    WriteFlags,
};
use blk_testbed::hostile::templates;

const CLUSTER: u64 = 4096;
const COPIED: u64 = 1 << 63;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// How a value comes into use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The disk is read where the entry maps it.
    Read,
    /// A cluster is allocated.
    Allocate,
    /// The image is opened for writing.
    OpenToWrite,
    /// The image is checked: nothing else looks at it.
    Check,
}

/// One cell: bytes at an offset of the image, and whether that is allowed.
struct Cell {
    field: &'static str,
    at: usize,
    width: usize,
    value: u64,
    is_legal: bool,
    by: Use,
    /// QEMU's tools say the same; where they do not, ours are stricter or the difference is documented.
    asks_qemu: bool,
}

fn image() -> &'static [u8] {
    let shared = |name: &str| name.contains("clusters of 4096, 16-bit") && name.ends_with("and a bitmap");
    &templates().iter().find(|template| shared(&template.name)).expect("there is one with a snapshot").image
}

fn number(image: &[u8], at: usize, width: usize) -> u64 {
    image[at..at + width].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

struct Grid<'a> {
    image: &'a [u8],
    cells: Vec<Cell>,
}

impl Grid<'_> {
    fn add(&mut self, field: &'static str, (at, width): (usize, usize), by: Use, values: &[(u64, bool)]) {
        for (value, is_legal) in values {
            let cell = Cell { field, at, width, value: *value, is_legal: *is_legal, by, asks_qemu: true };
            self.cells.push(cell);
        }
    }

    fn field(&self, at: usize) -> usize {
        number(self.image, at, 8) as usize
    }

    /// Entries that point to a cluster: each reserved bit, each offset bit inside a cluster, and what is past
    /// the end of the file.
    fn pointers(&mut self) {
        let l1 = self.field(40);
        let l1_entry = number(self.image, l1, 8);
        let l2 = (l1_entry & OFFSET) as usize;
        let table = self.field(48);
        for (field, at, by, reserved) in [
            ("L1 entry", l1, Use::Read, (0..=8).chain(56..=62)),
            ("L2 entry", l2, Use::Read, (1..=8).chain(56..=61)),
            ("refcount table entry", table, Use::Allocate, (0..=8).chain(56..=63)),
        ] {
            let entry = number(self.image, at, 8);
            self.add(field, (at, 8), by, &[(entry, true)]);
            let forbidden: Vec<_> = reserved.chain(9..12).map(|bit| (entry ^ 1 << bit, false)).collect();
            self.add(field, (at, 8), by, &forbidden);
            let past = (self.image.len() as u64).next_multiple_of(CLUSTER) + 64 * CLUSTER;
            self.add(field, (at, 8), by, &[((entry & COPIED) | past, false)]);
        }
        self.add("L1 entry", (l1, 8), Use::Read, &[(0, true), (l1_entry ^ COPIED, true)]);
        let entry = number(self.image, l2, 8);
        self.add("L2 entry", (l2, 8), Use::Read, &[(0, true), (1, true), (entry | 1, true)]);
        // A compressed cluster may begin anywhere in the file.
        let descriptor = 1 << 62 | (self.image.len() as u64 + 64 * CLUSTER);
        self.add(
            "compressed descriptor",
            (l2, 8),
            Use::Read,
            &[(descriptor, false), (1 << 62 | 0x4d, false)],
        );
    }

    fn snapshots(&mut self) {
        let entry = self.field(64);
        let by = Use::OpenToWrite;
        let extra = number(self.image, entry + 36, 4);
        self.add(
            "extra_data_size",
            (entry + 36, 4),
            by,
            &[(extra, true), (1025, false), (u32::MAX.into(), false)],
        );
        let (offset, size) = (number(self.image, entry, 8), number(self.image, entry + 8, 4));
        let by = Use::Check;
        let values = [(offset, true), (offset + 512, false), (offset ^ 1 << 56, false), (offset + 1, false)];
        self.add("snapshot's l1_table_offset", (entry, 8), by, &values);
        let values = [(size, true), ((4 << 20) + 1, false), (u32::MAX.into(), false)];
        self.add("snapshot's l1_size", (entry + 8, 4), by, &values);
        let values = [(1, true), (65_537, false), (u32::MAX.into(), false)];
        self.add("nb_snapshots", (60, 4), Use::OpenToWrite, &values);
        let offset = number(self.image, 64, 8);
        let values = [(offset, true), (offset + 8, false), (offset + 512, false), (1 << 63, false)];
        self.add("snapshots_offset", (64, 8), Use::OpenToWrite, &values);
    }

    /// The bitmaps extension lies first or later among the extensions; the area ends with the cluster.
    fn extensions(&mut self) {
        let mut at = number(self.image, 100, 4) as usize;
        while number(self.image, at, 4) != 0x2385_2875 {
            at += 8 + (number(self.image, at + 4, 4) as usize).next_multiple_of(8);
        }
        let by = Use::Read;
        let values = [(24, true), (0, false), (16, false), (23, false), (25, false), (4096, false)];
        self.add("length of the bitmaps extension", (at + 4, 4), by, &values);
        // Of no known type it may have any length that fits, and hold anything.
        self.add("extension type", (at, 4), by, &[(0x1234_5678, true), (0, true), (0x4441_5441, true)]);
        self.add("extension type", (at, 4), by, &[(0x0537_be77, false), (0xe279_2aca, false)]);
        let offset = number(self.image, at + 24, 8);
        let values = [(offset, true), (offset + 512, false), (1 << 62, false), (!511, false)];
        self.add("bitmap_directory_offset", (at + 24, 8), Use::Check, &values);
        let values = [(1, true), (65_536, false), (u32::MAX.into(), false), (3, false)];
        self.add("nb_bitmaps", (at + 8, 4), Use::Check, &values);
        for cell in &mut self.cells {
            cell.asks_qemu &= !cell.field.contains("bitmap") && cell.field != "extension type";
        }
    }
}

fn open(image: &[u8], access: Access) -> Result<Disk> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(image));
    blk_qcow2::FORMAT.open(storage, access, Options::new().with("backing", "off"), &DenyResolver)
}

/// Puts a value to its use.
fn use_it(image: &[u8], by: Use) -> Result<()> {
    match by {
        Use::Read => open(image, Access::ReadOnly)?.read(0, &mut vec![0; CLUSTER as usize]),
        Use::OpenToWrite => open(image, Access::ReadWrite).map(drop),
        Use::Allocate => {
            let disk = open(image, Access::ReadWrite)?;
            let unallocated = 8 * CLUSTER;
            disk.write(unallocated, &[7; 512], WriteFlags::default())?;
            disk.close()
        }
        Use::Check => {
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(image));
            let report = blk_qcow2::FORMAT.check(&storage, RepairMode::None)?.expect("there is a check");
            let is_fine = report.corruptions == 0 && report.check_errors == 0;
            if is_fine { Ok(()) } else { Err(Error::corrupt("image", 0, report.to_string())) }
        }
    }
}

/// Whether QEMU's tools refuse the same; `None` where they are not installed.
fn qemu_refuses(image: &[u8], by: Use) -> Option<bool> {
    let mut file = tempfile::NamedTempFile::new().ok()?;
    file.write_all(image).ok()?;
    let read = "read 0 4k";
    let run = |program: &str, arguments: &[&str]| {
        Command::new(program).args(["-f", "qcow2"].iter().chain(arguments)).arg(file.path()).output().ok()
    };
    let output = match by {
        Use::Read => run("qemu-io", &["-r", "-c", read]),
        Use::OpenToWrite => run("qemu-io", &["-c", "flush"]),
        Use::Allocate => run("qemu-io", &["-c", "write 32k 512"]),
        Use::Check => {
            let arguments = ["check", "-q", "-f", "qcow2"];
            Command::new("qemu-img").args(arguments).arg(file.path()).output().ok()
        }
    }?;
    // qemu-img's 3 says that clusters have leaked, which is no error.
    Some(!matches!(output.status.code(), Some(0 | 3)))
}

#[test]
fn what_the_specification_forbids_in_tables_is_refused_where_it_is_used() {
    let mut grid = Grid { image: image(), cells: Vec::new() };
    grid.pointers();
    grid.snapshots();
    grid.extensions();
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for cell in &grid.cells {
        let mut image = grid.image.to_vec();
        image[cell.at..cell.at + cell.width].copy_from_slice(&cell.value.to_be_bytes()[8 - cell.width..]);
        let used = use_it(&image, cell.by);
        let what = format!("{} = {:#x} ({:?})", cell.field, cell.value, cell.by);
        match &used {
            Ok(()) if !cell.is_legal => wrong.push(format!("{what} is taken")),
            Err(error) if cell.is_legal => wrong.push(format!("{what} is legal: {error}")),
            Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned) => {
                wrong.push(format!("{what}: {error}"));
            }
            _ => {}
        }
        let refuses = if cell.asks_qemu { qemu_refuses(&image, cell.by) } else { None };
        asked += u64::from(refuses.is_some());
        if refuses == Some(true) && used.is_ok() {
            wrong.push(format!("{what} is taken, and QEMU refuses it"));
        }
    }
    println!("{} cells, {asked} of them given to QEMU too", grid.cells.len());
    assert!(grid.cells.len() >= 100, "{}", grid.cells.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), grid.cells.len(), wrong.join("\n"));
}
