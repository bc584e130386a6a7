//! Opening what an image names as its backing file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use blk_core::sync::Mutex;
use blk_core::{Access, Disk, Error, Resolver, Result, Secret, Storage};

use super::Layer;
use super::complete::complete;
use super::node::{Backing, Node, Role};
use super::objects::Objects;
use super::open::{Inherited, Opener, below_format, claim_of};
use super::options::NodeOptions;
use super::text;

/// Opens the backing file of one image, read-only.
#[derive(Debug)]
pub(super) struct BackingResolver {
    opener: Opener,
    /// The name of the image, for messages.
    overlay: String,
    /// The folder of the image, which relative names count from; `None` where it lies in no file.
    folder: Option<PathBuf>,
    backing: Backing,
    inherited: Inherited,
    layers: Mutex<Vec<Layer>>,
}

impl BackingResolver {
    pub(super) fn new(
        opener: Opener,
        overlay: String,
        folder: Option<PathBuf>,
        backing: Backing,
        inherited: Inherited,
    ) -> Self {
        Self { opener, overlay, folder, backing, inherited, layers: Mutex::default() }
    }

    /// The images that were opened, topmost first.
    pub(super) fn into_layers(self) -> Vec<Layer> {
        self.layers.into_inner()
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
pub(super) struct GivenBacking {
    pub(super) disk: Arc<Disk>,
    pub(super) objects: Objects,
}

impl Resolver for GivenBacking {
    fn open_backing(&self, _name: &str, _format: Option<&str>) -> Result<Arc<Disk>> {
        Ok(Arc::clone(&self.disk))
    }

    fn default_backing(&self) -> Result<Option<Arc<Disk>>> {
        Ok(Some(Arc::clone(&self.disk)))
    }

    fn secret(&self, id: &str) -> Result<Secret> {
        self.objects.secret(id)
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

    /// Only for names of a command line: no format opens a name from an image this way.
    fn open_storage(&self, name: &str, access: Access) -> Result<Arc<dyn Storage>> {
        let name = self.resolved(name);
        let node = complete(Some(&name), NodeOptions::default(), Role::Storage).and_then(Node::parse)?;
        let opened = self.opener.storage(&node, access, below_format(self.inherited))?;
        opened.claim(claim_of(true, access, self.inherited))?;
        Ok(opened.storage)
    }

    fn secret(&self, id: &str) -> Result<Secret> {
        self.opener.objects.secret(id)
    }
}
