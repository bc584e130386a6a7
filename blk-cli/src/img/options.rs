//! Options of a new image, `-o name=value,...`: the list of all, their defaults, and how they are shown.

use blk_core::{Options, parse_integer, parse_size};

use super::failure::{Failure, Outcome};
use super::output::{self, append};

/// What kind of value an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Size,
    Number,
    Switch,
}

/// An option of a format; the order is that in which they are shown.
#[derive(Debug, Clone, Copy)]
struct Known {
    name: &'static str,
    kind: Kind,
    /// The value where none is given, if there is one that is worth showing.
    default: Option<&'static str>,
}

const fn known(name: &'static str, kind: Kind, default: Option<&'static str>) -> Known {
    Known { name, kind, default }
}

const QCOW2: &[Known] = &[
    known("encryption", Kind::Switch, None),
    known("encrypt.format", Kind::Text, None),
    known("encrypt.key-secret", Kind::Text, None),
    known("encrypt.cipher-alg", Kind::Text, None),
    known("encrypt.cipher-mode", Kind::Text, None),
    known("encrypt.ivgen-alg", Kind::Text, None),
    known("encrypt.ivgen-hash-alg", Kind::Text, None),
    known("encrypt.hash-alg", Kind::Text, None),
    known("encrypt.iter-time", Kind::Number, None),
    known("cluster_size", Kind::Size, Some("65536")),
    known("extended_l2", Kind::Switch, Some("off")),
    known("preallocation", Kind::Text, None),
    known("compression_type", Kind::Text, Some("zlib")),
    known("size", Kind::Size, None),
    known("compat", Kind::Text, None),
    known("backing_file", Kind::Text, None),
    known("backing_fmt", Kind::Text, None),
    known("data_file", Kind::Text, None),
    known("data_file_raw", Kind::Switch, None),
    known("lazy_refcounts", Kind::Switch, Some("off")),
    known("refcount_bits", Kind::Number, Some("16")),
    known("nocow", Kind::Switch, None),
    known("extent_size_hint", Kind::Size, None),
];

const RAW: &[Known] = &[
    known("size", Kind::Size, None),
    known("nocow", Kind::Switch, None),
    known("preallocation", Kind::Text, None),
    known("extent_size_hint", Kind::Size, None),
];

/// Options of the file below: no format takes them.
const OF_FILES: [&str; 2] = ["nocow", "extent_size_hint"];

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

    /// The names, in the order in which they were given.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(name, _)| name.as_str())
    }

    /// Brings values into the form in which they are shown, and refuses what `format` does not know.
    pub(crate) fn check(&mut self, format: &str) -> Outcome<()> {
        for (name, value) in &mut self.values {
            let Some(option) = all_of(format).iter().find(|option| option.name == *name) else {
                return Err(Failure::new(format!("format '{format}' has no option '{name}'")));
            };
            *value = option.normal(value)?;
        }
        Ok(())
    }

    /// `name=value` of all that is given or has a default, in the order in which formats list them.
    pub(crate) fn shown(&self, format: &str) -> String {
        let value = |option: &Known| self.get(option.name).or(option.default);
        let shown = all_of(format).iter().filter_map(|option| {
            value(option).map(|value| format!("{}={}", option.name, value.replace(',', ",,")))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    /// The options as a format takes them: without the size, and without those of the file below.
    pub(crate) fn for_format(&self) -> Outcome<Options> {
        let mut options = Options::new();
        for (name, value) in &self.values {
            if OF_FILES.contains(&name.as_str()) {
                if value != "off" && value != "0" {
                    return Err(Failure::new(format!("not supported: option '{name}'")));
                }
            } else if name != "size" {
                options.set(name, value.as_str());
            }
        }
        Ok(options)
    }
}

impl Known {
    fn normal(&self, value: &str) -> Outcome<String> {
        let wrong =
            |expected: &str| Failure::new(format!("option '{}': '{value}' is not {expected}", self.name));
        match self.kind {
            Kind::Text => Ok(value.to_owned()),
            Kind::Size => parse_size(value).map(|size| size.to_string()).map_err(|_| wrong("a size")),
            Kind::Number => match parse_integer(value).and_then(|number| u64::try_from(number).ok()) {
                Some(number) => Ok(number.to_string()),
                None => Err(wrong("a number")),
            },
            Kind::Switch => match value {
                "on" | "yes" | "true" | "off" | "no" | "false" => Ok(value.to_owned()),
                _ => Err(wrong("on or off")),
            },
        }
    }
}

fn all_of(format: &str) -> &'static [Known] {
    if format == "qcow2" { QCOW2 } else { RAW }
}

/// Shows the options that a new image of this format can have.
pub(crate) fn help(format: &str) -> Outcome<()> {
    let driver = crate::spec::registry().find(format).map_err(|error| Failure::of("format", &error))?;
    let mut text = format!("Supported {format} options:\n");
    for option in driver.create_options() {
        let name = format!("{}=<{}>", option.name, option.values);
        append(&mut text, format_args!("  {name:<40} - {}\n", option.help));
    }
    append(&mut text, format_args!("  {:<40} - size of the disk\n", "size=<size>"));
    output::text(&text)
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
        assert_eq!(given.shown("qcow2"), expected);
        assert!(given.check("raw").unwrap_err().lines[0].contains("no option 'refcount_bits'"));
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        let mut given = Given::parse(&["lazy_refcounts=maybe".to_owned()]).unwrap();
        assert!(given.check("qcow2").unwrap_err().lines[0].contains("'maybe'"));
        assert!(Given::asks_for_help(&["size=1,help".to_owned()]));
    }
}
