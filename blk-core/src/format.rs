//! What a driver crate plugs in: a [`Format`], and the gate for names found inside an image, a [`Resolver`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::signature::{self, PROBED_BYTES};
use crate::storage::Step;
use crate::{
    Access, CheckReport, Disk, Error, OptionSpec, Options, Region, RepairMode, Result, Secret, Storage,
};

/// Who may open a name that was found inside an image. Nothing else does.
pub trait Resolver: Debug + Send + Sync {
    /// Opens the backing file `name` read-only, as `format` if the image says one.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where the name may not or cannot be opened, or refers back to the image.
    fn open_backing(&self, name: &str, format: Option<&str>) -> Result<Arc<Disk>>;

    /// A disk that the caller puts below an image which names none. Mostly there is none.
    fn default_backing(&self) -> Result<Option<Arc<Disk>>> {
        Ok(None)
    }

    /// Opens the file `name` as plain bytes: an extent, a data file, a log.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where the name may not or cannot be opened, as by this default.
    fn open_storage(&self, name: &str, access: Access) -> Result<Arc<dyn Storage>> {
        let _ = access;
        Err(denied(name))
    }

    /// The secret that the caller knows as `id`: the passphrase of an encrypted image. Options name it and
    /// never hold it.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where there is none, as by this default.
    fn secret(&self, id: &str) -> Result<Secret> {
        Err(Error::Unresolved {
            name: id.to_owned(),
            reason: "no secret is known under this name".to_owned(),
        })
    }
}

fn denied(name: &str) -> Error {
    let reason = "names inside an image are not opened here".to_owned();
    Error::Unresolved { name: name.to_owned(), reason }
}

/// Opens nothing: for untrusted images.
#[derive(Debug, Clone, Copy, Default)]
pub struct DenyResolver;

impl Resolver for DenyResolver {
    fn open_backing(&self, name: &str, _format: Option<&str>) -> Result<Arc<Disk>> {
        Err(denied(name))
    }
}

/// Opens what the caller has prepared, by name: for tests and embedders.
#[derive(Debug, Clone, Default)]
pub struct MapResolver {
    disks: BTreeMap<String, Arc<Disk>>,
    storages: BTreeMap<String, (Arc<dyn Storage>, Access)>,
    secrets: BTreeMap<String, Secret>,
}

impl MapResolver {
    /// A resolver that knows one disk.
    pub fn single(name: &str, disk: Arc<Disk>) -> Self {
        Self { disks: BTreeMap::from([(name.to_owned(), disk)]), ..Self::default() }
    }

    /// Adds a disk under a name.
    pub fn insert(&mut self, name: &str, disk: Arc<Disk>) {
        self.disks.insert(name.to_owned(), disk);
    }

    /// Adds a storage under a name, for `access` at most.
    pub fn insert_storage(&mut self, name: &str, storage: Arc<dyn Storage>, access: Access) {
        self.storages.insert(name.to_owned(), (storage, access));
    }

    /// Adds a secret under a name.
    pub fn insert_secret(&mut self, id: &str, secret: Secret) {
        self.secrets.insert(id.to_owned(), secret);
    }
}

impl Resolver for MapResolver {
    fn open_backing(&self, name: &str, _format: Option<&str>) -> Result<Arc<Disk>> {
        self.disks.get(name).cloned().ok_or_else(|| Error::Unresolved {
            name: name.to_owned(),
            reason: "no disk was prepared under this name".to_owned(),
        })
    }

    fn open_storage(&self, name: &str, access: Access) -> Result<Arc<dyn Storage>> {
        let refused = |reason: &str| Error::Unresolved { name: name.to_owned(), reason: reason.to_owned() };
        match self.storages.get(name) {
            None => Err(refused("no storage was prepared under this name")),
            Some((_, Access::ReadOnly)) if access == Access::ReadWrite => Err(refused("it is read-only")),
            Some((storage, _)) => Ok(Arc::clone(storage)),
        }
    }

    fn secret(&self, id: &str) -> Result<Secret> {
        let reason = || "no secret was prepared under this name".to_owned();
        let known = self.secrets.get(id).cloned();
        known.ok_or_else(|| Error::Unresolved { name: id.to_owned(), reason: reason() })
    }
}

/// What a format can see of a file to find out whether it is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe<'a> {
    /// The first sector; zeroes follow where the file is shorter.
    pub start: &'a [u8],
    /// The last 512 bytes of the file, for formats that have a footer; empty where the file is shorter, or
    /// where only the start has been looked at so far.
    pub end: &'a [u8],
    /// Length of the file in bytes.
    pub length: u64,
}

impl<'a> Probe<'a> {
    /// Of a file that begins so, of which nothing else is known.
    pub const fn of_start(start: &'a [u8]) -> Self {
        Self { start, end: &[], length: start.len() as u64 }
    }
}

/// What images of a format can do, as far as programs have to know before they have one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub struct Features {
    /// The bytes of the file are the bytes of the disk: without metadata, a file of this format is open to
    /// programs that share it, and needs no other length than the disk's.
    pub is_raw: bool,
    /// An image may lie over a backing file.
    pub backing: bool,
    /// Data may be stored compressed.
    pub compression: bool,
    /// An image may hold dirty bitmaps.
    pub bitmaps: bool,
    /// An image is recognised by its last sector, [`Probe::end`].
    pub has_footer: bool,
}

/// How large a new image would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Bytes of the file with the whole disk allocated.
    pub fully_allocated: u64,
    /// What is allocated at once, in bytes: a cluster, or 1.
    pub unit_bytes: u64,
    /// A new file has that length from the start, whatever is written.
    pub allocates_all: bool,
    /// The image could hold dirty bitmaps.
    pub bitmaps: bool,
}

/// A disk-image format: opens and creates images over a [`Storage`].
pub trait Format: Debug + Send + Sync {
    /// Its name, as on a command line.
    fn name(&self) -> &'static str;

    /// How sure the format is, 0 to 100, that an image is its own. A format that takes any bytes, as raw,
    /// says 1: it gets only what looks like no other format.
    ///
    /// It is asked by the start of the file first, and with its end only where no format is surer than 1 of
    /// the start.
    fn probe(&self, probe: &Probe<'_>) -> u8;

    /// Opens the image on `storage`.
    fn open(
        &self,
        storage: Arc<dyn Storage>,
        access: Access,
        options: Options,
        resolver: &dyn Resolver,
    ) -> Result<Disk>;

    /// Makes a new image of `size` bytes on `storage`, replacing what was there.
    fn create(&self, storage: &Arc<dyn Storage>, size: u64, options: Options) -> Result<()>;

    /// As [`Format::create`], with who opens the names and knows the secrets that options name. A format
    /// whose options name nothing, as this default, does not ask.
    fn create_with(
        &self,
        storage: &Arc<dyn Storage>,
        size: u64,
        options: Options,
        resolver: &dyn Resolver,
    ) -> Result<()> {
        let _ = resolver;
        self.create(storage, size, options)
    }

    /// The options that [`Format::open`] takes.
    fn open_options(&self) -> &'static [OptionSpec] {
        &[]
    }

    /// The options of a new image, in the order in which programs show them.
    fn create_options(&self) -> &'static [OptionSpec] {
        &[]
    }

    /// Whether the bytes of a new disk are whatever they are: zeroes have to be written where they are
    /// wanted.
    fn starts_as_noise(&self) -> bool {
        false
    }

    /// The options that [`crate::Amend`] takes.
    fn amend_options(&self) -> &'static [OptionSpec] {
        &[]
    }

    /// The steps that its driver names to the storage, see [`Storage::step`].
    fn steps(&self) -> &'static [&'static Step] {
        &[]
    }

    /// What its images can do.
    fn features(&self) -> Features {
        Features::default()
    }

    /// Checks the metadata of the image on `storage`, whoever has made it and whether or not it can be
    /// opened, and repairs what `repair` allows. `None` where the format has nothing to check. No disk that
    /// is open over the storage makes a request, or is closed, after a repair.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Unsupported`] where the header says too little to begin with.
    fn check(&self, storage: &Arc<dyn Storage>, repair: RepairMode) -> Result<Option<CheckReport>> {
        let _ = (storage, repair);
        Ok(None)
    }

    /// What the bytes of the image on `storage` are for: regions in order, without gaps, up to the end of the
    /// file. `None` where the format does not tell.
    ///
    /// # Errors
    /// As of [`Format::check`].
    fn layout(&self, storage: &Arc<dyn Storage>) -> Result<Option<Vec<Region>>> {
        let _ = storage;
        Ok(None)
    }

    /// How large a new image of `size` bytes would be. It takes the options of [`Format::create`], and those
    /// that it knows without having built them.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] as for [`Format::create`]; [`Error::Unsupported`] where the format cannot
    /// tell.
    fn measure(&self, size: u64, options: Options) -> Result<Measure> {
        let _ = (size, options);
        Err(Error::unsupported(format!("measuring images of format '{}'", self.name())))
    }
}

/// How sure a format is that any image could be its own.
const TAKES_ANYTHING: u8 = 1;

/// The formats that a program knows, in the order of preference.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    formats: Vec<&'static dyn Format>,
}

impl Registry {
    /// A registry of these formats.
    pub fn new(formats: impl IntoIterator<Item = &'static dyn Format>) -> Self {
        Self { formats: formats.into_iter().collect() }
    }

    /// The names of the formats.
    pub fn names(&self) -> Vec<&'static str> {
        self.formats.iter().map(|format| format.name()).collect()
    }

    /// The format of that name.
    pub fn find(&self, name: &str) -> Result<&'static dyn Format> {
        self.formats.iter().copied().find(|format| format.name() == name).ok_or_else(|| {
            Error::invalid_option(
                "format",
                format!("'{name}' is unknown; known are {}", self.names().join(", ")),
            )
        })
    }

    /// The formats, in the order of preference.
    pub fn formats(&self) -> impl Iterator<Item = &'static dyn Format> {
        self.formats.iter().copied()
    }

    /// What images of the format of that name can do; nothing where the name is no format's.
    pub fn features(&self, name: &str) -> Features {
        self.find(name).map_or_else(|_| Features::default(), Format::features)
    }

    /// The format that claims the content of `storage` most surely; the first of equals. The end of the file
    /// is looked at only where its start says nothing.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`] if it looks like another format, and so the one that takes anything must not
    /// have it.
    pub fn probe(&self, storage: &dyn Storage) -> Result<&'static dyn Format> {
        let mut start = [0; PROBED_BYTES];
        storage.read_at(0, &mut start)?;
        let length = storage.len()?;
        if let Some(name) = self.claimed_by(&Probe { start: &start, end: &[], length }) {
            return self.find(name).map_err(|_| Error::UnknownFormat { name });
        }
        let mut end = [0; PROBED_BYTES];
        let end = match length.checked_sub(PROBED_BYTES as u64) {
            Some(offset) => {
                storage.read_at(offset, &mut end)?;
                &end[..]
            }
            None => &[],
        };
        let probe = Probe { start: &start, end, length };
        match (self.claimed_by(&probe), self.surest(&probe)) {
            (Some(name), _) => self.find(name).map_err(|_| Error::UnknownFormat { name }),
            (None, Some((_, format))) => Ok(format),
            (None, None) => Err(Error::unsupported("no known format fits the image")),
        }
    }

    /// The format that is surest that an image is its own.
    pub fn opened_by(&self, probe: &Probe<'_>) -> Option<&'static dyn Format> {
        self.surest(probe).map(|(_, format)| format)
    }

    /// What an image is taken for, other than the format that takes anything: a format here, or one that
    /// others know.
    pub fn claimed_by(&self, probe: &Probe<'_>) -> Option<&'static str> {
        let claimed = self.surest(probe).filter(|(sure, _)| *sure > TAKES_ANYTHING);
        claimed.map(|(_, format)| format.name()).or_else(|| signature::format_of(probe))
    }

    /// The format that is surest of an image, and how sure it is.
    fn surest(&self, probe: &Probe<'_>) -> Option<(u8, &'static dyn Format)> {
        let sure = self.formats.iter().map(|format| (format.probe(probe), *format));
        let sure = sure.inspect(|(sure, format)| assert!(*sure <= 100, "{} is {sure} sure", format.name()));
        sure.filter(|(sure, _)| *sure > 0).reduce(|best, other| if other.0 > best.0 { other } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, MemoryStorage};

    #[test]
    fn nothing_is_opened_for_those_who_deny() {
        let unresolved = [
            DenyResolver.open_backing("a", None).unwrap_err(),
            DenyResolver.open_storage("a", Access::ReadOnly).unwrap_err(),
            DenyResolver.secret("a").unwrap_err(),
        ];
        for error in unresolved {
            assert_eq!(error.kind(), ErrorKind::Unresolved);
            assert!(error.to_string().starts_with("cannot open 'a': "), "{error}");
        }
    }

    #[test]
    fn what_was_prepared_is_found_by_its_name_and_no_further() {
        let mut resolver = MapResolver::default();
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(b"extent"));
        resolver.insert_storage("flat.vmdk", Arc::clone(&storage), Access::ReadOnly);
        resolver.insert_secret("key", Secret::from(b"open sesame".to_vec()));
        assert_eq!(resolver.open_storage("flat.vmdk", Access::ReadOnly).unwrap().len().unwrap(), 6);
        assert!(resolver.open_storage("flat.vmdk", Access::ReadWrite).is_err(), "it is for reading only");
        assert!(
            resolver.open_storage("key", Access::ReadOnly).is_err() && resolver.secret("flat.vmdk").is_err()
        );
        assert_eq!(resolver.secret("key").unwrap().expose(), b"open sesame");
        assert!(!format!("{resolver:?}").contains("sesame"), "{resolver:?}");
    }
}
