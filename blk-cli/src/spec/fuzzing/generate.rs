//! Image specifications that mostly make sense.
//!
//! Bytes that are changed at random rarely stay a specification that can be opened: a wrong letter in a name
//! is a file that does not exist. So a part of the inputs is made whole, from the grammar, and now and then
//! with a value that fits nowhere.

use blk_harness::random::Random;

use crate::spec::events::QEMU_EVENTS;
use crate::spec::options::{NodeOptions, Value};

/// How deep nodes nest in what is made whole.
const DEPTH_MAX: u64 = 4;

/// Values at the limits of what options take.
const ODD: [&str; 24] = [
    "",
    "0",
    "1",
    "-1",
    "511",
    "512",
    "1k",
    "4k",
    "64k",
    "1M",
    "2M",
    "1G",
    "1.5k",
    "0x200",
    "1e3",
    "7E",
    "8E",
    "on",
    "off",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "none",
    "a,b=c",
];
const SWITCH: &[&str] = &["on", "off", "yes", "false"];
const BYTES: &[&str] = &["512", "1k", "4k", "64k"];

/// Options of any node.
const COMMON: &[(&str, &[&str])] = &[
    ("read-only", &["on"]),
    ("auto-read-only", SWITCH),
    ("force-share", SWITCH),
    ("detect-zeroes", &["off", "on", "unmap"]),
    ("discard", &["unmap", "on"]),
    ("cache.no-flush", SWITCH),
    ("cache.direct", SWITCH),
    ("node-name", &["top"]),
];
const QCOW2: &[(&str, &[&str])] = &[
    ("lazy-refcounts", SWITCH),
    ("l2-cache-size", &["0", "64k", "1M"]),
    ("refcount-cache-size", &["0", "64k", "256k"]),
    ("l2-cache-entry-size", &["512"]),
    ("cache-clean-interval", &["0", "600"]),
    ("overlap-check", &["none", "constant", "cached", "all"]),
    ("overlap-check.active-l1", SWITCH),
    ("pass-discard-request", SWITCH),
    ("pass-discard-snapshot", SWITCH),
    ("discard-no-unref", SWITCH),
    ("check", SWITCH),
];
const RAW: &[(&str, &[&str])] = &[("offset", &["0", "512"]), ("size", &["512", "1k"])];
const FILE: &[(&str, &[&str])] = &[("locking", &["auto", "on", "off"]), ("aio", &["threads", "native"])];
const THROTTLE: &[(&str, &[&str])] = &[("throttle-group", &["group", ""])];
const NULL: &[(&str, &[&str])] =
    &[("size", &["0", "512", "64k", "1M"]), ("read-zeroes", SWITCH), ("latency-ns", &["0", "1000000"])];
const DEBUG: &[(&str, &[&str])] = &[
    ("align", BYTES),
    ("max-transfer", &["64k", "128k"]),
    ("opt-write-zero", &["64k"]),
    ("max-write-zero", &["128k"]),
    ("opt-discard", &["64k"]),
    ("max-discard", &["128k"]),
    ("config", &["rules"]),
];
const RULE: &[(&str, &[&str])] = &[
    ("state", &["1", "2"]),
    ("errno", &["5", "28"]),
    ("sector", &["-1", "0", "3", "9999"]),
    ("iotype", &["read", "write", "flush", "block-status"]),
    ("once", SWITCH),
    ("immediately", SWITCH),
];

/// A specification in the form that [`super::specification`] takes.
pub fn generate(rng: &mut Random) -> Vec<u8> {
    let parts = [whole(rng), beside(rng), rules_file(rng), backing(rng)];
    parts.join("\0").into_bytes()
}

/// Changes the input `data[..size]` in place and returns its new size, at most `size_max`: another one from
/// the grammar, one of its parts from the grammar, or what the fuzzer's own mutator makes of it.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    size_max: usize,
    seed: u32,
    default_mutate: impl FnOnce(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut rng = Random::new(u64::from(seed));
    let size_max = size_max.min(data.len());
    let made = match rng.below(4) {
        0 => generate(&mut rng),
        1 => with_another_part(&mut rng, &data[..size.min(size_max)]),
        _ => return default_mutate(data, size.min(size_max), size_max),
    };
    let length = made.len().min(size_max);
    data[..length].copy_from_slice(&made[..length]);
    length
}

fn with_another_part(rng: &mut Random, data: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(data);
    let mut parts: Vec<String> = text.split('\0').map(str::to_owned).collect();
    parts.resize(4, String::new());
    match rng.below(4) {
        0 => parts[0] = whole(rng),
        1 => parts[1] = beside(rng),
        2 => parts[2] = rules_file(rng),
        _ => parts[3] = backing(rng),
    }
    parts.join("\0").into_bytes()
}

fn whole(rng: &mut Random) -> String {
    if rng.chance(1, 4) {
        return name(rng, 0);
    }
    let mut options = NodeOptions::default();
    image(rng, &mut options, "", 0);
    if rng.chance(1, 2) { options.to_json_name() } else { list(options) }
}

/// A list of `--image-opts`.
fn list(options: NodeOptions) -> String {
    let items = options.into_values().map(|(key, value)| match value {
        Value::Text(text) => format!("{key}={}", text.replace(',', ",,")),
        Value::Null => format!("{key}="),
    });
    format!("opts:{}", items.collect::<Vec<_>>().join(","))
}

fn name(rng: &mut Random, depth: u64) -> String {
    let plain = rng.one_of(&["raw", "qcow2", "overlay", "qcow2", "overlay", "null-co://", "gone"]).to_owned();
    if depth >= DEPTH_MAX {
        return plain;
    }
    match rng.below(8) {
        0 => format!("blkdebug::{}", name(rng, depth + 1)),
        1 => format!("blkdebug:rules:{}", name(rng, depth + 1)),
        2 => format!("blkverify:raw:{}", name(rng, depth + 1)),
        3 => format!("file:{plain}"),
        _ => plain,
    }
}

/// Options beside a name.
fn beside(rng: &mut Random) -> String {
    let mut options = NodeOptions::default();
    if rng.chance(1, 4) {
        set_some(rng, &mut options, "", COMMON);
    }
    options
        .into_values()
        .map(|(key, value)| match value {
            Value::Text(text) => format!("{key}={text}"),
            Value::Null => key,
        })
        .collect::<Vec<_>>()
        .join(",")
}

fn backing(rng: &mut Random) -> String {
    match rng.below(4) {
        0 => String::new(),
        1 => "raw".to_owned(),
        2 => name(rng, 0),
        _ => {
            let mut options = NodeOptions::default();
            image(rng, &mut options, "", 1);
            options.to_json_name()
        }
    }
}

fn rules_file(rng: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..rng.below(4) {
        let mut options = NodeOptions::default();
        let is_inject = rule(rng, &mut options, "");
        text += if is_inject { "[inject-error]\n" } else { "[set-state \"a\"]\n" };
        for (key, value) in options.into_values() {
            if let Value::Text(value) = value {
                text.extend([key.as_str(), " = \"", &value, "\"\n"]);
            }
        }
    }
    text
}

/// The options of a rule; whether it is one that injects an error.
fn rule(rng: &mut Random, options: &mut NodeOptions, prefix: &str) -> bool {
    // Most events never come while an image is opened, so that it can be.
    options.set(&format!("{prefix}event"), rng.one_of(&QEMU_EVENTS));
    let is_inject = rng.chance(1, 2);
    if is_inject {
        set_some(rng, options, prefix, RULE);
    } else {
        options.set(&format!("{prefix}state"), rng.one_of(&["0", "1", "2"]));
        options.set(&format!("{prefix}new_state"), rng.one_of(&["1", "2", "3"]));
    }
    is_inject
}

fn set_some(rng: &mut Random, options: &mut NodeOptions, prefix: &str, choices: &[(&str, &[&str])]) {
    for (key, values) in choices {
        if rng.chance(1, 8) {
            let value = if rng.chance(1, 32) { rng.one_of(&ODD) } else { rng.one_of(values) };
            options.set(&format!("{prefix}{key}"), value);
        }
    }
}

/// A disk. The path of a node ends in a dot, or is empty.
fn image(rng: &mut Random, options: &mut NodeOptions, path: &str, depth: u64) {
    match rng.below(10) {
        0..3 => format(rng, options, path, depth, "raw"),
        3..6 => format(rng, options, path, depth, "qcow2"),
        // The format is found out.
        6 => bytes(rng, options, &format!("{path}file."), depth + 1, "overlay"),
        7 | 8 if depth < DEPTH_MAX => filter(rng, options, path, depth),
        _ => bytes(rng, options, path, depth, "raw"),
    }
}

/// A filter over an image.
fn filter(rng: &mut Random, options: &mut NodeOptions, path: &str, depth: u64) {
    let driver = rng.one_of(&["compress", "copy-on-read", "throttle", "blkdebug"]);
    options.set(&format!("{path}driver"), driver);
    set_some(rng, options, path, COMMON);
    match driver {
        "blkdebug" => {
            set_some(rng, options, path, DEBUG);
            image(rng, options, &format!("{path}image."), depth + 1);
        }
        "compress" => format(rng, options, &format!("{path}file."), depth + 1, "qcow2"),
        _ => {
            if driver == "throttle" {
                set_some(rng, options, path, THROTTLE);
                options.set(&format!("{path}throttle-group"), "group");
            }
            image(rng, options, &format!("{path}file."), depth + 1);
        }
    }
}

fn format(rng: &mut Random, options: &mut NodeOptions, path: &str, depth: u64, driver: &str) {
    options.set(&format!("{path}driver"), driver);
    set_some(rng, options, path, COMMON);
    let is_qcow2 = driver == "qcow2";
    set_some(rng, options, path, if is_qcow2 { QCOW2 } else { RAW });
    let leaf = if is_qcow2 { rng.one_of(&["qcow2", "overlay"]) } else { rng.one_of(&["raw", "qcow2"]) };
    bytes(rng, options, &format!("{path}file."), depth + 1, leaf);
    if is_qcow2 && rng.chance(1, 2) {
        match rng.below(3) {
            0 if depth < DEPTH_MAX => image(rng, options, &format!("{path}backing."), depth + 1),
            1 => options.set(&format!("{path}backing"), ""),
            _ => options.set(&format!("{path}backing"), Value::Null),
        }
    }
}

/// Bytes, which lie in the file `leaf` as a rule.
fn bytes(rng: &mut Random, options: &mut NodeOptions, path: &str, depth: u64, leaf: &str) {
    let kind = if depth >= DEPTH_MAX { 0 } else { rng.below(16) };
    let driver = match kind {
        0..9 => "file",
        9..12 => "blkdebug",
        12 => "blkverify",
        13 => "null-co",
        14 => return format(rng, options, path, depth, "raw"),
        _ => return format(rng, options, path, depth, "qcow2"),
    };
    options.set(&format!("{path}driver"), driver);
    set_some(rng, options, path, COMMON);
    match driver {
        "file" => {
            options.set(&format!("{path}filename"), if rng.chance(1, 32) { "gone" } else { leaf });
            set_some(rng, options, path, FILE);
        }
        "null-co" => set_some(rng, options, path, NULL),
        "blkverify" => {
            bytes(rng, options, &format!("{path}raw."), depth + 1, "raw");
            image(rng, options, &format!("{path}test."), depth + 1);
        }
        _ => debug(rng, options, path, depth, leaf),
    }
}

fn debug(rng: &mut Random, options: &mut NodeOptions, path: &str, depth: u64, leaf: &str) {
    set_some(rng, options, path, DEBUG);
    bytes(rng, options, &format!("{path}image."), depth + 1, leaf);
    for kind in ["inject-error", "set-state"] {
        for index in 0..rng.below(4).saturating_sub(1) {
            let mut one = NodeOptions::default();
            if rule(rng, &mut one, "") == (kind == "inject-error") {
                options.set_below(&format!("{path}{kind}.{index}"), one);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reached, specification};
    use super::*;

    #[test]
    fn a_good_part_of_what_is_made_can_be_opened() {
        let mut rng = Random::new(1);
        let mut reached = [0; 3];
        for _ in 0..3000 {
            reached[specification(&generate(&mut rng)) as usize] += 1;
        }
        let [refused, _, opened] = reached;
        assert!(opened >= 600 && refused <= 1500, "{reached:?}");
        assert_eq!(Reached::Opened as usize, 2);
    }

    #[test]
    fn what_mutation_makes_keeps_to_its_size() {
        for seed in 0..500 {
            let mut data = [b'x'; 64];
            let size = mutate(&mut data, 10, 40, seed, |_, size, _| size);
            assert!(size <= 40 && data[40..] == [b'x'; 24]);
        }
    }
}
