//! From a tree of nodes to an open disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use blk_core::storage::DiskStorage;
use blk_core::{Access, DenyResolver, Disk, Error, MemoryStorage, Options, Resolver, Result, Storage};
use blk_verify::Verify;

use super::Layer;
use super::backing::{BackingResolver, GivenBacking};
use super::breakpoints::Breakpoints;
use super::debug::{DebugNode, DebugOptions, is_over_image};
use super::file::{FilesInUse, OpenFile};
use super::filter::{Filter, Wishes};
use super::guard::RawGuard;
use super::host::{HostStorage, HostWishes, check_is_device};
use super::lock::{Claim, Permissions};
use super::node::{Common, Format, Kind, Locking, Node};
use super::null::NullStorage;
use super::objects::Objects;
use super::options::NodeOptions;
use super::scratch::Scratch;
use super::start::Start;
use super::steps::{WithoutFlushes, WithoutSteps};
use super::verify::OnMismatch;
use crate::formats::{self, registry};

/// Longest chain of backing files: each image takes an open file, and each request a step down.
pub(crate) const CHAIN_MAX: usize = 500;
/// Most files of an image: what they name in turn could double at each step.
const FILES_MAX: usize = 1024;

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
    /// Nobody may write what is read, not even where it is raw.
    pub(super) unwritten: bool,
    /// Only what the image says about itself is read.
    pub(super) describes: bool,
    /// The length of a raw image is relied on: it is one side of a `blkverify` node.
    pub(super) fixed_length: bool,
}

/// Opens nodes. Each step down a chain of backing files has an opener of its own, which knows what lies
/// above.
#[derive(Debug, Clone, Default)]
pub(super) struct Opener {
    /// The files of the images above, which must not come again.
    pub(super) above: FilesInUse,
    /// Other files that are open: what is written is none of them.
    pub(super) in_use: FilesInUse,
    /// How many images lie above.
    pub(super) depth: usize,
    /// The backing file of the topmost image, where it is open already.
    pub(super) backing: Option<Arc<Disk>>,
    /// Where writes go instead of to the files.
    pub(super) scratch: Option<Arc<Scratch>>,
    /// What keeps what is overwritten in place.
    pub(super) start: Option<Arc<Start>>,
    /// What went wrong in a backing file has been explained.
    pub(super) is_explained: Arc<AtomicBool>,
    /// How many files have been opened for the topmost image.
    pub(super) files_opened: Arc<AtomicUsize>,
    /// The only files that there are, by name, instead of those of the host: nothing of the host is opened,
    /// and nobody waits.
    pub(super) memory: Option<Arc<BTreeMap<String, Vec<u8>>>>,
    /// What options refer to by name.
    pub(super) objects: Objects,
}

/// An open disk, and what became known on the way.
#[derive(Debug)]
pub(super) struct OpenedDisk {
    pub(super) disk: Disk,
    pub(super) format: &'static str,
    /// The format was not given, and nothing but raw fits.
    pub(super) guessed_raw: bool,
    pub(super) breakpoints: Option<Arc<dyn Breakpoints>>,
    /// It is a `blkdebug` node over an image.
    pub(super) debug: Option<DebugNode>,
    pub(super) layers: Vec<Layer>,
    /// The file at the bottom of the topmost image, if it lies in one.
    file: Option<Arc<OpenFile>>,
}

/// An open storage, and what became known on the way.
#[derive(Debug)]
pub(super) struct OpenedStorage {
    pub(super) storage: Arc<dyn Storage>,
    breakpoints: Option<Arc<dyn Breakpoints>>,
    /// The files that it lies in, those of all images of a chain among them.
    pub(super) files: FilesInUse,
    /// The file at the bottom.
    file: Option<Arc<OpenFile>>,
    /// Nothing lies between that has claimed the file for itself.
    is_unclaimed: bool,
}

impl OpenedStorage {
    /// Locks the file for what is done with it.
    pub(super) fn claim(&self, claim: Claim) -> Result<()> {
        match &self.file {
            Some(file) if self.is_unclaimed => file.claim(claim),
            _ => Ok(()),
        }
    }

    /// As a format gets it, which is not to flush where nothing is flushed: nobody hears of that step then.
    fn below_format(&self, inherited: Inherited) -> Arc<dyn Storage> {
        let storage = Arc::clone(&self.storage);
        match &self.breakpoints {
            Some(_) if inherited.no_flush => Arc::new(WithoutFlushes(storage)),
            _ => storage,
        }
    }
}

/// What a driver does with the file below it.
fn claim(driver: &str, access: Access, inherited: Inherited) -> Claim {
    claim_of(formats::has_metadata(driver), access, inherited)
}

pub(super) fn claim_of(has_metadata: bool, access: Access, inherited: Inherited) -> Claim {
    let writes = access == Access::ReadWrite;
    let read = writes || !inherited.describes;
    let mut unshared = Permissions { resize: inherited.fixed_length, ..Permissions::NONE };
    if !inherited.force_share && (has_metadata || inherited.unwritten) {
        unshared = Permissions::CHANGES;
    }
    let resize = writes && (has_metadata || inherited.fixed_length);
    Claim { uses: Permissions { read, write: writes, resize }, unshared }
}

impl Opener {
    /// Opens a node as a disk.
    pub(super) fn disk(&self, node: &Node, wanted: Access, inherited: Inherited) -> Result<OpenedDisk> {
        let access = access(&node.common, wanted)?;
        let inherited = inherit(&node.common, inherited, access)?;
        match &node.kind {
            Kind::Format(format) => {
                self.check_depth(&format.file)?;
                let opened = self.storage(&format.file, access, below_format(inherited))?;
                self.format(&node.common, format, opened, access, inherited)
            }
            Kind::Probe { options, file } => self.probe(&node.common, options, file, access, inherited),
            Kind::Filter { driver, file } => {
                let mut opened = self.filtered(driver, file, access, inherited)?;
                opened.disk = Filter::over(opened.disk, wishes(&node.common));
                Ok(opened)
            }
            Kind::Verify { raw, test } => self.verify(node, raw, test, access, inherited),
            Kind::Debug { image, config, rules, limits } if is_over_image(node) => {
                let options = DebugOptions { config: config.as_deref(), rules, limits: *limits };
                let mut opened = self.debugged(image, options, access, inherited)?;
                opened.disk = Filter::over(opened.disk, wishes(&node.common));
                Ok(opened)
            }
            Kind::File { .. } | Kind::Null { .. } | Kind::Nbd(_) | Kind::Debug { .. } => {
                let opened = self.storage(node, access, inherited)?;
                let format = match &node.kind {
                    Kind::File { is_device: true, .. } => "host_device",
                    Kind::File { .. } => "file",
                    Kind::Null { .. } => "null-co",
                    Kind::Nbd(_) => "nbd",
                    _ => "blkdebug",
                };
                opened.claim(claim(format, access, inherited))?;
                let mut options = Options::new();
                set_discard(&mut options, blk_raw::FORMAT.name(), inherited);
                let storage = Arc::new(WithoutSteps(Arc::clone(&opened.storage)));
                let disk = blk_raw::FORMAT.open(storage, access, options, &DenyResolver)?;
                let disk = Filter::over(disk, wishes(&node.common));
                let layers = vec![layer(node, format, &opened)];
                let OpenedStorage { breakpoints, file, .. } = opened;
                Ok(OpenedDisk { disk, format, guessed_raw: false, breakpoints, debug: None, layers, file })
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
        opened.claim(claim(format.driver, access, inherited))?;
        let node = Node { common: common.clone(), kind: Kind::Format(format.clone()) };
        let mut layers = vec![layer(&node, format.driver, &opened)];
        let mut above = self.above.clone();
        above.extend(opened.files.iter().cloned());
        let deeper = Self { above, depth: self.depth + 1, backing: None, ..self.clone() };
        let folder = opened.file.as_ref().and_then(|file| file.path().parent().map(Path::to_path_buf));
        let below = Inherited { fixed_length: false, ..inherited };
        let resolver = BackingResolver::new(deeper, shown(&node), folder, format, below);
        let mut options = format.options.clone();
        set_discard(&mut options, format.driver, inherited);
        for (name, is_wanted, value) in [
            ("backing", inherited.alone, "off"),
            ("check", inherited.for_check, "on"),
            ("locked", inherited.describes, "on"),
            ("open-data-file", inherited.describes, "off"),
        ] {
            if is_wanted && formats::open_option(format.driver, name).is_some() {
                options.set(name, value);
            }
        }
        let driver = registry().find(format.driver)?;
        let given = self.backing.clone().map(|disk| GivenBacking { disk, others: &resolver });
        let backing = given.as_ref().map_or(&resolver as &dyn Resolver, |given| given);
        let disk = driver.open(opened.below_format(inherited), access, options, backing)?;
        drop(given);
        resolver.finish(&mut layers);
        let OpenedStorage { breakpoints, file, .. } = opened;
        Ok(OpenedDisk {
            disk: Filter::over(disk, wishes(common)),
            format: format.driver,
            guessed_raw: false,
            breakpoints,
            debug: None,
            layers,
            file,
        })
    }

    /// Finds out the format. What the image lies in is opened once, or nested nodes would be opened again at
    /// each level; only when the format is known, its file is locked.
    fn probe(
        &self,
        common: &Common,
        options: &NodeOptions,
        file: &Node,
        access: Access,
        inherited: Inherited,
    ) -> Result<OpenedDisk> {
        self.check_depth(file)?;
        let looked = self.storage(file, access, below_format(inherited))?;
        let driver = registry().probe(&*looked.storage)?.name();
        let format = Format::over(driver, options.clone(), Box::new(file.clone()))?;
        let mut opened = self.format(common, &format, looked, access, inherited)?;
        if formats::features(driver).is_raw {
            opened.guessed_raw = true;
            if opened.disk.access() == Access::ReadWrite {
                opened.disk = RawGuard::over(opened.disk);
            }
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
        let mut other = self.clone();
        other.in_use.extend(files_of(&reference.layers));
        let tested = other.disk(test, access, Inherited { fixed_length: true, ..inherited })?;
        let policy = inherited.on_mismatch.policy();
        let driver = Verify::new(Arc::new(reference.disk), Arc::new(tested.disk), policy)?;
        let disk = Filter::over(Disk::new(driver, access), wishes(&node.common));
        let files = files_of(&reference.layers).chain(files_of(&tested.layers)).collect();
        let layers = vec![Layer {
            name: shown(node),
            format: "blkverify",
            storage: None,
            files,
            path: None,
            data_file: None,
            node: None,
        }];
        let breakpoints = reference.breakpoints.or(tested.breakpoints);
        Ok(OpenedDisk {
            disk,
            format: "blkverify",
            guessed_raw: false,
            breakpoints,
            debug: None,
            layers,
            file: None,
        })
    }

    /// Opens a node as the bytes under a format.
    pub(super) fn storage(&self, node: &Node, wanted: Access, inherited: Inherited) -> Result<OpenedStorage> {
        let access = access(&node.common, wanted)?;
        let inherited = inherit(&node.common, inherited, access)?;
        match &node.kind {
            Kind::File { name, locking, is_device } => {
                if *is_device && self.memory.is_none() {
                    check_is_device(name)?;
                }
                self.file(name, *locking, access, inherited)
            }
            Kind::Null { size, read_zeroes, latency_ns } => {
                let latency = Duration::from_nanos(if self.memory.is_some() { 0 } else { *latency_ns });
                let null = NullStorage { size: *size, read_zeroes: *read_zeroes, latency };
                Ok(OpenedStorage {
                    storage: Arc::new(null),
                    breakpoints: None,
                    files: Vec::new(),
                    file: None,
                    is_unclaimed: false,
                })
            }
            Kind::Nbd(nbd) => {
                if self.memory.is_some() {
                    let (name, reason) = (shown(node), "nothing is connected to here".to_owned());
                    return Err(Error::Unresolved { name, reason });
                }
                let (file, storage) = self.export(nbd, shown(node), access)?;
                let (breakpoints, files) = (None, vec![file]);
                Ok(OpenedStorage { storage, breakpoints, files, file: None, is_unclaimed: false })
            }
            Kind::Debug { image, config, rules, limits } => {
                let options = DebugOptions { config: config.as_deref(), rules, limits: *limits };
                let mut opened = self.storage(image, access, inherited)?;
                let (storage, breakpoints) = self.debug_storage(opened.storage, options, inherited)?;
                opened.storage = storage;
                opened.breakpoints = Some(breakpoints);
                Ok(opened)
            }
            Kind::Format(_) | Kind::Probe { .. } | Kind::Verify { .. } | Kind::Filter { .. } => {
                let opened = self.disk(node, access, inherited)?;
                let OpenedDisk { disk, breakpoints, layers, file, .. } = opened;
                let storage = Arc::new(DiskStorage::new(Arc::new(disk)));
                let files = files_of(&layers).collect();
                Ok(OpenedStorage { storage, breakpoints, files, file, is_unclaimed: false })
            }
        }
    }

    fn file(
        &self,
        name: &str,
        locking: Locking,
        access: Access,
        inherited: Inherited,
    ) -> Result<OpenedStorage> {
        if self.files_opened.fetch_add(1, Ordering::Relaxed) >= FILES_MAX {
            let reason = format!("an image has at most {FILES_MAX} files, backing files included");
            return Err(Error::Unresolved { name: name.to_owned(), reason });
        }
        if let Some(files) = &self.memory {
            let storage = Arc::new(MemoryStorage::from_bytes(in_memory(files, name)?));
            return Ok(OpenedStorage {
                storage,
                breakpoints: None,
                files: Vec::new(),
                file: None,
                is_unclaimed: false,
            });
        }
        let locking = if inherited.locking == Locking::Auto { locking } else { inherited.locking };
        let scratch = self.scratch.as_ref().filter(|_| access == Access::ReadWrite);
        let on_host = if scratch.is_some() { Access::ReadOnly } else { access };
        let file = Arc::new(OpenFile::open(name, on_host, access, locking)?);
        self.check_new(&file)?;
        let opened = |storage, is_unclaimed| OpenedStorage {
            storage,
            breakpoints: None,
            files: vec![Arc::clone(&file)],
            file: Some(Arc::clone(&file)),
            is_unclaimed,
        };
        if let Some(storage) = self.scratch.as_ref().and_then(|scratch| scratch.find(file.id())) {
            return Ok(opened(storage, false));
        }
        if let Some(scratch) = scratch {
            // It is only read because what is written goes elsewhere: nobody may change it meanwhile.
            file.claim(claim_of(true, Access::ReadOnly, inherited))?;
            return Ok(opened(scratch.add(file.id(), file.storage())?, false));
        }
        if let Some(origin) = self.scratch.as_ref().and_then(|scratch| scratch.origin(file.id())) {
            return Ok(opened(origin, false));
        }
        let wishes = HostWishes {
            no_flush: inherited.no_flush,
            keep_space: inherited.discard == Some(false),
            writes_short_zeroes: inherited.writes_short_zeroes,
        };
        let mut storage = HostStorage::over(file.storage(), wishes);
        if let Some(start) = self.start.as_ref().filter(|_| access == Access::ReadWrite) {
            storage = start.watch(&file, storage);
        }
        Ok(opened(storage, true))
    }
}

/// A file that exists in memory only.
pub(super) fn in_memory<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a [u8]> {
    let denied = || Error::Unresolved { name: name.to_owned(), reason: "nothing is opened here".to_owned() };
    files.get(name).map(Vec::as_slice).ok_or_else(denied)
}

/// What an image lies in: the format decides what it gives back; the file follows unless it says otherwise
/// itself. And it is the format that minds others. It is read, whatever of the format is described.
pub(super) fn below_format(inherited: Inherited) -> Inherited {
    Inherited { discard: None, describes: false, ..inherited }
}

/// All files of a chain.
fn files_of(layers: &[Layer]) -> impl Iterator<Item = Arc<OpenFile>> {
    layers.iter().flat_map(|layer| layer.files.iter().cloned())
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

fn set_discard(options: &mut Options, driver: &str, inherited: Inherited) {
    let is_known = formats::open_option(driver, "discard").is_some();
    if let Some(frees) = inherited.discard.filter(|_| is_known) {
        options.set("discard", if frees { "unmap" } else { "ignore" });
    }
}

fn wishes(common: &Common) -> Wishes {
    Wishes { detect_zeroes: common.detect_zeroes, ..Wishes::default() }
}

fn layer(node: &Node, format: &'static str, opened: &OpenedStorage) -> Layer {
    let storage = Some(Arc::clone(&opened.storage));
    let path = opened.file.as_ref().map(|file| file.path());
    let files = opened.files.clone();
    Layer { name: shown(node), format, storage, files, path, data_file: None, node: Some(node.clone()) }
}

pub(super) fn shown(node: &Node) -> String {
    node.name().unwrap_or_else(|| "json:{}".to_owned())
}
