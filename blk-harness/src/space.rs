//! What a driver under test can be made with, as data: its options, what values scenarios draw for them, and
//! the geometry that follows from them.
//!
//! A driver describes itself once, as a [`Space`]. Out of it scenarios are generated, mutated, shrunk,
//! written as text and as bytes; requests and sizes go around the edges that [`Geometry`] names.

mod knob;
mod plain;

use crate::random::Random;
use crate::scenario::bounds::LANES_MAX;
use crate::scenario::{Backing, Config, OptionValues, Value};

pub use knob::{Kind, Knob};
pub use plain::{ALIGNMENT, PLAIN, UNIT};

/// What a driver under test can be made with.
#[derive(Debug)]
pub struct Space {
    /// What the driver is called in errors, such as `qcow2`.
    pub name: &'static str,
    /// Its options. They are only ever added, at the end: bytes have them in this order.
    pub knobs: &'static [Knob],
    /// Options that the driver does not have and that are no error: kept traces may have them.
    pub ignored: &'static [&'static str],
    /// The option that decides the unit of allocation, if one does: a power of two.
    pub unit: Option<&'static str>,
    /// Whether a disk can lie over a backing file.
    pub has_backing: bool,
    /// Resolves contradictions between options, and with what the rest of the configuration says. All values
    /// are ones that the options take. It must change nothing the second time.
    pub legalize: fn(&mut OptionValues, &Config),
    /// The geometry of a legal configuration.
    pub geometry: fn(&Config) -> Geometry,
    /// Changes a drawn configuration where an option should depend on the size of the disk.
    pub tune: fn(&mut Config, &mut Random),
}

/// Where the interesting places of a disk are, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Geometry {
    /// What is allocated as one: a cluster, a block, a grain.
    pub unit_bytes: u64,
    /// What one table, or the part of it that is cached as one, maps.
    pub table_reach_bytes: u64,
    /// What is compressed as one; `None` if compressed writes are not supported.
    pub compressed_unit_bytes: Option<u64>,
    /// Requests, and the size of the disk, have to be multiples of this power of two; 1 for any.
    pub alignment_bytes: u64,
    /// Whether the size of the disk is the length of its file, as for raw: a failed sync that loses a growth
    /// makes it smaller.
    pub size_is_file_length: bool,
}

impl Geometry {
    /// What a compressed write fills with data in part, so that it shrinks.
    pub(crate) fn fill_bytes(&self) -> u64 {
        self.compressed_unit_bytes.unwrap_or(self.unit_bytes)
    }

    /// A number of bytes without what exceeds the alignment.
    pub(crate) fn align_down(&self, bytes: u64) -> u64 {
        bytes & !(self.alignment_bytes - 1)
    }

    /// A range of whole alignment units around, or at the end of, a range.
    pub(crate) fn align(&self, (offset, length): (u64, u64)) -> (u64, u64) {
        let start = self.align_down(offset);
        let end = offset.saturating_add(length);
        // Past the last multiple there is none: down it goes.
        let end = end.checked_next_multiple_of(self.alignment_bytes).unwrap_or(self.align_down(end));
        (start, if length == 0 { 0 } else { end - start })
    }
}

impl Space {
    /// The option of that name.
    pub fn knob(&self, name: &str) -> Option<&'static Knob> {
        self.knobs.iter().find(|knob| knob.name == name)
    }

    /// The geometry of a configuration.
    pub fn geometry(&self, config: &Config) -> Geometry {
        let said = (self.geometry)(config);
        let unit_bytes = said.unit_bytes.max(1);
        let alignment_bytes = said.alignment_bytes.max(1);
        assert!(alignment_bytes.is_power_of_two(), "{}: an alignment of {alignment_bytes} bytes", self.name);
        Geometry {
            unit_bytes,
            table_reach_bytes: said.table_reach_bytes.max(unit_bytes),
            compressed_unit_bytes: said.compressed_unit_bytes.map(|bytes| bytes.max(1)),
            alignment_bytes,
            ..said
        }
    }

    /// Refuses options that the driver does not have, and values that they do not take.
    ///
    /// # Errors
    /// A text that names the option, and what would be right.
    pub fn check(&self, config: &Config) -> Result<(), String> {
        for (name, value) in config.options.iter() {
            match self.knob(name) {
                None if self.ignored.contains(&name) => {}
                None => return Err(self.unknown(name)),
                Some(knob) if !knob.takes(value) => {
                    return Err(format!("{name}={value} is no option of {}: it takes {knob}", self.name));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<&str> = self.knobs.iter().map(|knob| knob.name).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        format!("{} has no option '{name}'; known are {known}", self.name)
    }

    /// Makes a configuration legal, changing nothing that already is. Sizes stay: what is too large for the
    /// format is for the driver to refuse. Options that the driver does not have are dropped.
    pub fn legalize(&self, config: &mut Config) {
        config.lanes = config.lanes.min(LANES_MAX);
        config.atom_bytes = if config.atom_bytes == 4096 { 4096 } else { 512 };
        if !self.has_backing {
            config.backing = Backing::None;
        }
        if config.backing == Backing::None {
            config.backing_bytes = 0;
        }
        let mut options = std::mem::take(&mut config.options);
        let is_unusual = |name: &str, value: &Value| {
            self.knob(name).is_some_and(|knob| knob.usual.as_ref() != Some(value) && knob.takes(value))
        };
        options.retain(is_unusual);
        (self.legalize)(&mut options, config);
        options.retain(is_unusual);
        config.options = options;
    }

    /// The configuration, made legal.
    #[must_use]
    pub fn legal(&self, config: &Config) -> Config {
        let mut legal = config.clone();
        self.legalize(&mut legal);
        legal
    }

    /// Whether [`Space::legalize`] would change nothing.
    pub fn is_legal(&self, config: &Config) -> bool {
        self.legal(config) == *config
    }

    /// Options for a fresh configuration, drawn by their weights.
    pub(crate) fn draw(&self, rng: &mut Random) -> OptionValues {
        let mut options = OptionValues::default();
        for knob in self.knobs {
            options.set(knob.name, knob.draw(rng).filter(|value| knob.usual.as_ref() != Some(value)));
        }
        options
    }

    /// The option that decides the unit, with the value that it has.
    pub(crate) fn unit(&self, config: &Config) -> Option<Unit> {
        let name = self.unit?;
        let knob = self.knob(name)?;
        let Some(Value::Number(usual)) = knob.usual else { return None };
        let value = config.options.number(name).filter(|value| value.is_power_of_two()).unwrap_or(usual);
        Some(Unit { name, usual, value })
    }
}

/// The value of the option that decides the unit, and its usual one: powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    pub(crate) usual: u64,
    pub(crate) value: u64,
}

impl Unit {
    /// How many doublings lie between its value and the usual one.
    pub(crate) fn distance(self) -> u32 {
        self.value.max(1).ilog2().abs_diff(self.usual.max(1).ilog2())
    }

    /// Gives the option of `config` a value.
    pub(crate) fn set(self, config: &mut Config, value: u64) {
        config.options.set(self.name, Some(Value::Number(value)).filter(|_| value != self.usual));
    }
}

/// No contradictions.
pub fn no_contradictions(_options: &mut OptionValues, _config: &Config) {}

/// Nothing depends on the size of the disk.
pub fn not_tuned(_config: &mut Config, _rng: &mut Random) {}
