//! What a name says, filled in where the options beside it leave it open.
//!
//! A name goes to the driver that the options give, or down to the file that the driver lies over; a `json:`
//! name is a set of options. Options that are given count more, and a name that would say what an option says
//! already is refused.

use blk_core::Result;
use blk_nbd::Address;

use super::nbd;
use super::node::Role;
use super::options::NodeOptions;
use super::text::{DEPTH_MAX, json, split_protocol, two_parts, unresolved};

/// Drivers of bytes: they are opened by a name of their own, without a format above them.
const PROTOCOLS: [&str; 7] = ["file", "host_device", "null-co", "null-aio", "blkdebug", "blkverify", "nbd"];

/// The options of a node with what `name`, and names in the options, stand for.
pub(super) fn complete(name: Option<&str>, options: NodeOptions, role: Role) -> Result<NodeOptions> {
    complete_at(name, options, role, 0)
}

pub(super) fn complete_at(
    name: Option<&str>,
    mut options: NodeOptions,
    role: Role,
    depth: usize,
) -> Result<NodeOptions> {
    if depth > DEPTH_MAX {
        return Err(options.bad("driver", format!("nodes nest deeper than {DEPTH_MAX}")));
    }
    let mut name = name;
    if let Some((whole, text)) = name.and_then(|name| Some((name, name.strip_prefix("json:")?))) {
        options.fill_from(json(whole, text)?);
        name = None;
    }
    let driver = options.peek("driver").map(str::to_owned);
    let is_protocol = match &driver {
        Some(driver) => PROTOCOLS.contains(&driver.as_str()),
        None => role == Role::Storage,
    };
    match name {
        None if !is_protocol => Ok(options),
        Some(name) if !is_protocol => {
            let file = options.take_below("file");
            options.set_below("file", complete_at(Some(name), file, Role::Storage, depth + 1)?);
            Ok(options)
        }
        _ => protocol(name, driver, options, depth),
    }
}

/// A node of a protocol, whose name it gets itself.
fn protocol(
    name: Option<&str>,
    driver: Option<String>,
    mut options: NodeOptions,
    depth: usize,
) -> Result<NodeOptions> {
    if name.is_some() && options.has("filename") {
        return Err(options.bad("filename", "a name and this option are given at the same time"));
    }
    let driver = match (driver, name) {
        (Some(driver), _) => driver,
        (None, Some(name)) => protocol_of(name)?,
        // The name of a file as it is: what stands before a colon is part of it.
        (None, None) if options.peek("filename").is_some() => "file".to_owned(),
        (None, None) => return Err(options.bad("driver", "neither a driver nor a file is given")),
    };
    options.set("driver", driver.as_str());
    if let Some(name) = name {
        take_name(&driver, name, &mut options)?;
    }
    for (from, child, role) in children(&driver) {
        if let Some(name) = options.take_text(from) {
            let below = options.take_below(child);
            options.set_below(child, complete_at(Some(&name), below, *role, depth + 1)?);
        }
    }
    Ok(options)
}

/// The children of a driver that an option can name: the option, the child, what it is.
fn children(driver: &str) -> &'static [(&'static str, &'static str, Role)] {
    match driver {
        "blkdebug" => &[("x-image", "image", Role::Storage)],
        "blkverify" => &[("x-raw", "raw", Role::Storage), ("x-image", "test", Role::Image)],
        _ => &[],
    }
}

/// The protocol that a name begins with.
fn protocol_of(name: &str) -> Result<String> {
    match split_protocol(name) {
        None => Ok("file".to_owned()),
        Some(_) if Address::is_meant_by(name) => Ok("nbd".to_owned()),
        Some((protocol, _)) if PROTOCOLS.contains(&protocol) => Ok(protocol.to_owned()),
        Some((protocol, _)) => Err(unresolved(name, format!("the protocol '{protocol}' is unknown"))),
    }
}

/// Enters what a name says to its driver.
fn take_name(driver: &str, name: &str, options: &mut NodeOptions) -> Result<()> {
    let own = name.strip_prefix(driver).and_then(|rest| rest.strip_prefix(':'));
    match (driver, own) {
        ("nbd", _) => nbd::take_name(name, options)?,
        ("file" | "host_device", own) => options.fill("filename", own.unwrap_or(name)),
        ("null-co" | "null-aio", Some("//")) => {}
        ("null-co" | "null-aio", _) => {
            return Err(unresolved(name, format!("the only name of this driver is '{driver}://'")));
        }
        ("blkdebug", Some(rest)) => {
            let (rules, file) = two_parts(name, rest, "blkdebug:RULES:FILE")?;
            if !rules.is_empty() {
                options.set("config", rules);
            }
            options.set("x-image", file);
        }
        ("blkverify", Some(rest)) => {
            let (raw, test) = two_parts(name, rest, "blkverify:RAW:TEST")?;
            options.set("x-raw", raw);
            options.set("x-image", test);
        }
        // Without the prefix it is the name of what lies below.
        _ => options.set("x-image", name),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::text::key_values;
    use crate::spec::text::tests::shown;

    fn image(name: &str, options: &str) -> String {
        shown(complete(Some(name), key_values(options).unwrap(), Role::Image))
    }

    #[test]
    fn names_with_and_without_a_protocol() {
        assert_eq!(image("a:b", "driver=raw"), "error: cannot open 'a:b': the protocol 'a' is unknown");
        let file = |name: &str| format!(r#"json:{{"file":{{"driver":"file","filename":"{name}"}}}}"#);
        assert_eq!(image("./a:b", ""), file("./a:b"));
        assert_eq!(image("file:a:b", ""), file("a:b"));
        assert_eq!(image("x.img", "driver=file"), r#"json:{"driver":"file","filename":"x.img"}"#);
        assert_eq!(image("null-co://", "driver=null-co"), r#"json:{"driver":"null-co"}"#);
        assert!(image("null-co:x", "").contains("the only name"));
        let server = r#""server.host":"localhost","server.port":"10809","server.type":"inet""#;
        let nbd = image("nbd://localhost/", "");
        assert!(nbd.contains(r#""driver":"nbd""#) && nbd.contains("localhost"), "{nbd} {server}");
    }

    #[test]
    fn names_inside_names() {
        assert_eq!(
            image("blkverify:a.raw:b.qcow2", "driver=blkverify"),
            r#"json:{"driver":"blkverify","raw":{"driver":"file","filename":"a.raw"},"test":{"file":{"driver":"file","filename":"b.qcow2"}}}"#
        );
        assert_eq!(
            image("blkdebug::b.qcow2", "driver=qcow2"),
            r#"json:{"driver":"qcow2","file":{"driver":"blkdebug","image":{"driver":"file","filename":"b.qcow2"}}}"#
        );
        assert!(image("blkdebug:rules:blkdebug::b", "").contains(r#""config":"rules""#));
        assert!(image("blkverify:a:blkverify:b:c", "").matches("blkverify").count() == 2);
        for wrong in ["blkverify:", "blkverify:a", "blkdebug:a"] {
            assert!(image(wrong, "").contains("its form is"), "{wrong}");
        }
        let deep = format!("{}x", "blkdebug::".repeat(50_000));
        assert!(image(&deep, "").ends_with("nodes nest deeper than 64"));
    }

    #[test]
    fn options_beside_a_name() {
        assert_eq!(
            image("blkdebug:r:a", "driver=blkdebug,image.driver=qcow2,align=4k"),
            r#"json:{"align":"4k","config":"r","driver":"blkdebug","image":{"driver":"qcow2","file":{"driver":"file","filename":"a"}}}"#
        );
        assert_eq!(
            image("a", "driver=qcow2,file.driver=blkdebug,file.align=512"),
            r#"json:{"driver":"qcow2","file":{"align":"512","driver":"blkdebug","image":{"driver":"file","filename":"a"}}}"#
        );
        assert_eq!(
            image("json:{'driver':'raw','size':512}", "driver=qcow2,file.filename=a"),
            r#"json:{"driver":"qcow2","file":{"filename":"a"},"size":"512"}"#
        );
        assert!(image("a", "file.filename=b").contains("'file.filename': a name and this option"));
        assert!(image("a", "driver=file,filename=b").contains("'filename': a name and this option"));
        assert!(
            image("a", "driver=qcow2,file.driver=raw,file.file.filename=b").contains("'file.file.filename'")
        );
    }

    #[test]
    fn options_without_a_name() {
        let bare = |options: &str| shown(complete(None, key_values(options).unwrap(), Role::Storage));
        assert_eq!(bare("filename=blkdebug::a"), r#"json:{"driver":"file","filename":"blkdebug::a"}"#);
        assert!(bare("driver=blkdebug,x-image=a").contains(r#""image":{"driver":"file","filename":"a"}"#));
        assert!(bare("size=1").contains("neither a driver nor a file"));
        let bare = |options: &str| shown(complete(None, key_values(options).unwrap(), Role::Image));
        assert_eq!(bare("filename=a"), r#"json:{"filename":"a"}"#);
    }
}
