//! What a driver crate plugs in: a [`Format`], and the gate for names found inside an image, a [`Resolver`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::signature::{self, PROBED_BYTES};
use crate::{Access, Disk, Error, Result, Storage, parse_integer, parse_size};

/// Options of an open or a create: names and values as they stand on a command line.
///
/// A format takes out what it knows and refuses the rest by name with [`Options::finish`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    values: BTreeMap<String, String>,
}

/// A value for [`Options`], from a text or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionValue(String);

impl From<&str> for OptionValue {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for OptionValue {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<u64> for OptionValue {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl Options {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with `name` set to `value`; a later value replaces an earlier one.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OptionValue>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets `name` to `value`.
    pub fn set(&mut self, name: &str, value: impl Into<OptionValue>) {
        self.values.insert(name.to_owned(), value.into().0);
    }

    /// Takes out the value of `name`.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// Takes out the size `name`, as [`parse_size`] reads it.
    pub fn take_size(&mut self, name: &'static str) -> Result<Option<u64>> {
        let Some(text) = self.take(name) else { return Ok(None) };
        parse_size(&text).map(Some).map_err(|error| Error::invalid_option(name, format!("'{text}' {error}")))
    }

    /// Takes out the whole number `name`, as [`parse_integer`] reads it.
    pub fn take_number(&mut self, name: &'static str) -> Result<Option<u64>> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let number = parse_integer(&text).and_then(|number| u64::try_from(number).ok());
        number.map(Some).ok_or_else(|| Error::invalid_option(name, format!("'{text}' is not a whole number")))
    }

    /// Takes out the switch `name`: `on` or `off`.
    pub fn take_switch(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("on" | "true" | "yes") => Ok(Some(true)),
            Some("off" | "false" | "no") => Ok(Some(false)),
            Some(other) => Err(Error::invalid_option(name, format!("'{other}' is neither on nor off"))),
        }
    }

    /// Refuses whatever nobody has taken out.
    pub fn finish(self, format: &str) -> Result<()> {
        match self.values.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::invalid_option(name, format!("unknown to format '{format}'"))),
        }
    }
}

impl IntoIterator for Options {
    type Item = (String, String);
    type IntoIter = std::collections::btree_map::IntoIter<String, String>;

    /// Names and values, in the order of the names.
    fn into_iter(self) -> Self::IntoIter {
        self.values.into_iter()
    }
}

/// One option of a format, for help texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionHelp {
    /// Its name.
    pub name: &'static str,
    /// What values it takes, such as `size`, `on|off`.
    pub values: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

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
}

/// Opens nothing: for untrusted images.
#[derive(Debug, Clone, Copy, Default)]
pub struct DenyResolver;

impl Resolver for DenyResolver {
    fn open_backing(&self, name: &str, _format: Option<&str>) -> Result<Arc<Disk>> {
        Err(Error::Unresolved {
            name: name.to_owned(),
            reason: "names inside an image are not opened here".to_owned(),
        })
    }
}

/// Opens disks that the caller has prepared, by name: for tests and embedders.
#[derive(Debug, Clone, Default)]
pub struct MapResolver {
    disks: BTreeMap<String, Arc<Disk>>,
}

impl MapResolver {
    /// A resolver that knows one disk.
    pub fn single(name: &str, disk: Arc<Disk>) -> Self {
        Self { disks: BTreeMap::from([(name.to_owned(), disk)]) }
    }

    /// Adds a disk under a name.
    pub fn insert(&mut self, name: &str, disk: Arc<Disk>) {
        self.disks.insert(name.to_owned(), disk);
    }
}

impl Resolver for MapResolver {
    fn open_backing(&self, name: &str, _format: Option<&str>) -> Result<Arc<Disk>> {
        self.disks.get(name).cloned().ok_or_else(|| Error::Unresolved {
            name: name.to_owned(),
            reason: "no disk was prepared under this name".to_owned(),
        })
    }
}

/// A disk-image format: opens and creates images over a [`Storage`].
pub trait Format: Debug + Send + Sync {
    /// Its name, as on a command line.
    fn name(&self) -> &'static str;

    /// How sure the format is, 0 to 100, that an image which starts with `start`, its first sector, is its own. A format that
    /// takes any bytes, as raw, says 1: it gets only what looks like no other format.
    fn probe(&self, start: &[u8]) -> u8;

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

    /// The options that [`Format::open`] knows.
    fn open_options(&self) -> &'static [OptionHelp] {
        &[]
    }

    /// The options that [`Format::create`] knows.
    fn create_options(&self) -> &'static [OptionHelp] {
        &[]
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

    /// The format that claims the content of `storage` most surely; the first of equals.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`] if it looks like another format, and so the one that takes anything must not have it.
    pub fn probe(&self, storage: &dyn Storage) -> Result<&'static dyn Format> {
        let mut start = [0; PROBED_BYTES];
        storage.read_at(0, &mut start)?;
        match self.surest(&start) {
            Some((sure, format)) if sure > TAKES_ANYTHING => Ok(format),
            fallback => match (signature::format_of(storage)?, fallback) {
                (Some(name), _) => Err(Error::UnknownFormat { name }),
                (None, Some((_, format))) => Ok(format),
                (None, None) => Err(Error::unsupported("no known format fits the image")),
            },
        }
    }

    /// What an image that begins with `start` is taken for, other than the format that takes anything: a format here, or one
    /// that others know.
    pub fn claimed_by(&self, start: &[u8]) -> Option<&'static str> {
        let claimed = self.surest(start).filter(|(sure, _)| *sure > TAKES_ANYTHING);
        claimed.map(|(_, format)| format.name()).or_else(|| signature::format_of_start(start))
    }

    /// The format that is surest of `start`, and how sure it is.
    fn surest(&self, start: &[u8]) -> Option<(u8, &'static dyn Format)> {
        let sure = self.formats.iter().map(|format| (format.probe(start), *format));
        sure.filter(|(sure, _)| *sure > 0).reduce(|best, other| if other.0 > best.0 { other } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_nobody_takes_are_refused_by_name() {
        let mut options = Options::new().with("size", "1M").with("colour", "red");
        assert_eq!(options.take_size("size").unwrap(), Some(1 << 20));
        let error = options.finish("raw").unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
    }
}
