//! The JSON of `json:` names: RFC 8259, and what QEMU takes besides.
//!
//! Strings may stand in single quotes, `\'` is an escape in both kinds, and a key occurs once in an object. A
//! number is kept as the text that it stands for as an option: a whole one as it is, another in the shortest
//! form of 17 digits.

use std::collections::HashSet;

/// How deep arrays and objects may nest.
const DEPTH_MAX: usize = 128;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    /// In the order of the text; no key occurs twice.
    Object(Vec<(String, Json)>),
}

/// What is wrong with a text, and where.
type Parsed<T> = Result<T, String>;

/// Reads a text that is one value.
pub(super) fn parse(text: &str) -> Parsed<Json> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_blanks();
    if reader.at < text.len() { Err(reader.unexpected("the end")) } else { Ok(value) }
}

struct Reader<'a> {
    text: &'a str,
    /// A character boundary.
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes an ASCII character, if it comes next.
    fn pass(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn wrong(&self, what: &str) -> String {
        format!("{what} at byte {}", self.at)
    }

    fn unexpected(&self, wanted: &str) -> String {
        match self.rest().chars().next() {
            Some(found) => self.wrong(&format!("{found:?} instead of {wanted}")),
            None => format!("it ends where {wanted} is expected"),
        }
    }

    fn value(&mut self, depth: usize) -> Parsed<Json> {
        if depth > DEPTH_MAX {
            return Err(self.wrong(&format!("values nest deeper than {DEPTH_MAX}")));
        }
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"' | b'\'') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b'a'..=b'z') => self.word(),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn word(&mut self) -> Parsed<Json> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
        let value = match &rest[..end] {
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            "null" => Json::Null,
            _ => return Err(self.unexpected("a value")),
        };
        self.at += end;
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Parsed<Json> {
        let (mut members, mut keys) = (Vec::new(), HashSet::new());
        self.at += 1;
        self.skip_blanks();
        if self.pass(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_blanks();
            if !matches!(self.peek(), Some(b'"' | b'\'')) {
                return Err(self.unexpected("a key in quotes"));
            }
            let key = self.string()?;
            if !keys.insert(key.clone()) {
                return Err(self.wrong(&format!("the key '{key}' comes twice")));
            }
            self.skip_blanks();
            if !self.pass(b':') {
                return Err(self.unexpected("':'"));
            }
            members.push((key, self.value(depth + 1)?));
            self.skip_blanks();
            if self.pass(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.pass(b',') {
                return Err(self.unexpected("',' or '}'"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Parsed<Json> {
        let mut items = Vec::new();
        self.at += 1;
        self.skip_blanks();
        if self.pass(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            if self.pass(b']') {
                return Ok(Json::Array(items));
            }
            if !self.pass(b',') {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    fn string(&mut self) -> Parsed<String> {
        let quote = if self.pass(b'"') { '"' } else { '\'' };
        self.at += usize::from(quote == '\'');
        let mut string = String::new();
        loop {
            let Some(letter) = self.rest().chars().next() else {
                return Err("it ends inside a string".to_owned());
            };
            if letter < ' ' {
                return Err(self.wrong("a control character inside a string"));
            }
            self.at += letter.len_utf8();
            match letter {
                '\\' => string.push(self.escape()?),
                _ if letter == quote => return Ok(string),
                _ => string.push(letter),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Parsed<char> {
        let meaning = match self.peek() {
            Some(byte @ (b'"' | b'\'' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.unexpected("an escape")),
        };
        self.at += 1;
        Ok(meaning)
    }

    /// Four digits, or two times four with an escape between for what lies outside the basic plane.
    fn unicode(&mut self) -> Parsed<char> {
        let first = self.unit()?;
        let code = if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            self.at += 2;
            let second = self.unit()?;
            0x10000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff)
        } else {
            first
        };
        // A name with a zero byte cannot be opened.
        char::from_u32(code).filter(|c| *c != '\0').ok_or_else(|| self.wrong("no character"))
    }

    fn unit(&mut self) -> Parsed<u32> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()));
        let Some(digits) = digits else { return Err(self.unexpected("four hexadecimal digits")) };
        let unit = u32::from_str_radix(digits, 16).map_err(|error| self.wrong(&error.to_string()))?;
        self.at += 4;
        Ok(unit)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Parsed<String> {
        let start = self.at;
        self.pass(b'-');
        let zero_first = self.peek() == Some(b'0');
        match self.digits() {
            0 => return Err(self.unexpected("a digit")),
            1 => {}
            _ if zero_first => return Err(self.wrong("a number that starts with 0")),
            _ => {}
        }
        let mut is_whole = true;
        if self.pass(b'.') {
            is_whole = false;
            if self.digits() == 0 {
                return Err(self.unexpected("a digit"));
            }
        }
        if self.pass(b'e') || self.pass(b'E') {
            is_whole = false;
            let _ = self.pass(b'+') || self.pass(b'-');
            if self.digits() == 0 {
                return Err(self.unexpected("a digit"));
            }
        }
        let text = &self.text[start..self.at];
        if is_whole && (text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()) {
            return Ok(text.to_owned());
        }
        let number: f64 = text.parse().map_err(|_| self.wrong("a number that cannot be read"))?;
        Ok(shortest(number))
    }
}

/// A number as C prints it for `%.17g`: 17 digits without zeroes at the end, with an exponent where it is far
/// from 1.
fn shortest(number: f64) -> String {
    let scientific = format!("{number:.16e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let without_zeroes = |text: &str| {
        let digits = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
        digits.to_owned()
    };
    if (-4..17).contains(&exponent) {
        without_zeroes(&format!("{number:.*}", usize::try_from(16 - exponent).unwrap_or(0)))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", without_zeroes(mantissa), exponent.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        match parse(json) {
            Ok(Json::Text(text) | Json::Number(text)) => text,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn both_quotes_and_all_escapes() {
        assert_eq!(text(r#" 'a"\'\"' "#), "a\"'\"");
        assert_eq!(text(r#""a'\'\"""#), "a''\"");
        assert_eq!(text(r"'\\\/\b\f\n\r\t'"), "\\/\u{8}\u{c}\n\r\t");
        assert_eq!(text(r"'\u0041\u00e9\ud83d\ude00é'"), "Aé😀é");
        for wrong in
            [r"'\a'", r"'\x41'", r"'\u12'", r"'\ud800'", r"'\ude00'", r"'\u0000'", "'\n'", "'", "'a\""]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_become_texts() {
        for (number, expected) in [
            ("0", "0"),
            ("-5", "-5"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("1e3", "1000"),
            ("1E2", "100"),
            ("1024.5", "1024.5"),
            ("0.1", "0.10000000000000001"),
            ("1e-5", "1.0000000000000001e-05"),
            ("1e400", "inf"),
        ] {
            assert_eq!(text(number), expected);
        }
        for wrong in ["01", "00", "+1", ".5", "5.", "-", "1e", "1e+", "0x10", "1k", "--1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn structures() {
        let object = parse("\t{ 'a' : [ true , false,null ] ,\r\n\"b\":{}, 'c':[]}\n").unwrap();
        let Json::Object(members) = object else { panic!() };
        assert_eq!(members[0].1, Json::Array(vec![Json::Bool(true), Json::Bool(false), Json::Null]));
        assert_eq!((&members[1].1, &members[2].1), (&Json::Object(Vec::new()), &Json::Array(Vec::new())));
        for wrong in [
            "",
            " ",
            "{",
            "}",
            "[",
            "[1",
            "[1,]",
            "[,1]",
            "{'a'}",
            "{'a':}",
            "{'a':1,}",
            "{,}",
            "{a:1}",
            "{1:1}",
            "{'a':1 'b':2}",
            "{}{}",
            "{} x",
            "True",
            "nul",
            "nulls",
            "/**/1",
            "\u{a0}1",
            "\u{feff}{}",
            "\u{b}1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("{'a':1,'a':1}").unwrap_err().contains("'a' comes twice"));
        assert!(parse(&"[".repeat(100_000)).unwrap_err().contains("deeper than"));
        assert_eq!(parse("[1 2]").unwrap_err(), "'2' instead of ',' or ']' at byte 3");
    }
}
