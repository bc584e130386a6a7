//! Block devices, where a loop device can be made: as root on Linux. `BLK_REQUIRE_LOOP=1` turns a skip into a
//! failure.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use blk_core::testing::{Maker, conformance};
use blk_core::{
    Access, DenyResolver, Disk, Error, Extent, FileStorage, Options, Result, Storage, WriteFlags, ZeroFlags,
};
use blk_raw::FORMAT;

/// A loop device over a file that has no name any more.
struct Loop {
    path: PathBuf,
    _file: tempfile::NamedTempFile,
}

impl Loop {
    fn new(size: u64) -> std::result::Result<Self, String> {
        let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        file.as_file().set_len(size).map_err(|error| error.to_string())?;
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file.path()).output();
        let output = output.map_err(|error| format!("losetup: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(Self { path: String::from_utf8_lossy(&output.stdout).trim().into(), _file: file })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("--detach").arg(&self.path).status();
        if !detached.is_ok_and(|status| status.success()) {
            eprintln!("{} is still there", self.path.display());
        }
    }
}

/// Whether loop devices can be made here. Says so if not.
fn available() -> bool {
    match Loop::new(1 << 20) {
        Ok(_) => true,
        Err(reason) => {
            let required = std::env::var_os("BLK_REQUIRE_LOOP").is_some();
            assert!(!required, "loop devices are required here: {reason}");
            eprintln!("SKIPPED: no loop device can be made here: {reason}");
            false
        }
    }
}

fn open(path: &Path, access: Access, options: Options) -> Result<Disk> {
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(path, access)?);
    FORMAT.open(storage, access, options, &DenyResolver)
}

/// Raw disks that are whole devices.
struct OnDevices;

impl Maker for OnDevices {
    type Medium = Loop;

    fn make(&self, size: u64) -> Result<Loop> {
        if size == 0 || !size.is_multiple_of(512) {
            return Err(Error::invalid_option("size", "a device consists of sectors"));
        }
        Ok(Loop::new(size).unwrap())
    }

    fn open(&self, medium: &Loop, access: Access) -> Result<Disk> {
        open(&medium.path, access, Options::new())
    }
}

#[test]
fn raw_on_a_block_device_conforms() {
    if available() {
        conformance(&OnDevices);
    }
}

#[test]
fn a_device_keeps_its_length_and_is_zeroed_in_place() {
    if !available() {
        return;
    }
    let device = Loop::new(1 << 20).unwrap();
    let storage = Arc::new(FileStorage::open(&device.path, Access::ReadWrite).unwrap());
    storage.write_at(0, &vec![9; 1 << 20]).unwrap();
    assert_eq!(storage.len().unwrap(), 1 << 20);
    assert!(matches!(storage.set_len(4096), Err(Error::Unsupported { .. })));
    assert!(matches!(storage.write_at((1 << 20) - 1, &[1, 2]), Err(Error::NoSpace { .. })));
    assert!(matches!(storage.write_zeroes_at(Extent::new(1 << 20, 1)), Err(Error::NoSpace { .. })));
    storage.punch_hole(Extent::new((1 << 20) - 700, u64::MAX)).unwrap();

    let shared: Arc<dyn Storage> = Arc::clone(&storage) as _;
    assert!(matches!(FORMAT.create(&shared, (1 << 20) + 1, Options::new()), Err(Error::NoSpace { .. })));
    FORMAT.create(&shared, 70_001, Options::new()).unwrap();
    let mut bytes = vec![1; 1 << 20];
    storage.read_at(0, &mut bytes).unwrap();
    let mut expected = vec![0; 70_001];
    expected.resize((1 << 20) - 700, 9);
    expected.resize(1 << 20, 0);
    assert!(bytes == expected);
    assert!(open(&device.path, Access::ReadWrite, Options::new()).unwrap().resize(8192).is_err());
}

/// Zeroes that are not aligned to the device's sectors are zeroes in the midst and data at the edges; what is
/// asked for without data is refused there.
#[test]
fn unaligned_zeroes_on_a_device() {
    if !available() {
        return;
    }
    let device = Loop::new(1 << 20).unwrap();
    let disk = open(&device.path, Access::ReadWrite, Options::new().with("offset", 512u64)).unwrap();
    disk.write(0, &vec![7; 1 << 19], WriteFlags::default()).unwrap();
    let odd = Extent::new(100, 5000);
    let no_fallback = ZeroFlags { no_fallback: true, ..ZeroFlags::default() };
    assert!(matches!(disk.write_zeroes(odd, no_fallback), Err(Error::Unsupported { .. })));
    disk.write_zeroes(odd, ZeroFlags { may_unmap: true, ..ZeroFlags::default() }).unwrap();
    let mut bytes = vec![1; 1 << 19];
    disk.read(0, &mut bytes).unwrap();
    assert!(bytes[..100] == [7; 100] && bytes[100..5100].iter().all(|byte| *byte == 0));
    assert!(bytes[5100..].iter().all(|byte| *byte == 7));
    disk.flush().unwrap();
    let mut behind = vec![1; 1 << 19];
    File::open(&device.path).unwrap().read_exact_at(&mut behind, 512).unwrap();
    assert!(behind == bytes, "what the device has is what the disk shows");
}
