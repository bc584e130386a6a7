//! The options of a format, by name: what a driver under test is made with, apart from what all drivers have.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The value of an option, printed as the driver takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// `on` or `off`.
    Switch(bool),
    /// A number, of bytes or of whatever the option counts.
    Number(u64),
    /// Any other word.
    Name(Cow<'static, str>),
}

impl Value {
    /// A word that is neither a number nor a switch.
    pub const fn name(word: &'static str) -> Self {
        Self::Name(Cow::Borrowed(word))
    }

    /// The value that a word stands for: `on` and `off` are switches, digits with an optional unit (`64k`) or
    /// `0x` are numbers. `None` if it is no word: empty, or with blanks, control characters or `#`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "on" => return Some(Self::Switch(true)),
            "off" => return Some(Self::Switch(false)),
            _ => {}
        }
        // A fraction is a name: `compat=1.1` is no number of bytes.
        let is_number =
            text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_alphanumeric());
        if is_number && let Ok(number) = blk_core::parse_size(text) {
            return Some(Self::Number(number));
        }
        is_word(text).then(|| Self::Name(Cow::Owned(text.to_owned())))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(true) => write!(f, "on"),
            Self::Switch(false) => write!(f, "off"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

/// Whether a text can stand in a `config` line as the name or the value of an option.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#')
}

/// Options by name, in the order of their names. An option that is missing has its usual value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct OptionValues(Vec<(Cow<'static, str>, Value)>);

impl OptionValues {
    /// The value of an option, if it is given.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The value of an option, if it is given and a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// Whether an option is given as a word, such as `zstd`.
    pub fn is(&self, name: &str, word: &str) -> bool {
        matches!(self.get(name), Some(Value::Name(given)) if given == word)
    }

    /// Whether an option is given as `on`.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some(&Value::Switch(true))
    }

    /// Gives an option a value, or, with `None`, its usual one.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: Option<Value>) {
        let name = name.into();
        match (self.0.binary_search_by(|(known, _)| known.cmp(&name)), value) {
            (Ok(at), Some(value)) => self.0[at].1 = value,
            (Err(at), Some(value)) => self.0.insert(at, (name, value)),
            (Ok(at), None) => drop(self.0.remove(at)),
            (Err(_), None) => {}
        }
    }

    /// Gives an option its usual value.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// Keeps the options of which `is_kept` says so.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&str, &Value) -> bool) {
        self.0.retain(|(name, value)| is_kept(name, value));
    }

    /// All that are given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// How many are given.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all options have their usual values.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// As ` NAME=VALUE` for each.
impl fmt::Display for OptionValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Switch(is_on) => serializer.serialize_bool(*is_on),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a number, true or false, or a word")
    }

    fn visit_bool<E>(self, is_on: bool) -> Result<Value, E> {
        Ok(Value::Switch(is_on))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Value::parse(text).ok_or_else(|| E::custom(format!("'{text}' is no word that an option could have")))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

impl Serialize for OptionValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct OptionsVisitor;

impl<'de> Visitor<'de> for OptionsVisitor {
    type Value = OptionValues;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "options by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OptionValues, A::Error> {
        let mut options = OptionValues::default();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if !is_word(&name) || name.contains('=') {
                return Err(A::Error::custom(format!("'{name}' cannot be the name of an option")));
            }
            if options.get(&name).is_some() {
                return Err(A::Error::custom(format!("option '{name}' is given twice")));
            }
            options.set(name, Some(value));
        }
        Ok(options)
    }
}

impl<'de> Deserialize<'de> for OptionValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OptionsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_values_and_back() {
        for (word, value) in [
            ("on", Value::Switch(true)),
            ("off", Value::Switch(false)),
            ("0", Value::Number(0)),
            ("64k", Value::Number(64 << 10)),
            ("0x10", Value::Number(16)),
            ("0.10", Value::name("0.10")),
            ("1.1", Value::name("1.1")),
            ("zstd", Value::name("zstd")),
            ("12q", Value::name("12q")),
        ] {
            assert_eq!(Value::parse(word).as_ref(), Some(&value), "{word}");
            assert_eq!(Value::parse(&value.to_string()), Some(value), "{word}");
        }
        for text in ["", "a b", "a#", "\n"] {
            assert_eq!(Value::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn options_are_kept_in_the_order_of_their_names() {
        let mut options = OptionValues::default();
        options.set("b", Some(Value::Number(2)));
        options.set("a", Some(Value::Switch(true)));
        options.set("c", Some(Value::name("x")));
        options.set("b", Some(Value::Number(3)));
        assert_eq!(options.to_string(), " a=on b=3 c=x");
        assert!(options.is_on("a") && options.number("b") == Some(3) && options.is("c", "x"));
        options.set("a", None);
        options.remove("c");
        options.set("z", None);
        assert_eq!((options.to_string().as_str(), options.len()), (" b=3", 1));
    }
}
