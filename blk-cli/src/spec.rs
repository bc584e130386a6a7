//! Image specifications: from what a command line says to an open disk.
//!
//! What it can say, with or without a format (`-f`):
//!
//! - the name of a file, `file:NAME`, `json:{...}`, and with `--image-opts` a list `key=value,...`;
//! - `blkverify:RAW:TEST`: two images that must answer the same, RAW a raw one, TEST of a format to be found
//!   out;
//! - `blkdebug:RULES:FILE`: a file whose operations fail as the rules say; RULES may be empty;
//! - `null-co://`: a gigabyte of nothing.
//!
//! Options alone reach the filters over an image: `compress`, `copy-on-read`, `throttle` with the image as
//! `file`.
//!
//! Nodes and options have the names that QEMU gives them. Reading a specification touches nothing; only
//! [`Request::open`] does. A backing file's name may be any specification; relative names count from the
//! image's folder.

mod backing;
mod breakpoints;
mod complete;
mod debug;
pub(crate) mod events;
mod file;
mod filter;
pub mod fuzzing;
mod guard;
mod host;
mod image_filter;
mod json;
mod limits;
mod lock;
mod nbd;
mod node;
mod null;
mod objects;
mod open;
mod options;
mod overlay;
mod place;
mod rules;
mod scratch;
mod secret;
mod server;
mod start;
mod steps;
mod text;
mod verify;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use blk_core::{Access, Disk, Error, Options, Result, Storage, name};

use complete::complete;
use filter::{Filter, Wishes};
use node::{Kind, Node, Role};
use open::{Inherited, Opener};
use options::NodeOptions;

pub use breakpoints::Breakpoints;
pub(crate) use debug::DebugNode;
pub use file::{FilesInUse, OpenFile, is_same_file, kept_file, new_file};
pub use node::Locking;
pub use objects::{Object, Objects};
pub(crate) use objects::{ObjectArgs, ObjectParser};
pub(crate) use open::CHAIN_MAX;
pub use scratch::Scratch;
pub use start::{Origins, Start, write_sparse};
pub(crate) use text::shown;
pub use verify::{OnMismatch, mismatch_line};

/// How an image is to be opened.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub struct Request {
    /// A file name with or without protocol, `json:{...}`, or with `image_opts` the option string
    /// `key=value,...`.
    pub name: String,
    /// `name` is an option string (`--image-opts`).
    pub image_opts: bool,
    /// The format (`-f`); probed where it is not given.
    pub format: Option<String>,
    /// Options besides those in `name`, which they replace, as `open -o` gives them. With an empty name they
    /// are all.
    pub options: Options,
    /// Whether it may be written. The option `read-only` in the specification counts more.
    pub access: Access,
    /// Others may write it meanwhile (`-U`); only for images that are opened read-only.
    pub force_share: bool,
    /// Whether files are locked against other programs, where the specification leaves it to us.
    pub locking: Locking,
    /// What is cached (`-t`, `-T`, `-n`).
    pub cache: CacheMode,
    /// Whether discards do anything (`-d`); `None` for what the drivers do, which is to give space back.
    pub discard: Option<bool>,
    /// Short ranges of files are zeroed by writing, so that many requests on few places do not wait for the
    /// host.
    pub writes_short_zeroes: bool,
    /// What follows where the two disks of a `blkverify` node differ.
    pub on_mismatch: OnMismatch,
    /// The disks below the image are not opened: what is asked concerns the image itself.
    pub alone: bool,
    /// A check follows: an image that is damaged is opened all the same, and nothing is repaired on the way.
    pub for_check: bool,
    /// Where writes go instead of to the files, which are opened read-only.
    pub scratch: Option<Arc<Scratch>>,
    /// What keeps the content of files before writes change it.
    pub start: Option<Arc<Start>>,
    /// Nobody else may write what is read, not even where it is raw: it is copied as it is now.
    pub unwritten: bool,
    /// Only what the image says about itself is read, not its content.
    pub describes: bool,
    /// Files that are open already. One that is written must be none of them, whatever name it has.
    pub in_use: FilesInUse,
    /// What options refer to by name (`--object`).
    pub objects: Objects,
}

/// How writes reach stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheMode {
    /// Past the host's cache: asked for, and left to the host, because only speed depends on it.
    pub direct: bool,
    /// Flushes do nothing.
    pub no_flush: bool,
    /// Every write is on stable storage before it succeeds.
    pub writethrough: bool,
}

impl FromStr for CacheMode {
    type Err = Error;

    /// By the name that command lines have for it.
    fn from_str(name: &str) -> Result<Self> {
        let (direct, no_flush, writethrough) = match name {
            "writeback" => (false, false, false),
            "none" | "off" => (true, false, false),
            "writethrough" => (false, false, true),
            "directsync" => (true, false, true),
            "unsafe" => (false, true, false),
            _ => {
                let known = "none, writeback, writethrough, directsync, unsafe";
                return Err(Error::invalid_option("cache", format!("'{name}' is none of {known}")));
            }
        };
        Ok(Self { direct, no_flush, writethrough })
    }
}

/// An open image.
#[derive(Debug)]
pub struct Image {
    /// The disk.
    pub disk: Arc<Disk>,
    /// The name that reports show: a file name where one says the same, else a `json:` name.
    pub name: String,
    /// The format, or the driver where there is none: `qcow2`, `raw`, `blkverify`, `blkdebug`, `null-co`,
    /// `file`.
    pub format: &'static str,
    /// No format was given, and nothing but raw fits: if it is written, a warning is due. Writes that would
    /// make the start of the disk look like another format are refused.
    pub guessed_raw: bool,
    /// Where requests can be stopped, if there is a `blkdebug` node.
    pub breakpoints: Option<Arc<dyn Breakpoints>>,
    /// The node on top, if that is a `blkdebug` node over an image.
    pub(crate) debug: Option<DebugNode>,
    /// The image, and the images below it that are open, topmost first.
    pub layers: Vec<Layer>,
}

/// A file that the data of an image lies in.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Its name: a file name, or a `json:` name.
    pub name: String,
    /// What it is.
    pub storage: Arc<dyn Storage>,
}

/// One image of a chain.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its name: a file name, or a `json:` name.
    pub name: String,
    /// Its format.
    pub format: &'static str,
    /// What it lies in; `None` for a `blkverify` node, which has two images.
    pub storage: Option<Arc<dyn Storage>>,
    /// The files that it lies in.
    pub files: FilesInUse,
    /// The file at the bottom, if it lies in one.
    pub path: Option<PathBuf>,
    /// The file that its data lies in, if that is another one.
    pub data_file: Option<DataFile>,
    /// How it was opened; `None` for a `blkverify` node.
    node: Option<Node>,
}

impl Layer {
    /// The options of its format that it was opened with.
    pub(crate) fn open_options(&self) -> Options {
        match self.node.as_ref().map(|node| &node.kind) {
            Some(Kind::Format(format)) => format.options.clone(),
            _ => Options::new(),
        }
    }
}

impl Request {
    /// Opens the image.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] names the key; [`Error::Unresolved`] the file that cannot be opened, or that
    /// somebody else has locked; and whatever the drivers say.
    pub fn open(&self) -> Result<Image> {
        self.open_image().map_err(text::shortened)
    }

    fn open_image(&self) -> Result<Image> {
        let options = self.node_options()?;
        let node = Node::parse(options.clone())?;
        let inherited = Inherited {
            discard: self.discard,
            no_flush: self.cache.no_flush,
            writes_short_zeroes: self.writes_short_zeroes,
            force_share: self.force_share,
            locking: self.locking,
            on_mismatch: self.on_mismatch,
            alone: self.alone,
            for_check: self.for_check,
            unwritten: self.unwritten,
            describes: self.describes,
            ..Inherited::default()
        };
        let top = Opener {
            in_use: self.in_use.clone(),
            scratch: self.scratch.clone(),
            start: self.start.clone(),
            objects: self.objects.clone(),
            ..Opener::default()
        };
        let opened = top.disk(&node, self.access, inherited)?;
        let through = Wishes { writethrough: self.cache.writethrough, ..Wishes::default() };
        let name = node.name().unwrap_or_else(|| options.to_json_name());
        let mut layers = opened.layers;
        let is_filter = matches!(node.kind, node::Kind::Filter { .. }) || debug::is_over_image(&node);
        if let Some(top) = layers.first_mut().filter(|_| !is_filter) {
            top.name.clone_from(&name);
        }
        Ok(Image {
            disk: Arc::new(Filter::over(opened.disk, through)),
            name,
            format: opened.format,
            guessed_raw: opened.guessed_raw,
            breakpoints: opened.breakpoints,
            debug: opened.debug,
            layers,
        })
    }

    /// Reads the specification without opening anything.
    ///
    /// # Errors
    /// As [`Request::open`], as far as the text alone shows it.
    pub fn check(&self) -> Result<()> {
        self.node_options().and_then(Node::parse).map(drop).map_err(text::shortened)
    }

    /// Everything that is said about the image as one table of options.
    fn node_options(&self) -> Result<NodeOptions> {
        let mut given = NodeOptions::default();
        for (key, value) in self.options.clone() {
            given.set(&key, options::Value::Text(value));
        }
        if let Some(format) = &self.format {
            given.set("driver", format.as_str());
        }
        text::check_length("the name", &self.name)?;
        if self.image_opts {
            given.fill_from(text::key_values(&self.name)?);
        }
        let is_named = !self.image_opts && (!self.name.is_empty() || given.is_empty());
        complete(is_named.then_some(self.name.as_str()), given, Role::Image)
    }
}

/// The path of the file at the bottom of what `name` specifies, if it is one.
pub fn path_of(name: &str) -> Option<PathBuf> {
    let node = Node::parse(complete(Some(name), NodeOptions::default(), Role::Image).ok()?).ok()?;
    node.file_name().map(name::to_path)
}

/// Whether both names, as a command line has them, lead to the same bytes: of a file, or on a server.
pub fn is_same_place(one: &str, other: &str) -> bool {
    let node = |name: &str| complete(Some(name), NodeOptions::default(), Role::Image).and_then(Node::parse);
    let (Ok(one), Ok(other)) = (node(one), node(other)) else { return false };
    match (one.file_name(), other.file_name(), one.export(), other.export()) {
        (Some(one), Some(other), ..) => is_same_file(&name::to_path(one), &name::to_path(other)),
        (_, _, Some(one), Some(other)) => one.is_same(&other),
        _ => false,
    }
}

impl Layer {
    /// Opens the layer once more, for writing: its content becomes that of the image above. The layer stays
    /// open, and locks the file for both. What else is open must be another file; `backing` is the layer's
    /// own backing file, which is open; `objects` are what its options refer to.
    ///
    /// # Errors
    /// [`Error::Unresolved`] if others use the file, or rely on its length; and as [`Request::open`].
    pub fn open_as_base(
        &self,
        grows: bool,
        others: &[Arc<OpenFile>],
        backing: Option<Arc<Disk>>,
        objects: Objects,
    ) -> Result<Arc<Disk>> {
        let Some(node) = &self.node else {
            return Err(Error::unsupported("writing to a node that has several images"));
        };
        if let Some(file) = self.files.first() {
            file.claim(lock::base_claim(self.format, grows))?;
        }
        let inherited = Inherited { locking: Locking::Off, ..Inherited::default() };
        let opener = Opener { in_use: others.to_vec(), backing, objects, ..Opener::default() };
        opener.disk(node, Access::ReadWrite, inherited).map(|opened| Arc::new(opened.disk))
    }

    /// Claims that nobody reads the layer: a layer below it changes, and what it shows is not consistent
    /// meanwhile.
    ///
    /// # Errors
    /// [`Error::Unresolved`] if somebody does.
    pub fn claim_unread(&self) -> Result<()> {
        self.files.first().map_or(Ok(()), |file| file.claim(lock::UNREAD))
    }

    /// Whether `name` leads to the file that the layer lies in.
    pub fn lies_in(&self, name: &Path) -> bool {
        self.path.as_deref().is_some_and(|path| is_same_file(path, name))
    }
}

#[cfg(test)]
mod tests;
