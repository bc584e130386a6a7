//! The keys that configurations had before options had the names of the driver: they are read as what they
//! meant.
//!
//! Nothing writes them. Kept traces have them, and mean the same for ever.

use serde::Deserialize;

use super::{Backing, Config, OptionValues, Value};

/// What the number of an old key stood for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Nothing but the words of this list, for the numbers from `min`; `None` where it is the usual one.
    Words(&'static [Option<&'static str>]),
    /// The power of two with this exponent, but for the usual one.
    PowerOfTwo { usual: u64 },
    /// Itself, where it is not 0, which left the choice to the driver.
    Itself,
    /// The same, a power of two from 512.
    SliceBytes,
    /// `on` stood for this word, `off` for the usual.
    Switch(&'static str),
    /// A word: the first one is the usual.
    Choice(&'static [&'static str]),
}

/// A key of old, the option that it stood for, and the numbers that it took.
type Alias = (&'static str, &'static str, Meaning, u64, u64);

const ALIASES: [Alias; 9] = [
    ("version", "compat", Meaning::Words(&[Some("0.10"), None]), 2, 3),
    ("cluster-bits", "cluster_size", Meaning::PowerOfTwo { usual: 16 }, 9, 21),
    ("refcount-order", "refcount_bits", Meaning::PowerOfTwo { usual: 4 }, 0, 6),
    ("compression", "compression_type", Meaning::Choice(&["zlib", "zstd"]), 0, 0),
    ("l2-cache-entries", "l2-cache-slices", Meaning::Itself, 0, 0xffff),
    ("l2-slice-bytes", "l2-cache-entry-size", Meaning::SliceBytes, 0, 2 << 20),
    ("refcount-cache-entries", "refcount-cache-slices", Meaning::Itself, 0, 0xffff),
    ("preallocate", "preallocation", Meaning::Switch("metadata"), 0, 0),
    ("lazy-refcounts", "lazy_refcounts", Meaning::Switch("on"), 0, 0),
];

/// The options that all scenarios had once, whatever their driver: those without them go on ignoring them.
pub const OLD_OPTIONS: [&str; ALIASES.len()] = {
    let mut options = [""; ALIASES.len()];
    let mut at = 0;
    while at < options.len() {
        options[at] = ALIASES[at].1;
        at += 1;
    }
    options
};

/// What `key`=`value` meant: an option, with `None` for its usual value. `None` if the key is none of old.
pub(super) fn read(key: &str, value: &Value) -> Option<Result<(&'static str, Option<Value>), String>> {
    let &(_, option, meaning, min, max) = ALIASES.iter().find(|alias| alias.0 == key)?;
    Some(
        meant(meaning, value, (min, max))
            .map(|value| (option, value))
            .map_err(|takes| format!("{key} is {value}, and must be {takes}")),
    )
}

fn meant(meaning: Meaning, value: &Value, (min, max): (u64, u64)) -> Result<Option<Value>, String> {
    let number = match value {
        Value::Number(number) if (min..=max).contains(number) => Some(*number),
        _ => None,
    };
    let range = || format!("a number from {min} to {max}");
    match (meaning, value) {
        (Meaning::Words(words), _) => {
            let number = number.ok_or_else(range)?;
            Ok(words[(number - min) as usize].and_then(Value::parse))
        }
        (Meaning::PowerOfTwo { usual }, _) => {
            let exponent = number.ok_or_else(range)?;
            Ok((exponent != usual).then_some(Value::Number(1 << exponent)))
        }
        (Meaning::Itself, _) => Ok(number.map(Value::Number).ok_or_else(range)?.filter_zero()),
        (Meaning::SliceBytes, _) => match number {
            Some(0) => Ok(None),
            Some(bytes @ 512..) if bytes.is_power_of_two() => Ok(Some(Value::Number(bytes))),
            _ => Err("0 or a power of two from 512 to 2M".to_owned()),
        },
        (Meaning::Switch(word), Value::Switch(is_on)) => Ok(Value::parse(word).filter(|_| *is_on)),
        (Meaning::Switch(_), _) => Err("one of: off, on".to_owned()),
        (Meaning::Choice(words), Value::Name(name)) if words.contains(&&**name) => {
            Ok((name != words[0]).then(|| value.clone()))
        }
        (Meaning::Choice(words), _) => Err(format!("one of: {}", words.join(", "))),
    }
}

impl Value {
    /// `None` for 0.
    fn filter_zero(self) -> Option<Self> {
        Some(self).filter(|value| *value != Self::Number(0))
    }
}

/// A configuration as JSON has it, in which the keys of old may stand.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Document {
    size_bytes: u64,
    options: OptionValues,
    backing: Backing,
    backing_bytes: u64,
    discard: bool,
    control: u32,
    atom_bytes: u16,
    lanes: u8,
    host_alignment: u16,
    probe_flush: u8,
    version: Option<Value>,
    cluster_bits: Option<Value>,
    refcount_order: Option<Value>,
    compression: Option<Value>,
    l2_cache_entries: Option<Value>,
    l2_slice_bytes: Option<Value>,
    refcount_cache_entries: Option<Value>,
    preallocate: Option<Value>,
    lazy_refcounts: Option<Value>,
}

impl Default for Document {
    fn default() -> Self {
        let Config {
            size_bytes,
            options,
            backing,
            backing_bytes,
            discard,
            control,
            atom_bytes,
            lanes,
            host_alignment,
            probe_flush,
        } = Config::default();
        Self {
            size_bytes,
            options,
            backing,
            backing_bytes,
            discard,
            control,
            atom_bytes,
            lanes,
            host_alignment,
            probe_flush,
            version: None,
            cluster_bits: None,
            refcount_order: None,
            compression: None,
            l2_cache_entries: None,
            l2_slice_bytes: None,
            refcount_cache_entries: None,
            preallocate: None,
            lazy_refcounts: None,
        }
    }
}

impl TryFrom<Document> for Config {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        let mut options = document.options;
        let old = [
            ("version", document.version),
            ("cluster-bits", document.cluster_bits),
            ("refcount-order", document.refcount_order),
            ("compression", document.compression),
            ("l2-cache-entries", document.l2_cache_entries),
            ("l2-slice-bytes", document.l2_slice_bytes),
            ("refcount-cache-entries", document.refcount_cache_entries),
            ("preallocate", document.preallocate),
            ("lazy-refcounts", document.lazy_refcounts),
        ];
        for (key, value) in old {
            let Some(value) = value else { continue };
            let (name, meant) = read(key, &value).expect("a key of the table")?;
            if options.get(name).is_some() {
                return Err(format!("'{key}' is option '{name}', which is given too"));
            }
            options.set(name, meant);
        }
        Ok(Self {
            size_bytes: document.size_bytes,
            options,
            backing: document.backing,
            backing_bytes: document.backing_bytes,
            discard: document.discard,
            control: document.control,
            atom_bytes: document.atom_bytes,
            lanes: document.lanes,
            host_alignment: document.host_alignment,
            probe_flush: document.probe_flush,
        })
    }
}
