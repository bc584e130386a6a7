//! What stands on a command line, or in an image's header, as options: file names, `json:` names,
//! `key=value,...`.

use std::borrow::Cow;

use blk_core::{Error, Result};

use super::json::{self, Json};
use super::options::{NodeOptions, Value};

/// How deep names and nodes may nest: `blkdebug::blkdebug::...`.
pub(crate) const DEPTH_MAX: usize = 64;

/// Most bytes of a specification.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a name or a value that a message shows.
const SHOWN_BYTES_MAX: usize = 256;

/// What a message shows of `text`: all of it, or its beginning and its end.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let begin = text.floor_char_boundary(SHOWN_BYTES_MAX * 3 / 4);
    let end = text.ceil_char_boundary(text.len() - SHOWN_BYTES_MAX / 4);
    Cow::Owned(format!("{}[...]{}", &text[..begin], &text[end..]))
}

/// The same error with names, values and reasons that can be read.
pub(crate) fn shortened(error: Error) -> Error {
    match error {
        Error::Unresolved { name, reason } => {
            Error::Unresolved { name: shown(&name).into_owned(), reason: shown(&reason).into_owned() }
        }
        Error::InvalidOption { name, reason } => Error::InvalidOption {
            name: shown(&name).into_owned().into(),
            reason: shown(&reason).into_owned(),
        },
        other => other,
    }
}

/// Refuses a text that is too long to be a specification.
pub(super) fn check_length(what: &'static str, text: &str) -> Result<()> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let reason = format!("{} bytes are more than an image specification has, {TEXT_BYTES_MAX}", text.len());
    Err(Error::invalid_option(what, reason))
}

pub(super) fn unresolved(name: &str, reason: String) -> Error {
    Error::Unresolved { name: name.to_owned(), reason }
}

/// Protocol and rest of a name that has one: there is a colon before any slash.
pub(crate) fn split_protocol(name: &str) -> Option<(&str, &str)> {
    let (protocol, rest) = name.split_once(':')?;
    (!protocol.contains('/')).then_some((protocol, rest))
}

/// The parts of a name, `rest` without its protocol, that has two.
pub(super) fn two_parts<'a>(name: &str, rest: &'a str, form: &str) -> Result<(&'a str, &'a str)> {
    match rest.split_once(':') {
        Some((first, second)) if !second.is_empty() => Ok((first, second)),
        _ => Err(unresolved(name, format!("its form is {form}"))),
    }
}

/// The options in the object of a `json:` name: nested objects, or dots in the keys, or both.
pub(super) fn json(name: &str, text: &str) -> Result<NodeOptions> {
    match json::parse(text) {
        Ok(Json::Object(members)) => {
            let mut options = NodeOptions::default();
            flatten_all(&mut options, "", members)?;
            Ok(options)
        }
        Ok(_) => Err(unresolved(name, "what follows json: is no object".to_owned())),
        Err(reason) => Err(unresolved(name, format!("what follows json: cannot be read: {reason}"))),
    }
}

/// Enters the members of an object. What stands in nested objects replaces the same said by dots in a key.
fn flatten_all(options: &mut NodeOptions, prefix: &str, members: Vec<(String, Json)>) -> Result<()> {
    let is_nested = |value: &Json| matches!(value, Json::Object(_) | Json::Array(_));
    let (nested, plain): (Vec<_>, Vec<_>) = members.into_iter().partition(|(_, value)| is_nested(value));
    for (key, value) in plain.into_iter().chain(nested) {
        flatten(options, &format!("{prefix}{key}"), value)?;
    }
    Ok(())
}

/// Enters a value; the depth is bounded by what the JSON parser lets through.
fn flatten(options: &mut NodeOptions, key: &str, value: Json) -> Result<()> {
    match value {
        Json::Object(members) => {
            options.check_key(key)?;
            flatten_all(options, &format!("{key}."), members)
        }
        Json::Array(items) => {
            options.check_key(key)?;
            for (index, value) in items.into_iter().enumerate() {
                flatten(options, &format!("{key}.{index}"), value)?;
            }
            Ok(())
        }
        Json::Null => options.enter(key, Value::Null),
        Json::Bool(switch) => options.enter(key, if switch { "on" } else { "off" }),
        Json::Number(text) | Json::Text(text) => options.enter(key, Value::Text(text)),
    }
}

/// The options of `--image-opts`: `key=value,...`, a comma inside a value doubled. A later value replaces an
/// earlier one; a key alone is switched on, one that starts with `no` off.
pub(crate) fn key_values(text: &str) -> Result<NodeOptions> {
    check_length("--image-opts", text)?;
    let mut options = NodeOptions::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (item, after) = next_item(rest);
        rest = after;
        match item.split_once('=') {
            Some(("", _)) => {
                // Its value may be part of a passphrase.
                return Err(Error::invalid_option("--image-opts", "a value has no key before its '='"));
            }
            Some((key, value)) => options.enter(key, value)?,
            None => {
                let off =
                    item.strip_prefix("no").filter(|key| !key.is_empty() && !item.starts_with("node-name"));
                options.enter(off.unwrap_or(&item), if off.is_some() { "off" } else { "on" })?;
            }
        }
    }
    Ok(options)
}

/// The first item, with doubled commas made single, and what follows its comma.
fn next_item(text: &str) -> (String, &str) {
    let mut item = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(',') {
        item.push_str(before);
        let Some(more) = after.strip_prefix(',') else { return (item, after) };
        item.push(',');
        rest = more;
    }
    item.push_str(rest);
    (item, "")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The options as a name without blanks, or the error.
    pub(in crate::spec) fn shown(options: Result<NodeOptions>) -> String {
        match options {
            Ok(options) => {
                options.to_json_name().replace("\": ", "\":").replace("\", \"", "\",\"").replace("}, ", "},")
            }
            Err(error) => format!("error: {error}"),
        }
    }

    fn named(name: &str) -> Result<NodeOptions> {
        json(name, name.strip_prefix("json:").unwrap())
    }

    #[test]
    fn json_nested_and_dotted() {
        let nested = r#"json:{"driver":"raw","file":{"driver":"file","filename":"a"},"size":512,"x":null,"l":[true,1]}"#;
        let dotted = r#"json:{"driver":"raw","file.driver":"file","file.filename":"a","size":"512","x":null,"l.0":"on","l.1":"1"}"#;
        assert_eq!(named(nested).unwrap(), named(dotted).unwrap());
        assert!(shown(named("json:[1]")).contains("no object"));
        assert!(shown(named("json:{")).contains("cannot be read"));
        assert!(shown(named(&format!("json:{{\"a\":{}", "[".repeat(100_000)))).contains("cannot be read"));
    }

    #[test]
    fn key_value_lists() {
        assert_eq!(
            shown(key_values("driver=raw,file.filename=a,,b=c.img,offset=1k,driver=qcow2")),
            r#"json:{"driver":"qcow2","file":{"filename":"a,b=c.img"},"offset":"1k"}"#
        );
        assert_eq!(
            shown(key_values("read-only,nolocking,backing=")),
            r#"json:{"backing":"","locking":"off","read-only":"on"}"#
        );
        assert_eq!(shown(key_values("")), "json:{}");
        assert_eq!(shown(key_values("a=1,,")), r#"json:{"a":"1,"}"#);
        assert!(shown(key_values("=x")).starts_with("error"));
    }
}
