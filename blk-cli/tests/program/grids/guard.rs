//! A disk whose format was guessed as raw: no request of a guest makes an image of another format of it.

use std::fs;
use std::sync::Mutex;

use blk_core::format_of_start;

use super::headers::{HEADERS, Header};
use super::tools::{Tools, compare};
use crate::qemu;

const LENGTH: usize = 64 << 10;

/// A format that is attacked with, besides those that we do not know: the one that names other files of the
/// host.
const QCOW2: Header = Header { format: "qcow2", parts: &[(0, b"QFI\xfb\0\0\0\x03")] };
const QCOW2_LATER: Header = Header { format: "qcow2", parts: &[(0, b"QFI\xfb\x01\0\0\0")] };

/// How the last byte that is missing comes into the first sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The whole sector is written.
    Sector,
    /// More than it.
    Sectors,
    Vectored,
    InBackground,
    /// A byte of data.
    Byte,
    /// The header's first half, then its second.
    Halves,
    /// The second half, then the first.
    HalvesBackwards,
    /// A zero byte, by a request to zero.
    ZeroByte,
    ZeroByteUnmapped,
    /// All from that byte on.
    ZeroRest,
    DiscardByte,
    DiscardRest,
    /// The disk ends before the byte, which reads as zero then.
    Truncate,
    /// And becomes larger again.
    TruncateTwice,
}

const WAYS: &[Way] = &[
    Way::Sector,
    Way::Sectors,
    Way::Vectored,
    Way::InBackground,
    Way::Byte,
    Way::Halves,
    Way::HalvesBackwards,
    Way::ZeroByte,
    Way::ZeroByteUnmapped,
    Way::ZeroRest,
    Way::DiscardByte,
    Way::DiscardRest,
    Way::Truncate,
    Way::TruncateTwice,
];

#[derive(Debug, Clone, Copy)]
struct Cell {
    header: Header,
    /// The byte that is missing.
    at: usize,
    way: Way,
    /// Whether the guest writes through a format that does not know of the header: `blkdebug` with an empty
    /// list of rules.
    debug: bool,
}

impl Cell {
    /// Whether the requests leave the whole header.
    fn makes_it_whole(&self) -> bool {
        let sector = self.header.sector();
        let rest_is_zero = self.header.places().filter(|at| *at >= self.at).all(|at| sector[at] == 0);
        match self.way {
            Way::ZeroByte | Way::ZeroByteUnmapped | Way::DiscardByte => sector[self.at] == 0,
            Way::ZeroRest | Way::DiscardRest | Way::Truncate | Way::TruncateTwice => rest_is_zero,
            _ => true,
        }
    }

    /// The header without the byte.
    fn broken(&self) -> Vec<u8> {
        let mut image = self.header.sector().to_vec();
        // Of a version, any other is one as well, but none is not.
        image[self.at] = if image[self.at] == 0 { 0x55 } else { 0 };
        image.resize(LENGTH, 0);
        image
    }

    /// The disk before the requests.
    fn before(&self) -> Vec<u8> {
        match self.way {
            Way::Halves | Way::HalvesBackwards => vec![0; LENGTH],
            _ => self.broken(),
        }
    }

    fn commands(&self) -> Vec<String> {
        let (at, byte) = (self.at, self.header.sector()[self.at]);
        let half = self.header.places().count() / 2;
        let part = |from: usize, to: usize| {
            let byte = |at: usize| format!("write -P {} {at} 1", self.header.sector()[at]);
            (from..to).map(byte).collect::<Vec<_>>()
        };
        let end = self.header.places().last().unwrap() + 1;
        let one = |command: String| vec![command];
        match self.way {
            Way::Sector => one("write -s whole 0 512".to_owned()),
            Way::Sectors => one("write -s whole 0 4k".to_owned()),
            // Vectors have one pattern: the sector is right but for what the pattern covers.
            Way::Vectored => one(format!("writev -P {byte} {at} 1")),
            Way::InBackground => one(format!("aio_write -P {byte} {at} 1")),
            Way::Byte => one(format!("write -P {byte} {at} 1")),
            Way::Halves => [part(0, half), part(half, end)].concat(),
            Way::HalvesBackwards => [part(half, end), part(0, half)].concat(),
            Way::ZeroByte => one(format!("write -z {at} 1")),
            Way::ZeroByteUnmapped => one(format!("write -z -u {at} 1")),
            Way::ZeroRest => one(format!("write -z {at} {}", 4096 - at)),
            Way::DiscardByte => one(format!("discard {at} 1")),
            Way::DiscardRest => one(format!("discard {at} {}", 4096 - at)),
            Way::Truncate => one(format!("truncate {at}")),
            Way::TruncateTwice => vec![format!("truncate {at}"), "truncate 64k".to_owned()],
        }
    }
}

/// Makes the requests; how many of them are refused as not permitted, and what the image is taken for
/// afterwards.
fn attack(tools: &Tools, cell: &Cell) -> (usize, Option<&'static str>) {
    fs::write(tools.path("image"), cell.before()).unwrap();
    fs::write(tools.path("whole"), [&cell.header.sector()[..], &[0; 4096 - 512]].concat()).unwrap();
    let commands = [cell.commands(), vec!["aio_flush".to_owned()]].concat();
    let mut arguments = vec!["-d", "unmap"];
    arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
    arguments.push(if cell.debug { "blkdebug::image" } else { "image" });
    let output = tools.run("qemu-io", &arguments);
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let refused = String::from_utf8_lossy(&text).matches("Operation not permitted").count();
    let image = fs::read(tools.path("image")).unwrap();
    // The grid of formats shows that QEMU finds the same.
    (refused, format_of_start(&[&image[..], &[0; 512]].concat()))
}

/// The first byte, the last, and the last of those that are zero, if there is one.
fn places(header: &Header) -> Vec<usize> {
    let zero = header.places().filter(|at| header.sector()[*at] == 0).last();
    let mut places: Vec<usize> =
        [header.places().next(), header.places().last(), zero].into_iter().flatten().collect();
    places.sort_unstable();
    places.dedup();
    places
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for header in HEADERS.iter().copied().chain([QCOW2, QCOW2_LATER]) {
        for at in places(&header) {
            for way in WAYS.iter().copied() {
                let cell = Cell { header, at, way, debug: way == Way::Byte && at > 0 };
                if cell.makes_it_whole() && format_of_start(&cell.before()).is_none() {
                    cells.push(cell);
                }
            }
        }
    }
    cells
}

/// QEMU looks at neither discards nor sizes, and takes a vmdk image's text for one by its version alone.
fn qemu_differs(cell: &Cell) -> bool {
    match cell.way {
        Way::DiscardByte | Way::DiscardRest | Way::Truncate | Way::TruncateTwice => true,
        Way::Halves => cell.header.sector().starts_with(b"# Disk DescriptorFile"),
        _ => false,
    }
}

#[test]
fn no_request_makes_another_format_of_a_guessed_raw_disk() {
    if !qemu::available() {
        return;
    }
    let broken = Mutex::new(Vec::new());
    let ask = |tools: &Tools, cell: &Cell| {
        let (refused, format) = attack(tools, cell);
        if tools.are_ours() && (format.is_some() || refused == 0) {
            broken.lock().unwrap().push(format!("{cell:?}: {refused:?}, then {format:?}"));
        }
        (refused, format)
    };
    compare(cells(), |_| (), ask, qemu_differs);
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{} cells:\n{}", broken.len(), broken.join("\n"));
}
