//! What an external data file and encryption cost: images that have them beside one that has not, and a LUKS
//! image beside them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use blk_core::{Access, Disk, FileStorage, Format, MapResolver, Options, Secret, Storage};

use super::files::{DISK_BYTES, Pages, Side, compare, random, sequential};

/// Files that are gone when this is.
struct Files(Vec<PathBuf>);

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Files {
    fn storage(&mut self, path: PathBuf) -> Result<Arc<dyn Storage>> {
        let storage = Arc::new(FileStorage::create(&path)?);
        self.0.push(path);
        Ok(storage)
    }
}

pub(super) fn run(folder: &Path) -> Result<()> {
    let name = format!("blk-bench-{}", std::process::id());
    let mut files = Files(Vec::new());
    let mut resolver = MapResolver::default();
    resolver.insert_secret("key", Secret::from(b"key".to_vec()));
    resolver.insert_storage("data", files.storage(folder.join(format!("{name}.data")))?, Access::ReadWrite);
    let luks = Options::new().with("encrypt.format", "luks").with("encrypt.key-secret", "key");
    let unlocked = Options::new().with("encrypt.key-secret", "key");
    let key = Options::new().with("key-secret", "key");
    let kinds: [(&str, &dyn Format, Options, Options); 4] = [
        ("blk_inside", blk_qcow2::FORMAT, Options::new(), Options::new()),
        ("blk_data_file", blk_qcow2::FORMAT, Options::new().with("data_file", "data"), Options::new()),
        ("blk_encrypted", blk_qcow2::FORMAT, luks.with("encrypt.iter-time", "10"), unlocked),
        ("blk_luks", blk_luks::FORMAT, key.clone().with("iter-time", "10"), key),
    ];
    let mut pages = Pages::new(1 << 20);
    let mut disks: Vec<(&str, Disk)> = Vec::new();
    for (kind, format, create, open) in kinds {
        let storage = files.storage(folder.join(format!("{name}.{kind}")))?;
        format.create_with(&storage, DISK_BYTES, create, &resolver)?;
        let disk = format.open(storage, Access::ReadWrite, open, &resolver)?;
        for at in (0..DISK_BYTES).step_by(1 << 20) {
            Side::write(&disk, at, pages.get(1 << 20))?;
        }
        disks.push((kind, disk));
    }
    let sides: Vec<(&str, &dyn Side)> = disks.iter().map(|(kind, disk)| (*kind, disk as &dyn Side)).collect();
    compare("read_4k", &sides, |side| random(side, &mut pages, false))?;
    compare("write_4k", &sides, |side| random(side, &mut pages, true))?;
    compare("read_1m", &sides, |side| sequential(side, &mut pages, 1 << 20, false))?;
    compare("write_1m", &sides, |side| sequential(side, &mut pages, 1 << 20, true))
}
