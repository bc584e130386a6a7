//! How images of formats begin that we do not open.

/// The first bytes of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    /// The format, as QEMU calls it.
    pub(crate) format: &'static str,
    /// Bytes at offsets; the rest is zero.
    pub(crate) parts: &'static [(usize, &'static [u8])],
}

const fn header(format: &'static str, parts: &'static [(usize, &'static [u8])]) -> Header {
    Header { format, parts }
}

pub(crate) const HEADERS: &[Header] = &[
    header("vmdk", &[(0, b"KDMV")]),
    header("vmdk", &[(0, b"COWD")]),
    header("vmdk", &[(0, b"# Disk DescriptorFile\nversion=1\n")]),
    header("vmdk", &[(0, b"# x\r\n  \r\nversion=3\r\n")]),
    header("vdi", &[(64, &[0x7f, 0x10, 0xda, 0xbe])]),
    header("vhdx", &[(0, b"vhdxfile")]),
    header("vpc", &[(0, b"conectix")]),
    header("qcow", &[(0, b"QFI\xfb\0\0\0\x01")]),
    header("qed", &[(0, b"QED\0")]),
    header("parallels", &[(0, b"WithoutFreeSpace\x02\0\0\0")]),
    header("parallels", &[(0, b"WithouFreSpacExt\x02\0\0\0")]),
    header(
        "cloop",
        &[(0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n")],
    ),
    header(
        "bochs",
        &[(0, b"Bochs Virtual HD Image"), (32, b"Redolog"), (48, b"Growing"), (64, &[0, 0, 1, 0])],
    ),
    header(
        "bochs",
        &[(0, b"Bochs Virtual HD Image"), (32, b"Redolog"), (48, b"Growing"), (64, &[0, 0, 2, 0])],
    ),
];

impl Header {
    /// The first sector.
    pub(crate) fn sector(&self) -> [u8; 512] {
        let mut sector = [0; 512];
        for (offset, bytes) in self.parts {
            sector[*offset..*offset + bytes.len()].copy_from_slice(bytes);
        }
        sector
    }

    /// The places of the bytes that are part of it.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().flat_map(|(offset, bytes)| *offset..*offset + bytes.len())
    }
}
