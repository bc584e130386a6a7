//! Options of a node and of the nodes below it: one flat table, with dots between the levels
//! (`file.filename`).

use std::collections::BTreeMap;

use blk_core::{Error, OptionSpec, Result, TypedValue, parse_size, parse_switch};

/// Most options of a specification.
const OPTIONS_MAX: usize = 1 << 14;
/// Most bytes of a key with the levels before it.
const KEY_BYTES_MAX: usize = 1024;

/// What an option is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Anything that can be written down; numbers and switches are texts too, as on a command line.
    Text(String),
    /// JSON's `null`: explicitly nothing.
    Null,
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Text(number.to_string())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The options of a node. Whoever builds the node takes out what it knows, and refuses the rest by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeOptions {
    /// Where the node stands below the top, for messages: empty, or a path that ends in a dot.
    path: String,
    values: BTreeMap<String, Value>,
}

impl NodeOptions {
    /// Sets an option; a later value replaces an earlier one.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// Sets an option that stands in a specification.
    ///
    /// # Errors
    /// The key is too long, or there are too many.
    pub(crate) fn enter(&mut self, name: &str, value: impl Into<Value>) -> Result<()> {
        self.check_key(name)?;
        if self.values.len() >= OPTIONS_MAX {
            return Err(self.bad(name, format!("a specification has at most {OPTIONS_MAX} options")));
        }
        self.set(name, value);
        Ok(())
    }

    /// Refuses a key that no driver can know. It bounds how deep keys nest, and what they take in memory.
    pub(crate) fn check_key(&self, name: &str) -> Result<()> {
        if name.len() <= KEY_BYTES_MAX {
            return Ok(());
        }
        Err(self.bad(name, format!("a key has at most {KEY_BYTES_MAX} bytes")))
    }

    /// Sets the options of the node `name` below.
    pub(crate) fn set_below(&mut self, name: &str, below: Self) {
        for (key, value) in below.values {
            self.values.insert(format!("{name}.{key}"), value);
        }
    }

    /// Sets an option that is not given.
    pub(crate) fn fill(&mut self, name: &str, value: impl Into<Value>) {
        if !self.values.contains_key(name) {
            self.set(name, value);
        }
    }

    /// Sets the options of `weaker` that are not given.
    pub(crate) fn fill_from(&mut self, weaker: Self) {
        for (name, value) in weaker.values {
            self.values.entry(name).or_insert(value);
        }
    }

    /// All options, by their keys.
    pub(super) fn into_values(self) -> impl Iterator<Item = (String, Value)> {
        self.values.into_iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether the option, or a node of that name below, is given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.has_below(name)
    }

    /// Whether options of a node `name` below are given.
    pub(crate) fn has_below(&self, name: &str) -> bool {
        let prefix = format!("{name}.");
        self.values.range(prefix.clone()..).next().is_some_and(|(key, _)| key.starts_with(&prefix))
    }

    /// The option, left where it is, if it is a text.
    pub(crate) fn peek(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Takes out an option.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name)
    }

    /// Takes out the options of the node `name` below.
    pub(crate) fn take_below(&mut self, name: &str) -> Self {
        let prefix = format!("{name}.");
        let mine = self.values.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        let keys: Vec<String> = mine.map(|(key, _)| key.clone()).collect();
        let values = keys
            .iter()
            .filter_map(|key| Some((key[prefix.len()..].to_owned(), self.values.remove(key)?)))
            .collect();
        Self { path: format!("{}{prefix}", self.path), values }
    }

    /// Takes out a text; an option that is null counts as one that is not given.
    pub(crate) fn take_text(&mut self, name: &str) -> Option<String> {
        match self.take(name) {
            None | Some(Value::Null) => None,
            Some(Value::Text(text)) => Some(text),
        }
    }

    /// Takes out a switch.
    pub(crate) fn take_switch(&mut self, name: &str) -> Result<Option<bool>> {
        let Some(text) = self.take_text(name) else { return Ok(None) };
        match parse_switch(&text) {
            Some(is_on) => Ok(Some(is_on)),
            None => Err(self.bad(name, format!("'{text}' is neither on nor off"))),
        }
    }

    /// Takes out an option of a format's list.
    pub(crate) fn take_by(&mut self, spec: &OptionSpec) -> Result<Option<TypedValue>> {
        let Some(text) = self.take_text(spec.name) else { return Ok(None) };
        spec.parse(&text).map(Some).map_err(|reason| self.bad(spec.name, reason))
    }

    /// Takes out a size in bytes; suffixes as `k` and `M` are powers of 1024.
    pub(crate) fn take_size(&mut self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.take_text(name) else { return Ok(None) };
        parse_size(&text).map(Some).map_err(|error| self.bad(name, format!("'{text}' {error}")))
    }

    /// Takes out a plain number up to `max`.
    pub(crate) fn take_number(&mut self, name: &str, max: u64) -> Result<Option<u64>> {
        let Some(text) = self.take_text(name) else { return Ok(None) };
        let parsed = match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => text.parse(),
        };
        match parsed {
            Ok(number) if number <= max => Ok(Some(number)),
            _ => Err(self.bad(name, format!("'{text}' is not a number from 0 to {max}"))),
        }
    }

    /// Takes out one of several words.
    pub(crate) fn take_choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.take_text(name) else { return Ok(None) };
        if let Some((_, meaning)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*meaning));
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        Err(self.bad(name, format!("'{text}' is none of {}", words.join(", "))))
    }

    /// An error about the option `name`, by its whole path.
    pub(crate) fn bad(&self, name: &str, reason: impl Into<String>) -> Error {
        Error::invalid_option(format!("{}{name}", self.path), reason)
    }

    /// Refuses what nobody has taken out.
    pub(crate) fn finish(mut self, driver: &str) -> Result<()> {
        match self.values.pop_first() {
            None => Ok(()),
            Some((name, _)) => Err(self.bad(&name, format!("unknown to the driver '{driver}'"))),
        }
    }

    /// As a `json:` name, the levels nested.
    pub(crate) fn to_json_name(&self) -> String {
        let mut top = serde_json::Map::new();
        for (path, value) in &self.values {
            let value = match value {
                Value::Text(text) => serde_json::Value::String(text.clone()),
                Value::Null => serde_json::Value::Null,
            };
            insert_nested(&mut top, path, value);
        }
        format!("json:{}", spaced(&serde_json::Value::Object(top)))
    }
}

/// JSON on one line with a space behind each colon and comma.
fn spaced(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(object) => {
            let items: Vec<String> = object
                .iter()
                .map(|(key, value)| format!("{}: {}", serde_json::Value::String(key.clone()), spaced(value)))
                .collect();
            format!("{{{}}}", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// Puts a value under a path with dots; where a level is no object, the rest of the path stays one name.
fn insert_nested(
    object: &mut serde_json::Map<String, serde_json::Value>,
    path: &str,
    value: serde_json::Value,
) {
    let mut object = object;
    let mut rest = path;
    while let Some((level, below)) = rest.split_once('.') {
        let entry = object.entry(level).or_insert_with(|| serde_json::Value::Object(serde_json::Map::new()));
        match entry {
            serde_json::Value::Object(inner) => object = inner,
            _ => return,
        }
        rest = below;
    }
    object.insert(rest.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> NodeOptions {
        let mut options = NodeOptions::default();
        for (name, value) in pairs {
            options.set(name, *value);
        }
        options
    }

    #[test]
    fn levels_are_taken_out_whole_and_errors_name_the_path() {
        let mut top =
            options(&[("file.image.filename", "x"), ("file.align", "z"), ("files", "1"), ("fil", "2")]);
        assert!(top.has("file") && top.has_below("file.image") && !top.has("image"));
        let mut file = top.take_below("file");
        assert_eq!(top, options(&[("files", "1"), ("fil", "2")]));
        let mut image = file.take_below("image");
        assert_eq!(image.take_text("filename").as_deref(), Some("x"));
        assert!(image.is_empty());
        let error = file.take_size("align").unwrap_err().to_string();
        assert!(error.contains("'file.align'") && error.contains("'z'"), "{error}");
        let error = top.finish("raw").unwrap_err().to_string();
        assert!(error.contains("'fil'") && error.contains("'raw'"), "{error}");
    }

    #[test]
    fn words_and_numbers_are_checked() {
        let mut given = options(&[("a", "maybe"), ("b", "0x10"), ("c", "17"), ("d", "-1"), ("e", "on")]);
        assert!(given.take_switch("a").unwrap_err().to_string().contains("neither on nor off"));
        assert_eq!(given.take_number("b", 16).unwrap(), Some(16));
        assert!(given.take_number("c", 16).is_err());
        assert!(given.take_number("d", 16).is_err());
        assert_eq!(given.take_switch("e").unwrap(), Some(true));
        assert_eq!(given.take_switch("f").unwrap(), None);
        given.set("g", Value::Null);
        assert_eq!(given.take_text("g"), None);
        assert!(given.is_empty());
    }

    #[test]
    fn as_a_name() {
        let given = options(&[("driver", "null-co"), ("size", "1M"), ("file.driver", "file")]);
        assert_eq!(
            given.to_json_name(),
            r#"json:{"driver": "null-co", "file": {"driver": "file"}, "size": "1M"}"#
        );
    }
}
