//! What stands on a command line, or in an image's header, as options: file names, `json:` names, `key=value,...`.

use std::borrow::Cow;

use blk_core::{Error, Result};
use serde_json::Value as Json;

use super::options::{NodeOptions, Value};

/// How deep names and nodes may nest: `blkdebug::blkdebug::...`.
pub(crate) const DEPTH_MAX: usize = 64;

/// Most bytes of a specification.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a name or a value that a message shows.
const SHOWN_BYTES_MAX: usize = 256;

/// Drivers that are opened by a name of their own, without a format above them.
pub(crate) const PROTOCOLS: [&str; 6] =
    ["file", "host_device", "null-co", "null-aio", "blkdebug", "blkverify"];

/// The options that `name` stands for, as an image of format `format`, or of a format to be found out.
pub(crate) fn image(name: &str, format: Option<&str>) -> Result<NodeOptions> {
    image_at(name, format, 0)
}

fn image_at(name: &str, format: Option<&str>, depth: usize) -> Result<NodeOptions> {
    check_length("the name", name)?;
    let mut protocol = protocol_at(name, depth)?;
    let is_protocol = |driver: &str| PROTOCOLS.contains(&driver);
    match format {
        _ if name.starts_with("json:") => {
            if let Some(format) = format {
                protocol.set("driver", format);
            }
            Ok(protocol)
        }
        Some(format) if is_protocol(format) => {
            protocol.set("driver", format);
            Ok(protocol)
        }
        _ => {
            let mut image = NodeOptions::default();
            image.set_below("file", protocol);
            if let Some(format) = format {
                image.set("driver", format);
            }
            Ok(image)
        }
    }
}

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

fn protocol_at(name: &str, depth: usize) -> Result<NodeOptions> {
    if depth > DEPTH_MAX {
        return Err(unresolved(name, format!("names nest deeper than {DEPTH_MAX}")));
    }
    if let Some(text) = name.strip_prefix("json:") {
        return json(name, text);
    }
    let mut options = NodeOptions::default();
    let Some((protocol, rest)) = split_protocol(name) else {
        options.set("driver", "file");
        options.set("filename", name);
        return Ok(options);
    };
    match protocol {
        "file" => {
            options.set("driver", "file");
            options.set("filename", rest);
        }
        "null-co" | "null-aio" if rest == "//" => options.set("driver", protocol),
        "null-co" | "null-aio" => {
            return Err(unresolved(name, format!("the only name of this driver is '{protocol}://'")));
        }
        "blkverify" => {
            let (raw, test) = two_parts(name, rest, "blkverify:RAW:TEST")?;
            options.set("driver", "blkverify");
            options.set_below("raw", protocol_at(raw, depth + 1)?);
            options.set_below("test", image_at(test, None, depth + 1)?);
        }
        "blkdebug" => {
            let (rules, file) = two_parts(name, rest, "blkdebug:RULES:FILE")?;
            options.set("driver", "blkdebug");
            if !rules.is_empty() {
                options.set("config", rules);
            }
            options.set_below("image", protocol_at(file, depth + 1)?);
        }
        "nbd" | "nbd+tcp" | "nbd+unix" | "nbds" => return Err(not_yet_nbd()),
        _ => return Err(unresolved(name, format!("the protocol '{protocol}' is unknown"))),
    }
    Ok(options)
}

fn check_length(what: &'static str, text: &str) -> Result<()> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let reason = format!("{} bytes are more than an image specification has, {TEXT_BYTES_MAX}", text.len());
    Err(Error::invalid_option(what, reason))
}

/// What is said of NBD.
pub(crate) fn not_yet_nbd() -> Error {
    Error::unsupported("not supported yet: NBD")
}

fn unresolved(name: &str, reason: String) -> Error {
    Error::Unresolved { name: name.to_owned(), reason }
}

/// Protocol and rest of a name that has one: there is a colon before any slash.
pub(crate) fn split_protocol(name: &str) -> Option<(&str, &str)> {
    let (protocol, rest) = name.split_once(':')?;
    (!protocol.contains('/')).then_some((protocol, rest))
}

fn two_parts<'a>(name: &str, rest: &'a str, form: &str) -> Result<(&'a str, &'a str)> {
    match rest.split_once(':') {
        Some((first, second)) if !second.is_empty() => Ok((first, second)),
        _ => Err(unresolved(name, format!("its form is {form}"))),
    }
}

/// The options in the object of a `json:` name: nested objects, or dots in the keys, or both.
fn json(name: &str, text: &str) -> Result<NodeOptions> {
    match serde_json::from_str(text) {
        Ok(Json::Object(object)) => {
            let mut options = NodeOptions::default();
            for (key, value) in object {
                flatten(&mut options, &key, value)?;
            }
            Ok(options)
        }
        Ok(_) => Err(unresolved(name, "what follows json: is no object".to_owned())),
        Err(error) => Err(unresolved(name, format!("what follows json: cannot be read: {error}"))),
    }
}

/// Enters a value; the depth is bounded by what the JSON parser lets through.
fn flatten(options: &mut NodeOptions, key: &str, value: Json) -> Result<()> {
    match value {
        Json::Object(object) => {
            options.check_key(key)?;
            for (below, value) in object {
                flatten(options, &format!("{key}.{below}"), value)?;
            }
            Ok(())
        }
        Json::Array(list) => {
            options.check_key(key)?;
            for (index, value) in list.into_iter().enumerate() {
                flatten(options, &format!("{key}.{index}"), value)?;
            }
            Ok(())
        }
        Json::Null => options.enter(key, Value::Null),
        Json::Bool(switch) => options.enter(key, if switch { "on" } else { "off" }),
        Json::Number(number) => options.enter(key, Value::Text(number.to_string())),
        Json::String(text) => options.enter(key, Value::Text(text)),
    }
}

/// The options of `--image-opts`: `key=value,...`, a comma inside a value doubled. A later value replaces an earlier one;
/// a key alone is switched on, one that starts with `no` off.
pub(crate) fn key_values(text: &str) -> Result<NodeOptions> {
    check_length("--image-opts", text)?;
    let mut options = NodeOptions::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (item, after) = next_item(rest);
        rest = after;
        match item.split_once('=') {
            Some(("", _)) => {
                return Err(Error::invalid_option("--image-opts", format!("'{item}' has no key")));
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
mod tests {
    use super::*;

    fn shown(options: Result<NodeOptions>) -> String {
        match options {
            Ok(options) => {
                options.to_json_name().replace("\": ", "\":").replace("\", \"", "\",\"").replace("}, ", "},")
            }
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn names_with_and_without_a_protocol() {
        assert_eq!(shown(image("a:b", Some("raw"))), "error: cannot open 'a:b': the protocol 'a' is unknown");
        let file = |name: &str| format!(r#"json:{{"file":{{"driver":"file","filename":"{name}"}}}}"#);
        assert_eq!(shown(image("./a:b", None)), file("./a:b"));
        assert_eq!(shown(image("file:a:b", None)), file("a:b"));
        assert_eq!(shown(image("x.img", Some("file"))), r#"json:{"driver":"file","filename":"x.img"}"#);
        assert_eq!(shown(image("null-co://", Some("null-co"))), r#"json:{"driver":"null-co"}"#);
        assert!(shown(image("null-co:x", None)).contains("the only name"));
        assert!(shown(image("nbd://localhost/", None)).contains("not supported yet: NBD"));
    }

    #[test]
    fn names_inside_names() {
        assert_eq!(
            shown(image("blkverify:a.raw:b.qcow2", Some("blkverify"))),
            r#"json:{"driver":"blkverify","raw":{"driver":"file","filename":"a.raw"},"test":{"file":{"driver":"file","filename":"b.qcow2"}}}"#
        );
        assert_eq!(
            shown(image("blkdebug::b.qcow2", Some("qcow2"))),
            r#"json:{"driver":"qcow2","file":{"driver":"blkdebug","image":{"driver":"file","filename":"b.qcow2"}}}"#
        );
        assert!(shown(image("blkdebug:rules:blkdebug::b", None)).contains(r#""config":"rules""#));
        assert!(shown(image("blkverify:a:blkverify:b:c", None)).matches("blkverify").count() == 2);
        for wrong in ["blkverify:", "blkverify:a", "blkdebug:a", "blkdebug:", "blkverify:a:"] {
            assert!(shown(image(wrong, None)).contains("its form is"), "{wrong}");
        }
        let deep = format!("{}x", "blkdebug::".repeat(100_000));
        assert!(shown(image(&deep, None)).ends_with("names nest deeper than 64"));
    }

    #[test]
    fn json_nested_and_dotted() {
        let nested = r#"json:{"driver":"raw","file":{"driver":"file","filename":"a"},"size":512,"x":null,"l":[true,1]}"#;
        let dotted = r#"json:{"driver":"raw","file.driver":"file","file.filename":"a","size":"512","x":null,"l.0":"on","l.1":"1"}"#;
        assert_eq!(image(nested, None).unwrap(), image(dotted, None).unwrap());
        assert_eq!(image(nested, Some("qcow2")).unwrap().peek("driver"), Some("qcow2"));
        assert!(shown(image("json:[1]", None)).contains("no object"));
        assert!(shown(image("json:{", None)).contains("cannot be read"));
        assert!(
            shown(image(&format!("json:{{\"a\":{}", "[".repeat(100_000)), None)).contains("cannot be read")
        );
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
