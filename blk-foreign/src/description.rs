//! A foreign driver as a TOML file: how it starts, how an image is made, opened, closed, checked and
//! repaired, which options it has, and which of its deviations are known.
//!
//! `drivers/qemu-qcow2.toml` is an example with a word on each field.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use blk_core::parse_size;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::deviation::Deviation;
use crate::known;

/// What a TOML file says of a driver in another process.
///
/// Texts may have placeholders: `{n}` is the number of the open, `{medium}` the socket of the medium,
/// `{control}` that of the control channel, which a process listens on, or `{port}` a UDP port of this host
/// that it sends its greeting to from one of its own, which is faster; `{export}` is the socket of the
/// driver's own NBD server, `{file}` the image file, `{here}` the folder of the TOML file, `{size}` the size
/// of the disk in bytes, `{discard}` is `unmap` or `ignore`. An argument that is `{options}` is all options
/// of the image, as `NAME=VALUE,...`; without any it goes, and the argument before it too. A member
/// `"{options}"` of a JSON object is replaced by the options of an open.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Description {
    /// What the driver is called.
    pub name: String,
    /// What it is, in one line.
    pub about: String,
    /// The programs that it needs, and the Debian packages that have them.
    #[serde(default)]
    pub programs: BTreeMap<String, String>,
    /// What it keeps its image in.
    pub medium: Medium,
    /// How its process starts.
    pub process: Process,
    /// How an image is made; without it a zeroed medium is one.
    pub create: Option<Program>,
    /// How a fresh image is given another size, where that is quicker than to make a new one. The first image
    /// of a run is made, and the others are made out of it. So it is for formats in which a resized image is
    /// like a new one, but for what differs from image to image anyhow, such as keys.
    pub resize: Option<Program>,
    /// How an image is opened in a process that has a control channel.
    #[serde(default)]
    pub open: Vec<Step>,
    /// How it is closed.
    #[serde(default)]
    pub close: Vec<Step>,
    /// The name of the export that shows the disk.
    #[serde(default)]
    pub export: String,
    /// How an image file is checked.
    pub check: Option<Program>,
    /// How an image file is repaired.
    pub repair: Option<Program>,
    /// One of our formats: images are opened by our driver too.
    pub format: Option<String>,
    /// Where the interesting places of the disk are.
    #[serde(default)]
    pub geometry: Units,
    /// Its options.
    #[serde(default, rename = "option")]
    pub options: Vec<OptionDescription>,
    /// What is known to be wrong with it.
    #[serde(default, rename = "deviation")]
    pub deviations: Vec<Deviation>,
    /// Another driver, all of whose deviations are known of this one too: the name of one that comes with us,
    /// or a file `NAME.toml`, relative to the folder of this one.
    pub deviations_of: Option<String>,
    /// How a person makes the same requests with the driver's own tools.
    pub reproduce: Option<Reproduce>,
    /// The folder of the file that says this, which texts call `{here}`.
    #[serde(skip)]
    pub here: String,
}

/// What an image lies in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Medium {
    /// Which one.
    pub kind: MediumKind,
    /// Room for growth behind the image, bytes: NBD cannot grow.
    #[serde(default, deserialize_with = "size")]
    pub room: u64,
}

/// Kinds of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediumKind {
    /// Our NBD server over the storage under test: it can be crashed, and can fail.
    Nbd,
    /// The same storage, mounted as a file with FUSE: for drivers that allocate past its end.
    Fuse,
    /// A file of the host, which only shows what the disk has.
    File,
    /// The driver keeps its disk for itself.
    None,
}

/// A process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Process {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// One process opens so many images, one after the other, by its control channel; 0: each image has a
    /// process of its own.
    #[serde(default)]
    pub images: u64,
}

/// A program that runs to its end.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Exit codes that mean that nothing is wrong.
    #[serde(default = "zero")]
    pub good: Vec<i32>,
}

fn zero() -> Vec<i32> {
    vec![0]
}

/// A command of the control channel, which is QEMU's machine protocol.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// Its name.
    pub execute: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Map<String, Value>,
    /// An event that has to come after it, with the same `id`.
    pub event: Option<String>,
}

/// The geometry; see [`blk_harness::space::Geometry`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Units {
    /// The option that decides the unit of allocation.
    pub unit_option: Option<String>,
    /// The unit where no option decides it.
    #[serde(deserialize_with = "size")]
    pub unit: u64,
    /// Bytes of an entry of a table that fills a unit.
    pub table_entry: Option<u64>,
    /// What a table maps, if tables do not fill units.
    #[serde(deserialize_with = "size")]
    pub table_reach: u64,
    /// What requests have to be multiples of.
    pub request_alignment: u64,
    /// What the size of a disk has to be a multiple of.
    pub size_alignment: u64,
}

impl Default for Units {
    fn default() -> Self {
        Self {
            unit_option: None,
            unit: 4096,
            table_entry: None,
            table_reach: 2 << 20,
            request_alignment: 1,
            size_alignment: 512,
        }
    }
}

/// An option of the driver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OptionDescription {
    /// Its name.
    pub name: String,
    /// When it is given.
    #[serde(rename = "for")]
    pub when: OptionUse,
    /// What values it takes.
    pub kind: OptionKind,
    /// The words of a choice.
    #[serde(default)]
    pub words: Vec<String>,
    /// The smallest number.
    #[serde(default, deserialize_with = "size")]
    pub min: u64,
    /// The largest number.
    #[serde(default, deserialize_with = "size")]
    pub max: u64,
    /// Numbers are multiples of this; 0: powers of two.
    #[serde(default = "one", deserialize_with = "size")]
    pub step: u64,
    /// The value where none is given.
    pub default: Option<String>,
    /// How often scenarios choose a value, against 4 for none.
    #[serde(default = "four")]
    pub weight: u8,
    /// Values that are drawn with that weight; all without it.
    #[serde(default)]
    pub drawn: Vec<String>,
    /// What it cannot be together with.
    #[serde(default, rename = "conflict")]
    pub conflicts: Vec<ConflictDescription>,
}

fn one() -> u64 {
    1
}

fn four() -> u8 {
    4
}

/// When an option is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptionUse {
    /// When the image is made.
    Create,
    /// When it is opened.
    Open,
}

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptionKind {
    /// On or off.
    Switch,
    /// One of its words.
    Choice,
    /// A number.
    Number,
    /// A number of bytes.
    Size,
}

/// Two options whose values exclude each other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConflictDescription {
    /// The value of this option; without it any that is given.
    pub when: Option<String>,
    /// The other option.
    pub other: String,
    /// Its value, given or by default.
    pub and: String,
    /// Why both cannot be.
    pub reason: String,
}

/// How requests are made by the driver's own tools, in a shell script.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reproduce {
    /// Format of the image, as `qemu-io` and `qemu-img` call it.
    pub qemu_format: String,
    /// Arguments of these programs, such as those that define a secret.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Options of an open besides, `NAME=VALUE,...`.
    #[serde(default)]
    pub options: String,
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => parse_size(&text).map_err(serde::de::Error::custom),
    }
}

impl Description {
    /// Reads the text of a TOML file, and the deviations of another driver that it names; names of files are
    /// from the current folder.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_in(text, "", &mut Vec::new())
    }

    /// The same of a text whose file lies in the folder `here`. `asked` are the drivers whose `deviations-of`
    /// has led here, each by way of the one before.
    pub(crate) fn parse_in(text: &str, here: &str, asked: &mut Vec<String>) -> Result<Self> {
        let mut description: Self = toml::from_str(text)?;
        here.clone_into(&mut description.here);
        let in_driver = format!("driver '{}'", description.name);
        description.check().and_then(|()| description.include(asked)).context(in_driver)?;
        Ok(description)
    }

    /// Takes over the deviations of the other driver.
    fn include(&mut self, asked: &mut Vec<String>) -> Result<()> {
        let Some(other) = self.deviations_of.clone() else { return Ok(()) };
        let others = known::described(&other, &self.here, asked);
        let others = others.with_context(|| format!("deviations-of = '{other}'"))?;
        self.deviations.extend(others.deviations);
        let names: Vec<&str> = self.deviations.iter().map(|known| known.name.as_str()).collect();
        if let Some(twice) = (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
            bail!("two deviations are called '{}'", names[twice]);
        }
        Ok(())
    }

    /// Whether one process opens many images.
    pub fn is_shared(&self) -> bool {
        self.process.images > 0
    }

    fn check(&self) -> Result<()> {
        if self.name.is_empty() || self.name.contains(|c: char| c.is_whitespace() || c == '/') {
            bail!("'{}' is no name", self.name);
        }
        let programs = [&self.create, &self.resize, &self.check, &self.repair].into_iter().flatten();
        if self.process.argv.is_empty() || programs.into_iter().any(|program| program.argv.is_empty()) {
            bail!("an argv needs a program");
        }
        if self.is_shared() == self.open.is_empty() {
            bail!(
                "steps of 'open' are for a process that opens several images (process.images), and it needs them"
            );
        }
        let Units { unit, request_alignment, size_alignment, .. } = self.geometry;
        for (what, number) in
            [("unit", unit), ("request-alignment", request_alignment), ("size-alignment", size_alignment)]
        {
            if !number.is_power_of_two() {
                bail!("geometry.{what} is {number}, and must be a power of two");
            }
        }
        self.options
            .iter()
            .try_for_each(|option| option.check().with_context(|| format!("option '{}'", option.name)))
    }
}

impl OptionDescription {
    fn check(&self) -> Result<()> {
        if self.kind == OptionKind::Choice && self.words.is_empty() {
            bail!("a choice has words");
        }
        let is_number = matches!(self.kind, OptionKind::Number | OptionKind::Size);
        if is_number && self.min > self.max {
            bail!("min is {}, and max is {}", self.min, self.max);
        }
        if is_number && self.step == 0 && !(self.min.is_power_of_two() && self.max.is_power_of_two()) {
            bail!("min and max are {} and {}, and must be powers of two", self.min, self.max);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "name = 'x'\nabout = 'y'\nmedium = { kind = 'none' }\nprocess = { argv = ['p'] }\n";

    #[test]
    fn the_least_is_a_description() {
        let description = Description::parse(LEAST).unwrap();
        assert!(!description.is_shared() && description.options.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, word) in [
            ("colour = 'red'", "colour"),
            ("[[open]]\nexecute = 'x'", "process.images"),
            ("[geometry]\nunit = 3", "geometry.unit is 3"),
            ("[[option]]\nname = 'o'\nfor = 'open'\nkind = 'choice'", "a choice has words"),
            ("[[option]]\nname = 'o'\nfor = 'open'\nkind = 'size'\nmin = '1M'\nmax = 5", "min is 1048576"),
            ("[[option]]\nname = 'o'\nfor = 'open'\nkind = 'size'\nmax = 5\nstep = 0", "powers of two"),
            ("deviations-of = 'qemu-qcow3'", "no driver 'qemu-qcow3' is known"),
            ("deviations-of = 'no/such.toml'", "cannot read 'no/such.toml'"),
        ] {
            let error = format!("{:#}", Description::parse(&format!("{LEAST}{line}\n")).unwrap_err());
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    const DEVIATION: &str = "[[deviation]]\nreport = ['wrong']\nabout = ''\nname = ";

    #[test]
    fn deviations_of_another_driver_are_known_of_this_one_after_its_own() {
        let own = format!("{LEAST}deviations-of = 'qemu-qcow2'\n{DEVIATION}'own'\n");
        let names = |description: Description| -> Vec<String> {
            description.deviations.into_iter().map(|known| known.name).collect()
        };
        let others = names(known::description("qemu-qcow2").unwrap());
        let all = names(Description::parse(&own).unwrap());
        assert!(!others.is_empty() && all[0] == "own" && all[1..] == others);
        let twice = own.replace("'own'", &format!("'{}'", others[0]));
        let error = format!("{:#}", Description::parse(&twice).unwrap_err());
        assert!(error.contains(&format!("two deviations are called '{}'", others[0])), "{error}");
    }

    #[test]
    fn files_name_each_other_from_their_folder_and_a_circle_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("{LEAST}{text}\n")).unwrap();
            path.display().to_string()
        };
        write("last.toml", &format!("{DEVIATION}'last'"));
        write("middle.toml", &format!("deviations-of = 'last.toml'\n{DEVIATION}'middle'"));
        let first = write("first.toml", "deviations-of = 'middle.toml'");
        let names: Vec<_> = known::description(&first).unwrap().deviations;
        assert_eq!(names.iter().map(|known| known.name.as_str()).collect::<Vec<_>>(), ["middle", "last"]);
        write("last.toml", "deviations-of = 'middle.toml'");
        let error = format!("{:#}", known::description(&first).unwrap_err());
        let circle = ["first.toml", "middle.toml", "last.toml"]
            .map(|name| folder.path().join(name).display().to_string());
        let told = format!("{} ask for the deviations of each other", circle.join(", "));
        assert!(error.contains(&told), "{error}");
    }
}
