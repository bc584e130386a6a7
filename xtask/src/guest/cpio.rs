//! The archive that a kernel unpacks into its first file system: cpio in the "newc" form, as the kernel's
//! documentation of the initramfs buffer format has it.
//!
//! ```text
//! entry   magic "070701", 13 numbers of 8 hexadecimal digits, name and NUL, padding to 4 bytes, data, padding
//! end     an entry with the name "TRAILER!!!"
//! ```

/// An archive that is made in memory, so that it may hold devices without anyone being allowed to make some.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const DEVICE: u32 = 0o020_600;

impl Archive {
    pub(super) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, &[], [0, 0]);
    }

    /// A file that everyone may run.
    pub(super) fn file(&mut self, name: &str, data: &[u8]) {
        self.entry(name, PROGRAM, data, [0, 0]);
    }

    pub(super) fn link(&mut self, name: &str, to: &str) {
        self.entry(name, LINK, to.as_bytes(), [0, 0]);
    }

    /// A character device.
    pub(super) fn device(&mut self, name: &str, number: [u32; 2]) {
        self.entry(name, DEVICE, &[], number);
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], [0, 0]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8], device: [u32; 2]) {
        self.entries += 1;
        let name_bytes = name.len() as u32 + 1;
        let [major, minor] = device;
        // Inode, mode, owner, group, links, time, bytes, device, device of a special file, name, checksum.
        let numbers = [self.entries, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, major, minor, name_bytes, 0];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_begin_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.folder("dev");
        archive.file("init", b"five!");
        archive.link("sh", "init");
        archive.device("dev/console", [5, 1]);
        let bytes = archive.end();
        let text = String::from_utf8(bytes).unwrap();
        let starts: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 5);
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        let field = |entry: usize, number: usize| &text[starts[entry] + 6 + 8 * number..][..8];
        assert_eq!((field(1, 1), field(1, 6), field(1, 11)), ("000081ed", "00000005", "00000005"));
        assert_eq!((field(3, 1), field(3, 9), field(3, 10)), ("00002180", "00000005", "00000001"));
        assert!(text[starts[1]..].contains("init\0\0five!\0\0\0\x3070701"));
    }
}
