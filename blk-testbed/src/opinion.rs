//! What QEMU's tools say of an image, where they are installed: the driver under test, its check and its
//! repair share their code for the bytes on disk, and so their errors.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use blk_core::{Disk, Error, Extent, Result, Storage};

/// Larger disks, and longer images, are not written to files.
const BYTES_MAX: u64 = 256 << 20;
/// QEMU counts sectors.
const SECTOR_BYTES: u64 = 512;
const PIECE_BYTES: u64 = 1 << 20;
/// How a check ends that has found nothing but leaks.
const ONLY_LEAKS: i32 = 3;

/// An image for QEMU's tools.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OfQemu<'a> {
    /// What the backing file shows.
    pub(crate) below: Option<&'a Disk>,
    /// Bytes of the reference that the image's disk has, where these are not all.
    pub(crate) disk_bytes: Option<u64>,
    /// Leaks are right.
    pub(crate) has_leaks: bool,
    /// Of an encrypted image.
    pub(crate) passphrase: Option<&'a str>,
    /// Where the image lies on its host.
    pub(crate) image_at: u64,
    /// Its data file is at the start of its host.
    pub(crate) has_data_file: bool,
}

impl OfQemu<'_> {
    /// Has `qemu-img` check the image, and compare it with `reference`. Where the program is not installed,
    /// nothing is wrong.
    pub(crate) fn opinion(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        let folder = match self.written(storage, reference) {
            Ok(Some(folder)) => folder,
            Ok(None) => return Ok(()),
            Err(error) => return Err(format!("the files for qemu-img cannot be written: {error}")),
        };
        let path = |name: &str| folder.path().join(name);
        let backing = self.below.map_or("null".to_owned(), |_| node("raw", &path("below.raw"), ""));
        let key = self.passphrase.map_or("", |_| r#","encrypt.key-secret":"key""#);
        let data = if self.has_data_file {
            format!(r#","data-file":{{"driver":"file","filename":"{}"}}"#, path("data.raw").display())
        } else {
            String::new()
        };
        let image = node("qcow2", &path("test.qcow2"), &format!(r#","backing":{backing}{data}{key}"#));
        let fine = if self.has_leaks { ONLY_LEAKS } else { 0 };
        self.judge("check", fine, &[&format!("json:{image}")])?;
        if !self.compared_bytes(reference).is_multiple_of(SECTOR_BYTES) {
            return Ok(());
        }
        let expected = node("raw", &path("reference.raw"), "");
        self.judge("compare", 0, &[&format!("json:{expected}"), &format!("json:{image}")])
    }

    fn compared_bytes(&self, reference: &Disk) -> u64 {
        self.disk_bytes.unwrap_or(reference.size())
    }

    /// The files, in a folder of their own; `None` if they would be too large.
    fn written(&self, storage: &dyn Storage, reference: &Disk) -> Result<Option<tempfile::TempDir>> {
        let Self { below, image_at, has_data_file, .. } = *self;
        let length = storage.len()?.saturating_sub(image_at);
        if length.max(reference.size()) > BYTES_MAX {
            return Ok(None);
        }
        let failed = |error| Error::io("write the files for qemu-img", 0, error);
        let folder = tempfile::tempdir().map_err(failed)?;
        let create = |name: &str, length: u64| -> Result<File> {
            let file = File::create(folder.path().join(name)).map_err(failed)?;
            file.set_len(length).map_err(failed)?;
            Ok(file)
        };
        let image = create("test.qcow2", length)?;
        let mut at = 0;
        while let Some(run) = storage.run_at(image_at + at)? {
            if run.data {
                copy(Extent::new(at, run.length), &image, |at, buf| storage.read_at(image_at + at, buf))?;
            }
            at += run.length;
        }
        if has_data_file {
            let data = create("data.raw", reference.size())?;
            copy(Extent::new(0, reference.size()), &data, |at, buf| storage.read_at(at, buf))?;
        }
        let reference = ("reference.raw", reference, self.compared_bytes(reference));
        let below = below.map(|disk| ("below.raw", disk, disk.size()));
        for (name, disk, size) in [reference].into_iter().chain(below) {
            let file = create(name, size)?;
            copy(Extent::new(0, size), &file, |at, buf| disk.read(at, buf))?;
        }
        Ok(Some(folder))
    }

    /// Runs a command of `qemu-img`, which is to end with 0 or `fine`; an error is what it says.
    fn judge(&self, command: &str, fine: i32, images: &[&str]) -> std::result::Result<(), String> {
        let secret = self.passphrase.map(|passphrase| format!("secret,id=key,data={passphrase}"));
        let secret = secret.iter().flat_map(|secret| ["--object", secret]);
        let output = match Command::new("qemu-img").arg(command).args(secret).args(images).output() {
            Ok(output) => output,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(format!("qemu-img cannot be run: {error}")),
        };
        if output.status.code().is_some_and(|code| code == 0 || code == fine) {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Err(format!("qemu-img {command} is not content\n{said}"))
    }
}

fn node(driver: &str, path: &Path, more: &str) -> String {
    let file = format!(r#"{{"driver":"file","filename":"{}"}}"#, path.display());
    format!(r#"{{"driver":"{driver}","file":{file}{more}}}"#)
}

fn copy(extent: Extent, file: &File, read: impl Fn(u64, &mut [u8]) -> Result<()>) -> Result<()> {
    let mut buf = vec![0; extent.length.min(PIECE_BYTES) as usize];
    let mut at = extent.offset;
    while at < extent.end() {
        let part = &mut buf[..(extent.end() - at).min(PIECE_BYTES) as usize];
        read(at, part)?;
        if part.iter().any(|byte| *byte != 0) {
            file.write_all_at(part, at).map_err(|error| Error::io("write a file for qemu-img", at, error))?;
        }
        at += part.len() as u64;
    }
    Ok(())
}

/// For tests: whether QEMU's tools are there. If not, the test says that it is skipped.
///
/// # Panics
/// If they are missing and `BLK_REQUIRE_QEMU` is set.
pub fn has_qemu() -> bool {
    let runs =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    if runs("qemu-img") && runs("qemu-io") {
        return true;
    }
    let is_required = std::env::var_os("BLK_REQUIRE_QEMU").is_some();
    assert!(!is_required, "qemu-img and qemu-io are required here and missing: install qemu-utils");
    eprintln!("SKIPPED: qemu-img and qemu-io are missing (Debian package qemu-utils)");
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{images, initial};
    use blk_core::MemoryStorage;

    #[test]
    fn qemu_sees_other_bytes_and_wrong_metadata() {
        if !has_qemu() {
            return;
        }
        let start = images::image("wide", 1 << 20).unwrap();
        let reference = |content: MemoryStorage| initial::raw_over(content).unwrap();
        let content = || start.content(256 << 10).unwrap();
        assert_eq!(OfQemu::default().opinion(&start.duplicate(), &reference(content())), Ok(()));
        let other = content();
        other.write_at(1000, &[9]).unwrap();
        let said = OfQemu::default().opinion(&start.duplicate(), &reference(other)).unwrap_err();
        assert!(said.starts_with("qemu-img compare is not content"), "{said}");
        let torn = start.duplicate();
        // The offset of the refcount table, in the header.
        torn.write_at(48, &[0; 8]).unwrap();
        let said = OfQemu::default().opinion(&torn, &reference(content())).unwrap_err();
        assert!(said.starts_with("qemu-img check is not content"), "{said}");
        // Without the bit that vouches for them, the clusters of bitmaps are leaks.
        let bitmaps = images::image("bitmaps", 4 << 20).unwrap();
        let unvouched = bitmaps.duplicate();
        unvouched.write_at(88, &[0; 8]).unwrap();
        let of_bitmaps = |has_leaks| {
            let image = OfQemu { has_leaks, ..OfQemu::default() };
            image.opinion(&unvouched, &reference(bitmaps.content(4 << 20).unwrap()))
        };
        assert_eq!(of_bitmaps(true), Ok(()));
        assert!(of_bitmaps(false).unwrap_err().contains("leaked clusters"));
    }
}
