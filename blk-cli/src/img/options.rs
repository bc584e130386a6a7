//! Options of a new image, `-o name=value,...`: how they are given and shown. What there are, the lists of
//! the formats say.

use blk_core::{Format, OptionKind, OptionSpec, Options, Range, Step, Support};

use super::failure::{Failure, Outcome};
use super::output::{self, append};
use crate::formats::registry;

/// The size of the disk, for formats whose list does not say where it stands.
static SIZE: OptionSpec = OptionSpec::disk_size(Range::ANY);

/// The options that were given for a new image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    values: Vec<(String, String)>,
}

impl Given {
    /// Reads the lists of all `-o`; the later of two values counts.
    pub(crate) fn parse(lists: &[String]) -> Outcome<Self> {
        let mut given = Self::default();
        for list in lists {
            for item in split_list(list) {
                match item.split_once('=') {
                    Some((name, value)) => given.set(name, value),
                    None if item.is_empty() => {
                        return Err(Failure::new(format!("invalid option list '{list}': a name is missing")));
                    }
                    None => given.set(&item, "on"),
                }
            }
        }
        Ok(given)
    }

    /// Whether the lists ask for help instead.
    pub(crate) fn asks_for_help(lists: &[String]) -> bool {
        lists.iter().any(|list| split_list(list).iter().any(|item| item == "help" || item == "?"))
    }

    /// Sets an option, replacing an earlier value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.values.retain(|(other, _)| other != name);
        self.values.push((name.to_owned(), value.to_owned()));
    }

    /// The value of an option, as it was given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// All of them, as they were given.
    pub(crate) fn all(&self) -> Options {
        self.values.iter().fold(Options::new(), |all, (name, value)| all.with(name, value.as_str()))
    }

    /// The names, in the order in which they were given.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(name, _)| name.as_str())
    }

    /// Refuses what cannot be changed in an image of `format`.
    pub(crate) fn check_amendable(&self, format: &str) -> Outcome<()> {
        let amendable: Vec<_> = amendable(format)?.map(|spec| spec.name).collect();
        let Some(other) = self.names().find(|name| !amendable.contains(name)) else { return Ok(()) };
        let failure = Failure::new(format!("Invalid parameter '{other}'"));
        if find(format)?.create_options().iter().any(|spec| spec.name == other) {
            return Err(failure.and("This option is only supported for image creation"));
        }
        Err(failure)
    }

    /// Brings values into the form in which they are shown, and refuses what `format` does not know.
    pub(crate) fn check(&mut self, format: &str) -> Outcome<()> {
        let specs = all_of(find(format)?);
        for (name, value) in &mut self.values {
            let Some(spec) = specs.iter().find(|spec| spec.name == *name) else {
                return Err(Failure::new(format!("format '{format}' has no option '{name}'")));
            };
            *value = shown_form(spec, value)?;
        }
        Ok(())
    }

    /// `name=value` of all that is given or has a default that is shown, in the order in which formats list
    /// them.
    pub(crate) fn shown(&self, format: &str) -> Outcome<String> {
        let default = |spec: &OptionSpec| spec.default.filter(|_| spec.shows_default);
        let shown = all_of(find(format)?).into_iter().filter_map(|spec| {
            let value = self.get(spec.name).or_else(|| default(spec))?;
            Some(format!("{}={}", spec.name, value.replace(',', ",,")))
        });
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    /// Those that name secrets, which opening the new image takes too.
    pub(crate) fn secrets(&self) -> Options {
        let secrets = self.values.iter().filter(|(name, _)| name.ends_with("key-secret"));
        secrets.fold(Options::new(), |options, (name, value)| options.with(name, value.as_str()))
    }

    /// The options as `format` takes them: without the size, and without those of the file below, which
    /// nobody takes.
    pub(crate) fn for_format(&self, format: &dyn Format) -> Outcome<Options> {
        let (options, of_file) = self.split(format);
        let refused = of_file.typed("file", blk_raw::FORMAT.create_options());
        refused.map_err(|error| Failure::new(error.to_string()))?;
        Ok(options)
    }

    /// The options that are the format's own, without the size.
    pub(crate) fn of_format(&self, format: &dyn Format) -> Options {
        self.split(format).0
    }

    /// Those of the format, and those of the file below.
    fn split(&self, format: &dyn Format) -> (Options, Options) {
        let (mut own, mut of_file) = (Options::new(), Options::new());
        for (name, value) in self.values.iter().filter(|(name, _)| name != SIZE.name) {
            let is_own = format.create_options().iter().any(|spec| spec.name == *name);
            let is_of_file = !is_own && of_files().any(|spec| spec.name == *name);
            if is_of_file { of_file.set(name, value.as_str()) } else { own.set(name, value.as_str()) }
        }
        (own, of_file)
    }
}

fn find(format: &str) -> Outcome<&'static dyn Format> {
    registry().find(format).map_err(|error| Failure::new(error.to_string()))
}

/// Options of the file below, which QEMU's tools show with those of every format: they stand in the list of
/// raw, which is all that a plain file has.
fn of_files() -> impl Iterator<Item = &'static OptionSpec> {
    blk_raw::FORMAT.create_options().iter().filter(|spec| spec.support == Support::NotBuilt)
}

/// All options of a new image, as they are shown.
fn all_of(format: &dyn Format) -> Vec<&'static OptionSpec> {
    let own = format.create_options();
    let has = |name| own.iter().any(|spec| spec.name == name);
    let size = (!has(SIZE.name)).then_some(&SIZE);
    size.into_iter().chain(own).chain(of_files().filter(|spec| !has(spec.name))).collect()
}

/// A value as it is shown: numbers in bytes. Whether it is legal is for the format to say.
fn shown_form(spec: &OptionSpec, text: &str) -> Outcome<String> {
    let value =
        spec.read(text).map_err(|reason| Failure::new(format!("option '{}': {reason}", spec.name)))?;
    Ok(match spec.kind {
        OptionKind::Size(_) | OptionKind::Number(_) => value.to_string(),
        OptionKind::Switch | OptionKind::Choice(_) | OptionKind::Text => text.to_owned(),
    })
}

/// Shows the options that a new image of this format can have.
pub(crate) fn help(format: &str) -> Outcome<()> {
    let format = find(format)?;
    let mut text = format!("Supported {} options:\n", format.name());
    append_options(&mut text, all_of(format).into_iter().filter(|spec| spec.support != Support::NotBuilt));
    output::text(&text)
}

/// Shows the options of an image that can be changed.
pub(crate) fn amend_help(format: &str) -> Outcome<()> {
    let mut text = format!("Amend options for '{format}':\n");
    append_options(&mut text, amendable(format)?);
    output::text(&text)
}

/// The options of images of that format that can be changed.
pub(crate) fn amendable(format: &str) -> Outcome<impl Iterator<Item = &'static OptionSpec>> {
    let format = find(format)?;
    if format.amend_options().is_empty() {
        let name = format.name();
        return Err(Failure::new(format!("Format driver '{name}' does not support option amendment")));
    }
    Ok(format.amend_options().iter())
}

/// The options of new images of all formats, for the manual.
pub(crate) fn manual() -> String {
    let mut text = String::new();
    for format in registry().formats() {
        append(&mut text, format_args!("Options of a new {} image (-o):\n", format.name()));
        append_options(
            &mut text,
            all_of(format).into_iter().filter(|spec| spec.support != Support::NotBuilt),
        );
    }
    text
}

/// A line for each option, by their names.
fn append_options<'a>(text: &mut String, specs: impl Iterator<Item = &'a OptionSpec>) {
    let mut specs: Vec<_> = specs.collect();
    specs.sort_by_key(|spec| spec.name);
    for spec in specs {
        let name = format!("{}=<{}>", spec.name, kind_name(spec.kind));
        let details = [legal(spec.kind), spec.default.map(|value| format!("default: {value}"))];
        let details: Vec<String> = details.into_iter().flatten().collect();
        let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join("; ")) };
        append(text, format_args!("  {name:<22} - {}{details}\n", spec.help));
    }
}

/// What QEMU's tools call a kind of option.
fn kind_name(kind: OptionKind) -> &'static str {
    match kind {
        OptionKind::Switch => "bool (on/off)",
        OptionKind::Choice(_) | OptionKind::Text => "str",
        OptionKind::Size(_) => "size",
        OptionKind::Number(_) => "num",
    }
}

/// A greatest number that nobody asks about.
const LARGE: u64 = 1 << 60;

/// Which values are legal, where not all of the kind are.
fn legal(kind: OptionKind) -> Option<String> {
    match kind {
        OptionKind::Choice(words) => Some(words.join(", ")),
        OptionKind::Size(range) | OptionKind::Number(range) => {
            let is_all = range.min == 0 && range.max >= LARGE && range.step == Step::Multiple(1);
            (!is_all).then(|| range.to_string())
        }
        OptionKind::Switch | OptionKind::Text => None,
    }
}

/// Splits at commas; two commas are one that is meant.
fn split_list(list: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        if character != ',' {
            items.last_mut().expect("there is always one").push(character);
        } else if characters.next_if_eq(&',').is_some() {
            items.last_mut().expect("there is always one").push(',');
        } else {
            items.push(String::new());
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_single_commas() {
        assert_eq!(split_list("a=1,b=x,,y,c"), ["a=1", "b=x,y", "c"]);
    }

    #[test]
    fn options_are_shown_with_their_defaults_in_order() {
        let mut given =
            Given::parse(&["refcount_bits=8,backing_file=a,,b".to_owned(), "cluster_size=4k".to_owned()])
                .unwrap();
        given.set("size", "1M");
        given.check("qcow2").unwrap();
        let expected = "cluster_size=4096 extended_l2=off compression_type=zlib size=1048576 backing_file=a,,b \
                        lazy_refcounts=off refcount_bits=8";
        assert_eq!(given.shown("qcow2").unwrap(), expected);
        assert!(given.check("raw").unwrap_err().lines[0].contains("no option 'refcount_bits'"));
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        let mut given = Given::parse(&["lazy_refcounts=maybe".to_owned()]).unwrap();
        assert!(given.check("qcow2").unwrap_err().lines[0].contains("'maybe'"));
        assert!(Given::asks_for_help(&["size=1,help".to_owned()]));
    }
}
