//! Options as data: what an option is called, which values it takes, and what contradicts what.
//!
//! A [`crate::Format`] lists its options once, as [`OptionSpec`]s. Parsing and its errors, help texts,
//! completion and the space that generators draw from all come from that list. Programs collect what a user
//! gives in [`Options`]; a driver turns them into [`TypedOptions`] by its list, and takes typed values out.

mod spec;
mod typed;

use std::collections::BTreeMap;

use crate::{Error, Result};

pub use spec::{Condition, Conflict, OptionKind, OptionSpec, Range, Step, Support, parse_switch};
pub use typed::{TypedOptions, TypedValue};

/// Options of an open or a create: names and values as they stand on a command line.
///
/// A format reads them by its list, with [`Options::typed`].
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

    /// The value of `name`, as it was given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Takes out the value of `name`.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// Reads all values by the list of what `format` takes.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] names the option, its value and what is allowed: for a name that the list
    /// does not have, a value that is illegal, or two options that contradict each
    /// other. [`Error::Unsupported`] for what is known but not built.
    pub fn typed(self, format: &str, specs: &'static [OptionSpec]) -> Result<TypedOptions> {
        TypedOptions::read(self, format, specs, Support::Built)
    }

    /// As [`Options::typed`], but takes what is known and not built, and leaves contradictions to
    /// [`TypedOptions::check_conflicts`]: to tell about images that other programs make.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a name that the list does not have, or a value that is illegal.
    pub fn typed_of_others(self, format: &str, specs: &'static [OptionSpec]) -> Result<TypedOptions> {
        TypedOptions::read(self, format, specs, Support::NotBuilt)
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

#[cfg(test)]
mod tests;
