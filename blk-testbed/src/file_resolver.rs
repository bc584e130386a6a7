//! Opens images by file name, and the backing files that they name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blk_core::{Access, Disk, Error, FileStorage, Options, Registry, Resolver, Result, Storage};

/// Longest chain of backing files.
const CHAIN_MAX: usize = 64;

/// The formats that this workspace has.
pub fn registry() -> Registry {
    Registry::new([blk_qcow2::FORMAT, blk_raw::FORMAT])
}

/// Opens an image file; `format` is probed where it is not given. Backing files are opened read-only, their names taken
/// relative to the image that names them. A file that occurs twice in a chain is an error.
pub fn open_file(path: &Path, format: Option<&str>, access: Access, options: Options) -> Result<Disk> {
    FileResolver { folder: PathBuf::new(), chain: Vec::new() }.open(path, format, access, options)
}

/// Opens what the image at the end of `chain` names.
#[derive(Debug)]
struct FileResolver {
    folder: PathBuf,
    chain: Vec<PathBuf>,
}

impl FileResolver {
    fn open(&self, path: &Path, format: Option<&str>, access: Access, options: Options) -> Result<Disk> {
        let unresolved = |reason: String| Error::Unresolved { name: path.display().to_string(), reason };
        let real = fs::canonicalize(path).map_err(|error| unresolved(error.to_string()))?;
        if self.chain.contains(&real) {
            return Err(unresolved("the chain of backing files comes back to it".to_owned()));
        }
        if self.chain.len() >= CHAIN_MAX {
            return Err(unresolved(format!("the chain of backing files is longer than {CHAIN_MAX}")));
        }
        let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(&real, access)?);
        let format = match format {
            Some(name) => registry().find(name)?,
            None => registry().probe(&*storage)?,
        };
        let mut chain = self.chain.clone();
        chain.push(real.clone());
        let folder = real.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        format.open(storage, access, options, &Self { folder, chain })
    }
}

impl Resolver for FileResolver {
    fn open_backing(&self, name: &str, format: Option<&str>) -> Result<Arc<Disk>> {
        let disk = self.open(&self.folder.join(name), format, Access::ReadOnly, Options::new())?;
        Ok(Arc::new(disk))
    }
}
