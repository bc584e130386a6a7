//! Texts with placeholders.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// What placeholders stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    values: BTreeMap<&'static str, String>,
    /// Options of an image, `NAME=VALUE` each.
    pub(crate) image_options: Vec<String>,
    /// Options of an open.
    pub(crate) open_options: Map<String, Value>,
}

impl Names {
    /// The same; `{name}` stands for `value`.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.values.insert(name, value.to_string());
        self
    }

    /// The text with what its placeholders stand for. One that stands for nothing stays.
    pub(crate) fn text(&self, template: &str) -> String {
        let mut text = template.to_owned();
        for (name, value) in &self.values {
            let placeholder = format!("{{{name}}}");
            if text.contains(&placeholder) {
                text = text.replace(&placeholder, value);
            }
        }
        text
    }

    /// The words of a command line.
    pub(crate) fn words(&self, template: &[String]) -> Vec<String> {
        let mut words: Vec<String> = Vec::with_capacity(template.len());
        for word in template {
            match word.as_str() {
                "{options}" if self.image_options.is_empty() => drop(words.pop()),
                "{options}" => words.push(self.image_options.join(",")),
                _ => words.push(self.text(word)),
            }
        }
        words
    }

    /// The arguments of a command.
    pub(crate) fn object(&self, template: &Map<String, Value>) -> Map<String, Value> {
        let mut object = Map::new();
        for (name, value) in template {
            if name == "{options}" {
                object.extend(self.open_options.clone());
            } else {
                object.insert(self.text(name), self.value(value));
            }
        }
        object
    }

    fn value(&self, template: &Value) -> Value {
        match template {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(all) => Value::Array(all.iter().map(|one| self.value(one)).collect()),
            Value::Object(object) => Value::Object(self.object(object)),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_are_replaced_everywhere() {
        let mut names = Names::default().with("n", 7).with("file", "/a b");
        assert_eq!(names.text("x{n}-{n} {file} {other}"), "x7-7 /a b {other}");
        let words = ["create", "-o", "{options}", "{file}"].map(str::to_owned);
        assert_eq!(names.words(&words), ["create", "/a b"]);
        names.image_options = vec!["a=1".to_owned(), "b=on".to_owned()];
        assert_eq!(names.words(&words), ["create", "-o", "a=1,b=on", "/a b"]);
        names.open_options.insert("lazy".to_owned(), json!(true));
        let template = json!({"node": "n{n}", "{options}": true, "file": {"paths": ["{file}", 3]}});
        let object = names.object(template.as_object().unwrap());
        assert_eq!(
            Value::Object(object),
            json!({"node": "n7", "lazy": true, "file": {"paths": ["/a b", 3]}})
        );
    }
}
