//! `reopen`: the open image with other options.

use super::{Call, Command, Needs};
use crate::formats;
use crate::io::getopt::Words;
use crate::io::mode::parse_cache;
use crate::io::plan::{NamedOptions, Plan, parse_options};
use crate::io::refusal::{Done, Refusal};
use crate::io::session::{Opened, Session};
use crate::spec::CacheMode;

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "reopen",
    short: None,
    synopsis: Some("[(-r|-w)] [-c cache] [-o options]"),
    summary: "opens the image again, with other options",
    help: "
 Opens the image once more as it was opened before, but for what the options say.

 'reopen -r' refuses commands that write from now on.

 -c   the cache mode
 -o   options, KEY=VALUE with commas between
 -r   refuse commands that write
 -w   allow commands that write
",
    words_min: 0,
    words_max: None,
    needs: Needs::Image,
    run: reopen,
}];

/// What every node takes, and may have changed while it is open.
const OF_EVERY_NODE: [&str; 7] = [
    "auto-read-only",
    "cache.direct",
    "cache.no-flush",
    "detect-zeroes",
    "discard",
    "read-only",
    "x-check-cache-dropped",
];

/// What says which node it is: another one cannot take its place.
const IDENTITY: [&str; 7] = ["driver", "filename", "force-share", "node-name", "backing", "file", "image"];

fn reopen(session: &mut Session, call: &Call<'_>) -> Done {
    let (mut read_only, mut cache, mut options) = (None, None, NamedOptions::new());
    let mut words = Words::new(call.name, call.words, "c:o:rw");
    while let Some((letter, value)) = words.option()? {
        match letter {
            'c' => cache = Some(parse_cache(value)?),
            'o' => options.extend(parse_options(value)),
            _ if read_only.is_some() => {
                return Err(Refusal::Error("Only one -r/-w option may be given".to_owned()));
            }
            _ => read_only = Some(letter == 'r'),
        }
    }
    if !words.operands().is_empty() {
        return Err(Refusal::Usage);
    }
    let Some(opened) = &session.opened else { return Ok(()) };
    let old = opened.plan.clone();
    let options = changes(opened, options)?;
    let new = changed(&old, read_only, cache, options)?;
    try_out(opened, &new)?;
    let opened = session.close().and_then(|()| session.open_again(new));
    opened.or_else(|refusal| {
        session.open_again(old)?;
        Err(refusal)
    })
}

/// Opens the image as the plan says, beside the open one and for reading, so that options that are wrong are
/// found while the open one keeps its locks.
fn try_out(opened: &Opened, new: &Plan) -> Done {
    if new.mode.snapshot || new.mode.copy_on_read {
        return Ok(());
    }
    let failed = |error| Refusal::Error(format!("cannot flush the image: {error}"));
    opened.target.disk().flush().map_err(failed)?;
    let mut trial = new.clone();
    trial.mode.read_only = true;
    trial.mode.force_share = true;
    trial.options.retain(|(key, _)| key != "read-only");
    let opening = trial.open().map_err(Refusal::Error)?;
    // Nothing was written: what its closing says is of no interest.
    let _ = opening.target.disk().close();
    Ok(())
}

/// Those of the options that change something.
///
/// # Errors
/// The first that cannot change.
fn changes(opened: &Opened, options: NamedOptions) -> Done<NamedOptions> {
    let present = Present::of(opened);
    let mut changes = NamedOptions::new();
    for (key, value) in options {
        if present.value(&key).is_some_and(|present| present == value) {
            continue;
        }
        if !present.may_change(&key) {
            return Err(Refusal::Error(format!("Cannot change the option '{key}'")));
        }
        changes.push((key, value));
    }
    Ok(changes)
}

/// What is known about the open image.
struct Present<'a> {
    opened: &'a Opened,
    /// What was given when it was opened.
    given: NamedOptions,
}

impl<'a> Present<'a> {
    fn of(opened: &'a Opened) -> Self {
        let plan = &opened.plan;
        let mut given = match &plan.name {
            Some(name) if plan.image_opts => parse_options(name),
            _ => NamedOptions::new(),
        };
        given.extend(plan.options.iter().cloned());
        Self { opened, given }
    }

    fn given(&self, key: &str) -> Option<&str> {
        self.given.iter().rev().find(|(given, _)| given == key).map(|(_, value)| value.as_str())
    }

    /// The value that an option has now, as far as it matters to what can change.
    fn value(&self, key: &str) -> Option<&str> {
        if let Some(value) = self.given(key) {
            return Some(value);
        }
        match key.rsplit_once('.') {
            None if key == "driver" => self.driver(""),
            Some((node, "driver")) => self.driver(node),
            Some(("file", "filename")) if !self.opened.plan.image_opts => {
                let name = self.opened.plan.name.as_deref()?;
                Some(name.strip_prefix("file:").unwrap_or(name))
            }
            _ => None,
        }
    }

    /// The driver of a node, by the path to it, where that is known.
    fn driver(&self, node: &str) -> Option<&str> {
        if !node.is_empty()
            && let Some(given) = self.given(&format!("{node}.driver"))
        {
            return Some(given);
        }
        if node == "file" {
            return self.file_driver();
        }
        let depth = if node.is_empty() { 0 } else { node.split('.').count() };
        let is_backing = node.is_empty() || node.split('.').all(|part| part == "backing");
        self.opened.drivers.get(depth).copied().filter(|_| is_backing)
    }

    /// The driver of the file of the image: one of its own only where a name with a protocol or options say
    /// so.
    fn file_driver(&self) -> Option<&str> {
        let plan = &self.opened.plan;
        let is_plain = match &plan.name {
            Some(name) if !plan.image_opts => {
                let protocol = name.split('/').next().and_then(|start| start.split_once(':'));
                protocol.is_none_or(|(protocol, _)| protocol == "file")
            }
            _ => self.given("file.filename").is_some(),
        };
        is_plain.then_some("file")
    }

    /// Whether an option of a node can have another value without another node in its place.
    fn may_change(&self, key: &str) -> bool {
        let (node, option) = split_key(key);
        if OF_EVERY_NODE.contains(&option) {
            return true;
        }
        let is_identity = IDENTITY.contains(&option.split('.').next().unwrap_or_default());
        match self.driver(node) {
            // Whether the driver knows it is the driver's to say.
            Some(driver) if formats::has_metadata(driver) => !is_identity,
            // Of raw, those of its list that QEMU has.
            Some(driver) => formats::open_option(driver, option).is_some_and(|option| option.selects_content),
            None => false,
        }
    }
}

/// The path of the node that an option belongs to, and the option.
fn split_key(key: &str) -> (&str, &str) {
    let mut start = 0;
    while let Some((part, _)) = key[start..].split_once('.') {
        if !["file", "backing", "image"].contains(&part) {
            break;
        }
        start += part.len() + 1;
    }
    (key[..start].trim_end_matches('.'), &key[start..])
}

/// The plan for opening the image again.
fn changed(
    old: &Plan,
    read_only: Option<bool>,
    cache: Option<CacheMode>,
    options: NamedOptions,
) -> Done<Plan> {
    let refuse = |what: &str| Err(Refusal::Error(what.to_owned()));
    if read_only.is_some() && options.iter().any(|(key, _)| key == "read-only") {
        return refuse("Cannot set both -r/-w and 'read-only'");
    }
    if cache.is_some() && options.iter().any(|(key, _)| key.starts_with("cache.")) {
        return refuse("Cannot set both -c and the cache options");
    }
    if old.mode.snapshot {
        return refuse("a snapshot has no name by which it could be opened again");
    }
    let mut new = old.clone();
    for (key, value) in options {
        if key == "read-only" {
            new.mode.read_only = switched_read_only(old, &value)?;
        } else {
            new.options.retain(|(old, _)| *old != key);
            new.options.push((key, value));
        }
    }
    new.mode.read_only = read_only.unwrap_or(new.mode.read_only);
    new.mode.cache = cache.unwrap_or(new.mode.cache);
    Ok(new)
}

/// What the option `read-only` makes of an image: only `-r` also tells its users.
fn switched_read_only(old: &Plan, value: &str) -> Done<bool> {
    match value {
        "on" | "yes" | "true" | "y" if old.mode.read_only => Ok(true),
        "on" | "yes" | "true" | "y" => {
            Err(Refusal::Error("the image is in use for writing, which only -r ends".to_owned()))
        }
        "off" | "no" | "false" | "n" => Ok(false),
        _ => Err(Refusal::Error(format!("option 'read-only': '{value}' is neither on nor off"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::mode::{Mode, NO_CACHE};

    #[test]
    fn an_option_belongs_to_the_node_that_its_path_names() {
        assert_eq!(split_key("driver"), ("", "driver"));
        assert_eq!(split_key("cache.direct"), ("", "cache.direct"));
        assert_eq!(split_key("backing.file.filename"), ("backing.file", "filename"));
        assert_eq!(split_key("file"), ("", "file"));
        assert_eq!(split_key("file."), ("file", ""));
    }

    #[test]
    fn reopen_keeps_what_it_does_not_name() {
        let mode = Mode { discard: false, ..Mode::default() };
        let old =
            Plan { name: Some("a".to_owned()), options: parse_options("x=1,y=2"), mode, ..Plan::default() };
        let new = changed(&old, Some(true), Some(NO_CACHE), parse_options("y=3")).unwrap();
        assert_eq!(new.mode, Mode { read_only: true, cache: NO_CACHE, ..mode });
        assert_eq!(new.options, parse_options("x=1,y=3"));
        assert!(changed(&old, Some(true), None, parse_options("read-only=on")).is_err());
        assert!(changed(&old, None, Some(NO_CACHE), parse_options("cache.direct=on")).is_err());
        assert!(changed(&old, None, None, parse_options("read-only=x")).is_err());
        assert!(changed(&old, None, None, parse_options("read-only=on")).is_err());
    }
}
