//! What a driver under test can be made with, as data: its options, what values scenarios draw for them, and
//! the geometry that follows from them.
//!
//! A driver describes itself once, as a [`Space`]; what the options of its format take, and what they
//! contradict, stands in the format's list and nowhere else. Out of it scenarios are generated, mutated,
//! shrunk, written as text and as bytes; requests and sizes go around the edges that [`Geometry`] names.

mod knob;
mod plain;

use blk_core::{Condition, Conflict, Format, ShortText};

use crate::random::Random;
use crate::scenario::bounds::{LANES_MAX, PROBE_FLUSH_MAX};
use crate::scenario::{Backing, Config, OptionValues, Value};

pub use knob::{Drawn, Kind, Knob};
pub use plain::{ALIGNMENT, PLAIN, UNIT};

/// The option that said once, of one format, what the host demands: it is a field of all configurations
/// today.
const OLD_HOST_ALIGNMENT: &str = "x-alignment";

/// What a driver under test can be made with.
#[derive(Debug)]
pub struct Space {
    /// What the driver is called in errors, such as `log`.
    pub name: &'static str,
    /// Its options. They are only ever added, at the end: bytes have them in this order, but for those with a
    /// place of their own ([`Knob::place`]).
    pub knobs: &'static [Knob],
    /// Options that the driver does not have and that are no error: kept traces may have them.
    pub ignored: &'static [&'static str],
    /// How version 1 of the bytes form had its options, if it had a place for them.
    pub old_header: Option<&'static OldHeader>,
    /// The option that decides the unit of allocation, if one does: a power of two.
    pub unit: Option<&'static str>,
    /// The option that names the backing file, if a disk can lie over one: contradictions of other options
    /// may name it.
    pub backing_option: Option<&'static str>,
    /// Resolves contradictions between options, and with what the rest of the configuration says. All values
    /// are ones that the options take. It must change nothing the second time.
    pub legalize: fn(&mut OptionValues, &Config),
    /// The geometry of a legal configuration.
    pub geometry: fn(&Config) -> Geometry,
    /// The geometry as data, in place of [`Space::geometry`]: of a space that is read from a description.
    pub described: Option<Described>,
    /// Changes a drawn configuration where an option should depend on the size of the disk.
    pub tune: fn(&mut Config, &mut Random),
}

/// Bytes of the header of version 1 of the bytes form.
pub const OLD_HEADER_BYTES: usize = 32;

/// What a space says about the header of version 1 of the bytes form: new spaces have none.
#[derive(Debug)]
pub struct OldHeader {
    /// What is missing of a header that ends early.
    pub usual: [u8; OLD_HEADER_BYTES],
    /// The unit of allocation that a header asks for, bytes.
    pub unit_bytes: fn(&[u8; OLD_HEADER_BYTES]) -> u64,
    /// The options that a header asks for.
    pub options: fn(&[u8; OLD_HEADER_BYTES], Backing) -> OptionValues,
}

/// An option of an image, and the value that it is changed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amendment {
    /// `name=value`, at most [`ShortText::BYTES_MAX`] bytes.
    pub text: &'static str,
    /// Refused while the image has snapshots or dirty bitmaps.
    pub is_alone: bool,
}

impl Amendment {
    /// Of this text.
    pub const fn new(text: &'static str) -> Self {
        Self { text, is_alone: false }
    }

    /// Of this text, refused while the image has snapshots or dirty bitmaps.
    pub const fn alone(text: &'static str) -> Self {
        Self { text, is_alone: true }
    }

    /// As requests have it.
    pub fn option(&self) -> ShortText {
        ShortText::new(self.text).expect("lists have short texts")
    }
}

/// Where the interesting places of a disk are, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is about something else that images have")]
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
    /// Whether images hold snapshots that requests can be made of.
    pub snapshots: bool,
    /// Whether images hold dirty bitmaps that requests can be made of.
    pub bitmaps: bool,
    /// Whether zeroes take as much room in an image as data, as where all is encrypted: random disks are
    /// not far then.
    pub is_dense: bool,
    /// What images can be amended to. Bytes have them by place: they are only ever added, at the end.
    pub amendments: &'static [Amendment],
}

/// A geometry without a function. Where an option decides the unit, its value is the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// What it is where no option says otherwise.
    pub geometry: Geometry,
    /// Bytes of an entry of a table that fills a unit, and maps a unit by each entry; `None` where tables do
    /// not depend on the unit.
    pub table_entry_bytes: Option<u64>,
}

impl Described {
    fn of(self, unit_bytes: Option<u64>) -> Geometry {
        let unit_bytes = unit_bytes.unwrap_or(self.geometry.unit_bytes);
        let reach = |entry: u64| unit_bytes / entry.max(1) * unit_bytes;
        let table_reach_bytes = self.table_entry_bytes.map_or(self.geometry.table_reach_bytes, reach);
        Geometry { unit_bytes, table_reach_bytes, ..self.geometry }
    }
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
    /// Of a driver without options, of which nothing is known.
    pub const WITHOUT_OPTIONS: Self = Self {
        name: "a disk without options",
        knobs: &[],
        ignored: &[UNIT, ALIGNMENT],
        old_header: None,
        unit: None,
        backing_option: None,
        legalize: no_contradictions,
        geometry: |_| Geometry::default(),
        described: None,
        tune: not_tuned,
    };

    /// The space of a format, made of its options: those of its images, then those of an open; `unit` is the
    /// one that decides the unit of allocation. It is there for good: make one for each format.
    pub fn of_format(
        format: &'static dyn Format,
        unit: Option<&'static str>,
        geometry: fn(&Config) -> Geometry,
    ) -> Self {
        let mut knobs: Vec<Knob> = Vec::new();
        for (first, options) in [(0, format.create_options()), (1, format.open_options())] {
            for (index, knob) in options.iter().map(Knob::of_spec).enumerate() {
                let Some(knob) = knob.filter(|knob| knobs.iter().all(|known| known.name != knob.name)) else {
                    continue;
                };
                // Each list has every second place: both may grow at their ends, and what is left out now may
                // be built later.
                knobs.push(Knob { place: Some(first + 2 * index), ..knob });
            }
        }
        Self {
            name: format.name(),
            knobs: knobs.leak(),
            ignored: &[],
            old_header: None,
            unit,
            backing_option: None,
            legalize: no_contradictions,
            geometry,
            described: None,
            tune: not_tuned,
        }
    }

    /// The options with their places in the bytes form.
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, &'static Knob)> + use<> {
        self.knobs.iter().enumerate().map(|(index, knob)| (knob.place.unwrap_or(index), knob))
    }

    /// The option of that name.
    pub fn knob(&self, name: &str) -> Option<&'static Knob> {
        self.knobs.iter().find(|knob| knob.name == name)
    }

    /// The number that an option has in a configuration: the one that is given, or else the usual one.
    pub fn number(&self, config: &Config, name: &str) -> Option<u64> {
        let usual = self.knob(name).and_then(|knob| knob.usual.as_ref());
        match config.options.get(name).or(usual) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The geometry of a configuration.
    pub fn geometry(&self, config: &Config) -> Geometry {
        let unit = || self.unit.and_then(|name| self.number(config, name));
        let said = self.described.map_or_else(|| (self.geometry)(config), |described| described.of(unit()));
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
        if let Some(Value::Number(bytes)) = config.options.get(OLD_HOST_ALIGNMENT) {
            config.host_alignment = bytes.next_power_of_two().clamp(1, 4096) as u16;
            config.options.remove(OLD_HOST_ALIGNMENT);
        }
        config.probe_flush = config.probe_flush.min(PROBE_FLUSH_MAX);
        if (2..512).contains(&config.host_alignment) {
            config.host_alignment = 512;
        }
        if self.backing_option.is_none() {
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
        while self.drop_a_contradiction(&mut options, config) {}
        config.options = options;
    }

    /// Drops the first option that contradicts another one, as the format's list says. Returns whether there
    /// is one.
    fn drop_a_contradiction(&self, options: &mut OptionValues, config: &Config) -> bool {
        let contradicts = |knob: &&Knob| {
            let is_so = |conflict: &Conflict| {
                self.holds(options, config, knob.name, conflict.when)
                    && self.holds(options, config, conflict.other, conflict.and)
            };
            options.get(knob.name).is_some() && knob.conflicts.iter().any(is_so)
        };
        let Some(knob) = self.knobs.iter().find(contradicts) else { return false };
        options.remove(knob.name);
        true
    }

    /// Whether a condition holds of an option. One that the space does not have is never given.
    fn holds(&self, options: &OptionValues, config: &Config, name: &str, condition: Condition) -> bool {
        let is_given = options.get(name).is_some()
            || (self.backing_option == Some(name) && config.backing != Backing::None);
        let is = |word| self.knob(name).and_then(|knob| knob.is(options.get(name), word));
        match condition {
            Condition::Given => is_given,
            Condition::Missing => !is_given,
            Condition::Is(word) => is(word) == Some(true),
            Condition::IsNot(word) => is(word) == Some(false),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use blk_core::{OptionKind, OptionSpec, Range};

    const LAYOUT_IS_OLD: &[Conflict] = &[Conflict {
        when: Condition::Is("on"),
        other: "layout",
        and: Condition::Is("old"),
        reason: "the old layout has none",
    }];
    const OVER_A_BACKING_FILE: &[Conflict] = &[Conflict {
        when: Condition::IsNot("off"),
        other: "base",
        and: Condition::Given,
        reason: "it would hide the backing file",
    }];

    static OPTIONS: &[OptionSpec] = &[
        OptionSpec::new("layout", OptionKind::Choice(&["old", "new"]), "").with_default("new"),
        OptionSpec::new("sums", OptionKind::Switch, "").with_default("off").with_conflicts(LAYOUT_IS_OLD),
        OptionSpec::new("filled", OptionKind::Choice(&["off", "all"]), "")
            .with_default("off")
            .with_conflicts(OVER_A_BACKING_FILE),
        OptionSpec::new("unit", OptionKind::Size(Range::powers_of_two(512, 4096)), "").with_default("1024"),
    ];

    static SPACE: Space = Space {
        name: "a format",
        knobs: &[
            Knob::of_option(OPTIONS, "layout", &[]),
            Knob::of_option(OPTIONS, "sums", &[]),
            Knob::of_option(OPTIONS, "filled", &[]),
            Knob::of_option(OPTIONS, "unit", &[]),
        ],
        ignored: &[],
        old_header: None,
        unit: Some("unit"),
        backing_option: Some("base"),
        legalize: no_contradictions,
        geometry: |_| Geometry::default(),
        described: None,
        tune: not_tuned,
    };

    fn legal(options: &[(&'static str, &str)], backing: Backing) -> String {
        let mut config = Config { backing, ..Config::default() };
        for (name, value) in options {
            config = config.with(name, value);
        }
        let legal = SPACE.legal(&config);
        assert!(SPACE.is_legal(&legal));
        let shown: Vec<String> =
            legal.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        shown.join(" ")
    }

    #[test]
    fn what_the_format_s_list_contradicts_is_dropped() {
        assert_eq!(legal(&[("sums", "on")], Backing::None), "sums=on");
        assert_eq!(legal(&[("sums", "on"), ("layout", "old")], Backing::None), "layout=old");
        assert_eq!(legal(&[("filled", "all")], Backing::None), "filled=all");
        assert_eq!(legal(&[("filled", "all"), ("layout", "old")], Backing::Raw), "layout=old");
    }

    #[test]
    fn a_number_is_the_given_or_the_usual_one() {
        let config = Config::default();
        assert_eq!(SPACE.number(&config, "unit"), Some(1024));
        assert_eq!(SPACE.number(&config.clone().with("unit", "512"), "unit"), Some(512));
        assert_eq!(SPACE.number(&config, "layout"), None);
    }
}
