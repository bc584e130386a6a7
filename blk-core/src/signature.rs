//! How images of formats begin: so that an image of a format that nobody here opens is not taken for a raw
//! one.
//!
//! Each format's magic number, and what else of its header QEMU looks at when it finds out a format. What
//! begins otherwise may still be an image of the format; what begins so is taken for one by somebody.

use std::ops::Range;

use crate::Probe;

/// What a probe looks at: the first sector. Bytes.
pub const PROBED_BYTES: usize = 512;

/// Bytes that have to be at an offset.
type Part = (usize, &'static [u8]);

/// Formats, and what has to be where. Several lines of one format are alternatives.
static SIGNATURES: &[(&str, &[Part])] = &[
    ("vmdk", &[(0, b"KDMV")]),
    // Of VMware ESX, version 3 and before.
    ("vmdk", &[(0, b"COWD")]),
    ("vdi", &[(64, &[0x7f, 0x10, 0xda, 0xbe])]),
    ("vhdx", &[(0, b"vhdxfile")]),
    // What grows; an image of fixed size has this at its end alone.
    ("vpc", &[(0, b"conectix")]),
    ("qcow", &[(0, b"QFI\xfb\0\0\0\x01")]),
    ("qed", &[(0, b"QED\0")]),
    ("parallels", &[(0, b"WithoutFreeSpace\x02\0\0\0")]),
    ("parallels", &[(0, b"WithouFreSpacExt\x02\0\0\0")]),
    // Of version 1. A disk that holds version 2 is one whose bytes a guest decrypts.
    ("luks", &[(0, b"LUKS\xba\xbe\0\x01")]),
    (
        "cloop",
        &[(0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n")],
    ),
    ("bochs", &[BOCHS, (32, b"Redolog"), (48, b"Growing"), (64, &[0, 0, 1, 0])]),
    ("bochs", &[BOCHS, (32, b"Redolog"), (48, b"Growing"), (64, &[0, 0, 2, 0])]),
];

const BOCHS: Part = (0, b"Bochs Virtual HD Image");
/// The first line of a text that names the files of a vmdk image.
const VMDK_DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";

/// The format that `start`, an image's first sector, says it is; `None` where it is no known format's. Of
/// images whose format is qcow2, or any other that a [`crate::Registry`] has, it says so too.
pub fn format_of_start(start: &[u8]) -> Option<&'static str> {
    let start = &start[..start.len().min(PROBED_BYTES)];
    let has = |(offset, bytes): &Part| start.get(*offset..).is_some_and(|rest| rest.starts_with(bytes));
    let found = SIGNATURES.iter().find(|(_, parts)| parts.iter().all(has)).map(|(name, _)| *name);
    found
        .or_else(|| is_qcow2(start).then_some("qcow2"))
        .or_else(|| is_vmdk_descriptor(start).then_some("vmdk"))
}

/// The format that an image says it is, at its start or, where a format has its header there, at its end.
pub fn format_of(probe: &Probe<'_>) -> Option<&'static str> {
    format_of_start(probe.start).or_else(|| format_of_end(probe.end))
}

/// The format that `end`, the last sector of a file, says the file has.
fn format_of_end(end: &[u8]) -> Option<&'static str> {
    if end.len() != PROBED_BYTES {
        return None;
    }
    // Its name, version 4, its own length.
    if end.starts_with(b"koly\0\0\0\x04\0\0\x02\0") {
        return Some("dmg");
    }
    is_fixed_vpc(end).then_some("vpc")
}

/// The footer of a vpc image of fixed size, with its checksum: bytes that a guest wrote by chance have none.
fn is_fixed_vpc(footer: &[u8]) -> bool {
    const TYPE: Range<usize> = 60..64;
    const CHECKSUM: Range<usize> = 64..68;
    const FIXED: u32 = 2;
    let field = |place: Range<usize>| {
        footer.get(place).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_be_bytes(*bytes))
    };
    let others = footer.iter().enumerate().filter(|(at, _)| !CHECKSUM.contains(at));
    let sum: u32 = others.map(|(_, byte)| u32::from(*byte)).sum();
    footer.starts_with(b"conectix") && field(TYPE) == Some(FIXED) && field(CHECKSUM) == Some(!sum)
}

/// Any version from 2 on, also one that nobody opens yet.
fn is_qcow2(start: &[u8]) -> bool {
    start
        .strip_prefix(b"QFI\xfb")
        .and_then(|rest| rest.first_chunk())
        .is_some_and(|version| u32::from_be_bytes(*version) >= 2)
}

/// A text that says its version behind comments and lines of blanks, or that says in its first line what it
/// is.
fn is_vmdk_descriptor(start: &[u8]) -> bool {
    let lines = start.split_inclusive(|byte| *byte == b'\n');
    let mut others = lines.skip_while(|line| line.starts_with(b"#") || is_blank(line));
    let version = others.next().and_then(|line| line.strip_prefix(b"version="));
    matches!(version, Some([b'1'..=b'3', b'\n'] | [b'1'..=b'3', b'\r', b'\n']))
        || start.get(..VMDK_DESCRIPTOR.len()).is_some_and(|first| first.eq_ignore_ascii_case(VMDK_DESCRIPTOR))
}

/// Whether a line is one or more blanks.
fn is_blank(line: &[u8]) -> bool {
    let Some(text) = line.strip_suffix(b"\n") else { return false };
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    !text.is_empty() && text.iter().all(|byte| *byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sector that has `parts`.
    fn sector(parts: &[Part]) -> [u8; PROBED_BYTES] {
        let mut sector = [0; PROBED_BYTES];
        for (offset, bytes) in parts {
            sector[*offset..*offset + bytes.len()].copy_from_slice(bytes);
        }
        sector
    }

    #[test]
    fn every_byte_of_a_signature_counts() {
        for (name, parts) in SIGNATURES {
            let whole = sector(parts);
            assert_eq!(format_of_start(&whole), Some(*name));
            for at in parts.iter().flat_map(|(offset, bytes)| *offset..offset + bytes.len()) {
                let mut broken = whole;
                broken[at] ^= 0x80;
                let found = format_of_start(&broken);
                // A version of the magic number QFI that does not exist is still taken for a later one.
                assert!(
                    found.is_none() || (*name == "qcow" && found == Some("qcow2")),
                    "{name} {at}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn qcow2_is_any_version_from_2_on() {
        for (version, name) in
            [(0, None), (1, Some("qcow")), (2, Some("qcow2")), (0x8000_0003, Some("qcow2"))]
        {
            let version = u32::to_be_bytes(version);
            let start = [b"QFI\xfb", &version[..]].concat();
            assert_eq!(format_of_start(&start), name);
        }
        assert_eq!(format_of_start(b"QFI\xfb\0\0\0"), None);
    }

    #[test]
    fn texts_that_describe_a_vmdk_image() {
        let vmdk: [&[u8]; 7] = [
            b"version=1\n",
            b"version=3\r\n",
            b"# x\nversion=2\n",
            b"#\r\n  \r\n \n#\nversion=1\n",
            b"# Disk DescriptorFile\n\nCID=1\n",
            b"# disk descriptorfile",
            b"version=1\nanything",
        ];
        for text in vmdk {
            assert_eq!(format_of_start(text), Some("vmdk"), "{}", text.escape_ascii());
        }
        let others: [&[u8]; 9] = [
            b"",
            b"#",
            b"   ",
            b"version=4\n",
            b"version=1",
            b"version=1x\n",
            b"\nversion=1\n",
            b" version=1\n",
            b"#\nfoo\nversion=1\n",
        ];
        for text in others {
            assert_eq!(format_of_start(text), None, "{}", text.escape_ascii());
        }
        for (length, name) in [(501, Some("vmdk")), (502, None)] {
            let text = [&vec![b'#'; length], &b"\nversion=1\n"[..]].concat();
            assert_eq!(format_of_start(&text), name, "only the first sector counts");
        }
    }

    fn format_of_end(end: &[u8]) -> Option<&'static str> {
        format_of(&Probe { start: &[], end, length: 1 << 20 })
    }

    #[test]
    fn a_dmg_image_says_so_at_its_end() {
        let mut end = [1; PROBED_BYTES];
        end[..12].copy_from_slice(b"koly\0\0\0\x04\0\0\x02\0");
        assert_eq!(format_of_end(&end), Some("dmg"));
        assert_eq!(format_of_end(&end[..511]), None);
        assert_eq!(format_of_end(&[]), None);
    }

    #[test]
    fn a_vpc_image_of_fixed_size_says_so_at_its_end_with_a_checksum() {
        let mut end = [0; PROBED_BYTES];
        end[..8].copy_from_slice(b"conectix");
        end[16..24].fill(0xff);
        end[63] = 2;
        let sum: u32 = end.iter().map(|byte| u32::from(*byte)).sum();
        end[64..68].copy_from_slice(&(!sum).to_be_bytes());
        assert_eq!(format_of_end(&end), Some("vpc"));
        for at in 0..PROBED_BYTES {
            let mut broken = end;
            broken[at] ^= 0x10;
            assert_eq!(format_of_end(&broken), None, "byte {at}");
        }
    }
}
