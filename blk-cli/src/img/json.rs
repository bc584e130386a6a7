//! JSON as QEMU's tools lay it out: four spaces a level, an element a line, also where there is none.

use std::fmt::Write;

use blk_core::name;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    /// `true` or `false`.
    Switch(bool),
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object; the order is kept.
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    /// The text, without a line end behind it.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text
    }

    fn write(&self, text: &mut String, level: usize) {
        match self {
            Self::Switch(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::Number(value) => text.push_str(&value.to_string()),
            Self::Text(value) => text.push_str(&quoted(value)),
            Self::List(values) => {
                text.push('[');
                for (index, value) in values.iter().enumerate() {
                    begin_element(text, index, level + 1);
                    value.write(text, level + 1);
                }
                end(text, ']', level);
            }
            Self::Object(members) => {
                text.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    begin_element(text, index, level + 1);
                    text.push_str(&quoted(name));
                    text.push_str(": ");
                    value.write(text, level + 1);
                }
                end(text, '}', level);
            }
        }
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Switch(value)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

fn begin_element(text: &mut String, index: usize, level: usize) {
    if index > 0 {
        text.push(',');
    }
    text.push('\n');
    text.push_str(&"    ".repeat(level));
}

fn end(text: &mut String, bracket: char, level: usize) {
    text.push('\n');
    text.push_str(&"    ".repeat(level));
    text.push(bracket);
}

/// A text between quotes; everything but printable ASCII is escaped, and what is no UTF-8 in a file name is
/// replaced.
pub(crate) fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for chunk in name::to_bytes(value).utf8_chunks() {
        chunk.valid().chars().for_each(|character| escape(&mut text, character));
        if !chunk.invalid().is_empty() {
            escape(&mut text, char::REPLACEMENT_CHARACTER);
        }
    }
    text.push('"');
    text
}

fn escape(text: &mut String, character: char) {
    match character {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        ' '..='~' => text.push(character),
        _ => {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a String does not fail.
                let _ = write!(text, "\\u{unit:04X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lists_take_two_lines() {
        let json = Json::Object(vec![("a", Json::List(Vec::new())), ("b", Json::Object(Vec::new()))]);
        assert_eq!(json.render(), "{\n    \"a\": [\n    ],\n    \"b\": {\n    }\n}");
    }

    #[test]
    fn what_is_not_printable_ascii_is_escaped() {
        assert_eq!(quoted("a\"\\\n\u{7f}ä💾"), r#""a\"\\\n\u007F\u00E4\uD83D\uDCBE""#);
    }
}
