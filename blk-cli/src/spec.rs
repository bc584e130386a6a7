//! Image specifications: from what a command line says to an open disk.

use std::path::Path;
use std::sync::Arc;

use blk_core::{Access, Disk, Options, Result};

/// How an image is to be opened.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// A file name with or without protocol, `json:{...}`, or with `image_opts` the option string `key=value,...`.
    pub name: String,
    /// `name` is an option string (`--image-opts`).
    pub image_opts: bool,
    /// The format (`-f`); probed where it is not given.
    pub format: Option<String>,
    /// Options besides those in `name`, as `open -o` gives them.
    pub options: Options,
    /// Whether it may be written.
    pub access: Access,
}

/// An open image.
#[derive(Debug)]
pub struct Image {
    /// The disk.
    pub disk: Arc<Disk>,
    /// The name that reports show.
    pub name: String,
}

impl Request {
    /// Opens the image.
    pub fn open(&self) -> Result<Image> {
        let path = Path::new(&self.name);
        let disk = blk_testbed::open_file(path, self.format.as_deref(), self.access, self.options.clone())?;
        Ok(Image { disk: Arc::new(disk), name: self.name.clone() })
    }
}
