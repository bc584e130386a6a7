//! Opening what an image names as its backing file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use blk_core::sync::Mutex;
use blk_core::{Access, Disk, Error, Resolver, Result, Secret, Storage};

use super::complete::complete;
use super::file::FilesInUse;
use super::node::{Backing, DATA_FILE, Format, Node, Role};
use super::open::{Inherited, Opener, below_format, claim_of, shown};
use super::options::NodeOptions;
use super::text;
use super::{DataFile, Layer};
use crate::formats;

/// Opens what one image names: its backing file, read-only, and its data file.
#[derive(Debug)]
pub(super) struct BackingResolver {
    opener: Opener,
    /// The name of the image, for messages.
    overlay: String,
    /// The folder of the image, which relative names count from; `None` where it lies in no file.
    folder: Option<PathBuf>,
    backing: Backing,
    /// The data file, where options say so.
    data_file: Option<Box<Node>>,
    /// The format has data files.
    has_data_files: bool,
    inherited: Inherited,
    layers: Mutex<Vec<Layer>>,
    /// The data file that was opened, and the files that it lies in.
    opened_data: Mutex<Option<(DataFile, FilesInUse)>>,
}

impl BackingResolver {
    /// For the image `overlay`, opened as `format` says.
    pub(super) fn new(
        opener: Opener,
        overlay: String,
        folder: Option<PathBuf>,
        format: &Format,
        inherited: Inherited,
    ) -> Self {
        let (backing, data_file) = (format.backing.clone(), format.data_file.clone());
        let has_data_files = formats::open_option(format.driver, DATA_FILE).is_some();
        let (layers, opened_data) = (Mutex::default(), Mutex::default());
        Self { opener, overlay, folder, backing, data_file, has_data_files, inherited, layers, opened_data }
    }

    /// Adds what was opened to the layers, of which there is the image's own: images are layers of their own,
    /// topmost first; a data file belongs to the image.
    pub(super) fn finish(self, layers: &mut Vec<Layer>) {
        if let Some((data_file, files)) = self.opened_data.into_inner() {
            layers[0].files.extend(files);
            layers[0].data_file = Some(data_file);
        }
        layers.extend(self.layers.into_inner());
    }

    /// A name as the image's folder makes it: names with a protocol stand for themselves.
    fn resolved(&self, name: &str) -> String {
        match &self.folder {
            Some(folder) if text::split_protocol(name).is_none() => {
                blk_core::name::from_os(folder.join(blk_core::name::to_path(name)).as_os_str())
            }
            _ => name.to_owned(),
        }
    }

    /// A file that is open as a backing file is no other part of the image.
    fn check_apart(&self, name: &str, files: &FilesInUse) -> Result<()> {
        let layers = self.layers.lock();
        let mut below = layers.iter().flat_map(|layer| &layer.files);
        match below.find(|below| files.iter().any(|file| file.is_same(below))) {
            None => Ok(()),
            Some(below) => {
                let reason = format!("it is the same file as '{}', which is a backing file", below.name());
                Err(Error::Unresolved { name: name.to_owned(), reason })
            }
        }
    }

    /// Names both images, once: further up it is the same failure.
    fn explain(&self, name: Option<&str>, error: Error) -> Error {
        if self.opener.is_explained.swap(true, Ordering::Relaxed) {
            return error;
        }
        let (name, reason) = match error {
            Error::Unresolved { name, reason } => (name, reason),
            other => (name.unwrap_or_default().to_owned(), other.to_string()),
        };
        Error::Unresolved { name, reason: format!("{reason}; the backing file of '{}'", self.overlay) }
    }

    /// Opens what the image names, with what is given on top.
    fn open(&self, name: Option<&str>, given: NodeOptions) -> Result<Arc<Disk>> {
        let node = complete(name, given, Role::Image).and_then(Node::parse);
        let node = node.map_err(|error| self.explain(name, error))?;
        let opened = self.opener.disk(&node, Access::ReadOnly, self.inherited);
        let opened = opened.map_err(|error| self.explain(node.name().as_deref().or(name), error))?;
        self.layers.lock().extend(opened.layers);
        Ok(Arc::new(opened.disk))
    }
}

/// A backing file that is open already, whatever the image calls it.
#[derive(Debug)]
pub(super) struct GivenBacking<'a> {
    pub(super) disk: Arc<Disk>,
    /// Opens all else.
    pub(super) others: &'a BackingResolver,
}

impl Resolver for GivenBacking<'_> {
    fn open_backing(&self, _name: &str, _format: Option<&str>) -> Result<Arc<Disk>> {
        Ok(Arc::clone(&self.disk))
    }

    fn default_backing(&self) -> Result<Option<Arc<Disk>>> {
        Ok(Some(Arc::clone(&self.disk)))
    }

    fn open_storage(&self, name: &str, access: Access) -> Result<Arc<dyn Storage>> {
        self.others.open_storage(name, access)
    }

    fn secret(&self, id: &str) -> Result<Secret> {
        self.others.secret(id)
    }
}

impl Resolver for BackingResolver {
    fn open_backing(&self, name: &str, format: Option<&str>) -> Result<Arc<Disk>> {
        let mut given = match &self.backing {
            Backing::FromImage(options) => options.clone(),
            Backing::None => NodeOptions::default(),
        };
        if let Some(format) = format {
            given.fill("driver", format);
        }
        let is_replaced = given.has("file.filename");
        self.open((!is_replaced).then(|| self.resolved(name)).as_deref(), given)
    }

    fn default_backing(&self) -> Result<Option<Arc<Disk>>> {
        match &self.backing {
            Backing::FromImage(options) if !options.is_empty() => self.open(None, options.clone()).map(Some),
            _ => Ok(None),
        }
    }

    /// A data file, whose name counts from where the program runs, as with QEMU; or a name of a command line.
    fn open_storage(&self, name: &str, access: Access) -> Result<Arc<dyn Storage>> {
        let name = if self.has_data_files { name.to_owned() } else { self.resolved(name) };
        let node = match &self.data_file {
            Some(node) => Node::clone(node),
            None => complete(Some(&name), NodeOptions::default(), Role::Storage).and_then(Node::parse)?,
        };
        let opened = self.opener.storage(&node, access, below_format(self.inherited))?;
        self.check_apart(&name, &opened.files)?;
        opened.claim(claim_of(true, access, self.inherited))?;
        if self.has_data_files {
            let data_file = DataFile { name: shown(&node), storage: Arc::clone(&opened.storage) };
            *self.opened_data.lock() = Some((data_file, opened.files.clone()));
        }
        Ok(opened.storage)
    }

    fn secret(&self, id: &str) -> Result<Secret> {
        self.opener.objects.secret(id)
    }
}
