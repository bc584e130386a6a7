//! From a tree of nodes to an open disk.

use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use blk_core::storage::DiskStorage;
use blk_core::{Access, DenyResolver, Disk, Error, FileStorage, Options, Registry, Result, Storage};
use blk_verify::Verify;

use super::Layer;
use super::backing::BackingResolver;
use super::breakpoints::Breakpoints;
use super::debug::{self, DebugStorage};
use super::filter::{Filter, Wishes};
use super::host::{HostStorage, HostWishes};
use super::lock::{self, Claim};
use super::node::{Common, Format, Kind, Locking, Node};
use super::null::NullStorage;
use super::options::NodeOptions;
use super::rules::Rules;
use super::scratch::Scratch;
use super::verify::OnMismatch;

/// Longest chain of backing files.
const CHAIN_MAX: usize = 64;
/// Most files of an image: what they name in turn could double at each step.
const FILES_MAX: usize = 1024;
/// Largest file of rules, in bytes.
const RULES_BYTES_MAX: u64 = 1 << 20;

/// The formats that the program knows.
pub(crate) fn registry() -> Registry {
    Registry::new([blk_qcow2::FORMAT, blk_raw::FORMAT])
}

/// A file, whatever name it has: device and inode.
pub(super) type FileId = (u64, u64);

/// What nodes have from the node above, or from the command line, unless they say otherwise.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(super) struct Inherited {
    pub(super) discard: Option<bool>,
    pub(super) no_flush: bool,
    /// Short ranges of files are zeroed by writing.
    pub(super) writes_short_zeroes: bool,
    pub(super) force_share: bool,
    pub(super) locking: Locking,
    pub(super) on_mismatch: OnMismatch,
    /// What lies below the image is left alone.
    pub(super) alone: bool,
    /// A check follows: damage is left to it.
    pub(super) for_check: bool,
}

/// Opens nodes. Each step down a chain of backing files has an opener of its own, which knows what lies above.
#[derive(Debug, Clone, Default)]
pub(super) struct Opener {
    /// The files of the images above, which must not come again.
    pub(super) above: Vec<FileId>,
    /// How many images lie above.
    pub(super) depth: usize,
    /// Where writes go instead of to the files.
    pub(super) scratch: Option<Arc<Scratch>>,
    /// How many files have been opened for the topmost image.
    pub(super) files_opened: Arc<AtomicUsize>,
}

/// An open disk, and what became known on the way.
#[derive(Debug)]
pub(super) struct OpenedDisk {
    pub(super) disk: Disk,
    pub(super) format: &'static str,
    /// The format was not given, and nothing but raw fits.
    pub(super) guessed_raw: bool,
    pub(super) breakpoints: Option<Arc<dyn Breakpoints>>,
    pub(super) layers: Vec<Layer>,
    files: Vec<FileId>,
    path: Option<PathBuf>,
}

/// An open storage, and what became known on the way.
#[derive(Debug)]
struct OpenedStorage {
    storage: Arc<dyn Storage>,
    breakpoints: Option<Arc<dyn Breakpoints>>,
    files: Vec<FileId>,
    /// Of the file at the bottom.
    path: Option<PathBuf>,
    /// The file at the bottom, if no other driver lies between that has claimed it for itself.
    claimed: Option<ClaimedFile>,
}

/// A file that is open and locked; its claim can be raised.
#[derive(Debug)]
struct ClaimedFile {
    /// The same open file, so that its locks are the same.
    file: std::fs::File,
    name: String,
    locking: Locking,
}

impl ClaimedFile {
    fn raise(&self, claim: Claim) -> Result<()> {
        lock::lock(&self.file, &self.name, claim, self.locking)
    }
}

/// How the node above uses a storage.
#[derive(Debug, Clone, Copy)]
struct Use {
    access: Access,
    claim: Claim,
}

impl Use {
    /// For a node whose driver does not mind others.
    fn shared(access: Access) -> Self {
        let writes = access == Access::ReadWrite;
        Self { access, claim: Claim { writes, resizes: false, alone: false } }
    }

    /// For a file that is only read because what is written goes elsewhere: nobody may change it meanwhile.
    fn untouched() -> Self {
        Self { access: Access::ReadOnly, claim: Claim { writes: false, resizes: false, alone: true } }
    }

    fn of_format(driver: &str, access: Access, force_share: bool) -> Self {
        let mut usage = Self::shared(access);
        if driver != "raw" {
            usage.claim.resizes = usage.claim.writes;
            usage.claim.alone = !force_share;
        }
        usage
    }
}

impl Opener {
    /// Opens a node as a disk.
    pub(super) fn disk(&self, node: &Node, wanted: Access, inherited: Inherited) -> Result<OpenedDisk> {
        let access = access(&node.common, wanted)?;
        let inherited = inherit(&node.common, inherited, access)?;
        match &node.kind {
            Kind::Format(format) => {
                self.check_depth(&format.file)?;
                let usage = Use::of_format(format.driver, access, inherited.force_share);
                let opened = self.storage(&format.file, usage, below_format(inherited))?;
                self.format(&node.common, format, opened, access, inherited)
            }
            Kind::Probe { options, file } => self.probe(&node.common, options, file, access, inherited),
            Kind::Verify { raw, test } => self.verify(node, raw, test, access, inherited),
            Kind::File { .. } | Kind::Null { .. } | Kind::Debug { .. } => {
                let opened = self.storage(node, Use::shared(access), inherited)?;
                let format = match &node.kind {
                    Kind::File { .. } => "file",
                    Kind::Null { .. } => "null-co",
                    _ => "blkdebug",
                };
                let mut options = Options::new();
                set_discard(&mut options, inherited);
                let storage = Arc::clone(&opened.storage);
                let disk = blk_raw::FORMAT.open(storage, access, options, &DenyResolver)?;
                let disk = Filter::over(disk, wishes(&node.common));
                let layers = vec![layer(node, format, &opened)];
                let OpenedStorage { breakpoints, files, path, .. } = opened;
                Ok(OpenedDisk { disk, format, guessed_raw: false, breakpoints, layers, files, path })
            }
        }
    }

    fn check_depth(&self, file: &Node) -> Result<()> {
        if self.depth < CHAIN_MAX {
            return Ok(());
        }
        let reason = format!("the chain of backing files is longer than {CHAIN_MAX}");
        Err(Error::Unresolved { name: shown(file), reason })
    }

    fn format(
        &self,
        common: &Common,
        format: &Format,
        opened: OpenedStorage,
        access: Access,
        inherited: Inherited,
    ) -> Result<OpenedDisk> {
        let node = Node { common: common.clone(), kind: Kind::Format(format.clone()) };
        let mut layers = vec![layer(&node, format.driver, &opened)];
        let mut above = self.above.clone();
        above.extend(&opened.files);
        let deeper = Self { above, depth: self.depth + 1, ..self.clone() };
        let folder = opened.path.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        let resolver = BackingResolver::new(deeper, folder, format.backing.clone(), inherited);
        let mut options = format.options.clone();
        set_discard(&mut options, inherited);
        if format.driver == "qcow2" {
            for (name, is_wanted, value) in
                [("backing", inherited.alone, "off"), ("check", inherited.for_check, "on")]
            {
                if is_wanted {
                    options.set(name, value);
                }
            }
        }
        let driver = registry().find(format.driver)?;
        let disk = driver.open(Arc::clone(&opened.storage), access, options, &resolver)?;
        layers.extend(resolver.into_layers());
        let OpenedStorage { breakpoints, files, path, .. } = opened;
        Ok(OpenedDisk {
            disk: Filter::over(disk, wishes(common)),
            format: format.driver,
            guessed_raw: false,
            breakpoints,
            layers,
            files,
            path,
        })
    }

    /// Finds out the format. What the image lies in is opened once, or nested nodes would be opened again at each level; only
    /// when the format is known, the file's locks come to say what others may do meanwhile.
    fn probe(
        &self,
        common: &Common,
        options: &NodeOptions,
        file: &Node,
        access: Access,
        inherited: Inherited,
    ) -> Result<OpenedDisk> {
        self.check_depth(file)?;
        let looked = self.storage(file, Use::shared(access), below_format(inherited))?;
        let driver = registry().probe(&*looked.storage)?.name();
        let format = Format::over(driver, options.clone(), Box::new(file.clone()))?;
        if let Some(claimed) = &looked.claimed {
            claimed.raise(Use::of_format(driver, access, inherited.force_share).claim)?;
        }
        let mut opened = self.format(common, &format, looked, access, inherited)?;
        if driver == "raw" {
            opened.guessed_raw = true;
            let stay_raw = opened.disk.access() == Access::ReadWrite;
            opened.disk = Filter::over(opened.disk, Wishes { stay_raw, ..Wishes::default() });
        }
        Ok(opened)
    }

    fn verify(
        &self,
        node: &Node,
        raw: &Node,
        test: &Node,
        access: Access,
        inherited: Inherited,
    ) -> Result<OpenedDisk> {
        let reference = self.disk(raw, access, inherited)?;
        let tested = self.disk(test, access, inherited)?;
        let policy = inherited.on_mismatch.policy();
        let driver = Verify::new(Arc::new(reference.disk), Arc::new(tested.disk), policy)?;
        let disk = Filter::over(Disk::new(driver, access), wishes(&node.common));
        let layers = vec![Layer { name: shown(node), format: "blkverify", storage: None, path: None }];
        let files = reference.files.into_iter().chain(tested.files).collect();
        let breakpoints = reference.breakpoints.or(tested.breakpoints);
        Ok(OpenedDisk {
            disk,
            format: "blkverify",
            guessed_raw: false,
            breakpoints,
            layers,
            files,
            path: None,
        })
    }

    /// Opens a node as the bytes under a format.
    fn storage(&self, node: &Node, usage: Use, inherited: Inherited) -> Result<OpenedStorage> {
        let access = access(&node.common, usage.access)?;
        let inherited = inherit(&node.common, inherited, access)?;
        match &node.kind {
            Kind::File { name, locking } => self.file(name, *locking, Use { access, ..usage }, inherited),
            Kind::Null { size, read_zeroes, latency_ns } => {
                let latency = Duration::from_nanos(*latency_ns);
                let null = NullStorage { size: *size, read_zeroes: *read_zeroes, latency };
                Ok(OpenedStorage {
                    storage: Arc::new(null),
                    breakpoints: None,
                    files: Vec::new(),
                    path: None,
                    claimed: None,
                })
            }
            Kind::Debug { image, config, rules, limits } => {
                let mut all = config.as_deref().map_or_else(|| Ok(Rules::default()), read_rules)?;
                all.extend(rules.clone());
                let mut opened = self.storage(image, Use { access, ..usage }, inherited)?;
                let debug = Arc::new(DebugStorage::new(opened.storage, all, debug::say));
                opened.breakpoints = Some(Arc::clone(&debug) as Arc<dyn Breakpoints>);
                opened.storage = limits.over(debug);
                Ok(opened)
            }
            Kind::Format(_) | Kind::Probe { .. } | Kind::Verify { .. } => {
                let opened = self.disk(node, access, inherited)?;
                let OpenedDisk { disk, breakpoints, files, path, .. } = opened;
                let storage = Arc::new(DiskStorage::new(Arc::new(disk)));
                Ok(OpenedStorage { storage, breakpoints, files, path, claimed: None })
            }
        }
    }

    fn file(&self, name: &str, locking: Locking, usage: Use, inherited: Inherited) -> Result<OpenedStorage> {
        let failed = |reason: String| Error::Unresolved { name: name.to_owned(), reason };
        if self.files_opened.fetch_add(1, Ordering::Relaxed) >= FILES_MAX {
            return Err(failed(format!("an image has at most {FILES_MAX} files, backing files included")));
        }
        let path = PathBuf::from(name);
        let metadata = std::fs::metadata(&path).map_err(|error| failed(plain(&error)))?;
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(failed("it is neither a regular file nor a block device".to_owned()));
        }
        let id = (metadata.dev(), metadata.ino());
        if self.above.contains(&id) {
            return Err(failed("the chain of backing files comes back to it".to_owned()));
        }
        let opened = |storage, claimed| OpenedStorage {
            storage,
            breakpoints: None,
            files: vec![id],
            path: Some(PathBuf::from(name)),
            claimed,
        };
        if let Some(storage) = self.scratch.as_ref().and_then(|scratch| scratch.find(id)) {
            return Ok(opened(storage, None));
        }
        let scratch = self.scratch.as_ref().filter(|_| usage.access == Access::ReadWrite);
        let usage = if scratch.is_some() { Use::untouched() } else { usage };
        // Never waits for somebody at the other end, should the name have come to mean a pipe.
        let nonblocking = nix::libc::O_NONBLOCK;
        let write = usage.access == Access::ReadWrite;
        let file = std::fs::File::options().read(true).write(write).custom_flags(nonblocking).open(&path);
        let file = file.map_err(|error| failed(plain(&error)))?;
        let locking = if inherited.locking == Locking::Auto { locking } else { inherited.locking };
        lock::lock(&file, name, usage.claim, locking)?;
        let same = file.try_clone().map_err(|error| failed(plain(&error)))?;
        let claimed = ClaimedFile { file: same, name: name.to_owned(), locking };
        let storage: Arc<dyn Storage> = Arc::new(FileStorage::from_file(file)?);
        if let Some(scratch) = scratch {
            return Ok(opened(scratch.add(id, storage)?, None));
        }
        let wishes = HostWishes {
            no_flush: inherited.no_flush,
            keep_space: inherited.discard == Some(false),
            writes_short_zeroes: inherited.writes_short_zeroes,
        };
        Ok(opened(HostStorage::over(storage, wishes), Some(claimed)))
    }
}

/// What an image lies in: the format decides what it gives back; the file follows unless it says otherwise itself.
fn below_format(inherited: Inherited) -> Inherited {
    Inherited { discard: None, ..inherited }
}

/// What the host says, without the number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((before, _)) => before.to_owned(),
        None => text,
    }
}

fn read_rules(name: &str) -> Result<Rules> {
    let failed = |reason: String| Error::Unresolved { name: name.to_owned(), reason };
    // A name inside an image may mean a pipe on which nobody writes.
    let nonblocking = nix::libc::O_NONBLOCK;
    let file = std::fs::File::options().read(true).custom_flags(nonblocking).open(name);
    let file = file.map_err(|error| failed(plain(&error)))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(failed("rules are read from a regular file only".to_owned()));
    }
    let mut text = String::new();
    let read = file.take(RULES_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| failed(plain(&error)))?;
    if text.len() as u64 > RULES_BYTES_MAX {
        return Err(failed(format!("the rules are longer than {RULES_BYTES_MAX} bytes")));
    }
    Rules::parse(name, &text)
}

/// Whether a node may be written: what it says itself counts.
fn access(common: &Common, wanted: Access) -> Result<Access> {
    match (common.read_only, wanted) {
        (Some(true), Access::ReadWrite) => {
            Err(Error::invalid_option("read-only", "the image is read-only, and is to be opened for writing"))
        }
        (Some(false), _) => Ok(Access::ReadWrite),
        (_, wanted) => Ok(wanted),
    }
}

/// What the nodes below get.
fn inherit(common: &Common, from: Inherited, access: Access) -> Result<Inherited> {
    let force_share = from.force_share || common.force_share;
    if force_share && access == Access::ReadWrite {
        return Err(Error::invalid_option(
            "force-share",
            "only an image that is opened read-only can be shared",
        ));
    }
    Ok(Inherited {
        discard: common.discard.or(from.discard),
        no_flush: common.no_flush.unwrap_or(from.no_flush),
        force_share,
        ..from
    })
}

fn set_discard(options: &mut Options, inherited: Inherited) {
    if let Some(frees) = inherited.discard {
        options.set("discard", if frees { "unmap" } else { "ignore" });
    }
}

fn wishes(common: &Common) -> Wishes {
    Wishes { detect_zeroes: common.detect_zeroes, ..Wishes::default() }
}

fn layer(node: &Node, format: &'static str, opened: &OpenedStorage) -> Layer {
    let storage = Some(Arc::clone(&opened.storage));
    Layer { name: shown(node), format, storage, path: opened.path.clone() }
}

fn shown(node: &Node) -> String {
    node.name().unwrap_or_else(|| "json:{}".to_owned())
}
