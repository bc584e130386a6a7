//! The rules of `blkdebug`: which operation fails, and when. QEMU's language, from a file or from options.
//!
//! ```text
//! [inject-error]              [set-state]
//! event = "read_aio"          event = "write_aio"
//! state = "2"                 state = "1"
//! errno = "28"                new_state = "2"
//! sector = "17"
//! once = "on"
//! immediately = "off"
//! ```
//!
//! As options the same rules are `inject-error.0.event=read_aio,inject-error.0.errno=28,...`.

use blk_core::{Error, Result};

use super::events::EventName;
use super::options::{NodeOptions, Value};

/// Most rules of one kind.
const RULES_MAX: usize = 4096;
const SECTOR_BYTES: u64 = 512;
const EIO: i32 = 5;

/// Kinds of operations that a rule can be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IoType {
    Read,
    Write,
    WriteZeroes,
    Discard,
    Flush,
    BlockStatus,
}

/// The operation that follows an event fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InjectError {
    pub(crate) event: EventName,
    /// Only in this state of the engine; 0 for all.
    pub(crate) state: u64,
    /// Linux error number; 0 lets the operation through, and uses the rule up.
    pub(crate) errno: i32,
    /// Only operations that touch this byte.
    pub(crate) offset: Option<u64>,
    /// Only this kind; without it all but the block status.
    pub(crate) io_type: Option<IoType>,
    /// Only the first operation that matches.
    pub(crate) once: bool,
}

/// An event brings the engine into another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetState {
    pub(crate) event: EventName,
    /// Only in this state; 0 for all.
    pub(crate) state: u64,
    pub(crate) new_state: u64,
}

/// All rules, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) inject: Vec<InjectError>,
    pub(crate) set_state: Vec<SetState>,
}

impl InjectError {
    fn parse(mut options: NodeOptions) -> Result<Self> {
        let event = take_event(&mut options)?;
        let state = options.take_number("state", u64::from(u32::MAX))?.unwrap_or(0);
        let errno = options.take_number("errno", 4095)?.map_or(EIO, |number| number as i32);
        let sector = take_sector(&mut options)?;
        let io_type = options.take_choice(
            "iotype",
            &[
                ("read", IoType::Read),
                ("write", IoType::Write),
                ("write-zeroes", IoType::WriteZeroes),
                ("discard", IoType::Discard),
                ("flush", IoType::Flush),
                ("block-status", IoType::BlockStatus),
            ],
        )?;
        let once = options.take_switch("once")?.unwrap_or(false);
        // How a failure reaches the caller, at once or later, is one and the same for drivers that wait for
        // it.
        options.take_switch("immediately")?;
        options.finish("blkdebug, rule inject-error")?;
        Ok(Self { event, state, errno, offset: sector, io_type, once })
    }

    /// Whether an operation of this kind is one that the rule, once its event was told, lets fail.
    pub(crate) fn covers(&self, io_type: IoType, range: Option<(u64, u64)>) -> bool {
        let kind = match self.io_type {
            Some(only) => only == io_type,
            None => io_type != IoType::BlockStatus,
        };
        let place = self
            .offset
            .is_none_or(|at| range.is_some_and(|(offset, length)| at >= offset && at - offset < length));
        kind && place
    }
}

impl SetState {
    fn parse(mut options: NodeOptions) -> Result<Self> {
        let event = take_event(&mut options)?;
        let state = options.take_number("state", u64::from(u32::MAX))?.unwrap_or(0);
        let new_state = options.take_number("new_state", u64::from(u32::MAX))?;
        options.finish("blkdebug, rule set-state")?;
        Ok(Self { event, state, new_state: new_state.unwrap_or(0) })
    }
}

fn take_event(options: &mut NodeOptions) -> Result<EventName> {
    let Some(name) = options.take_text("event") else {
        return Err(options.bad("event", "a rule names its event"));
    };
    EventName::parse(&name)
        .ok_or_else(|| options.bad("event", format!("'{name}' is not the name of an event")))
}

/// A sector number as the offset of its first byte; -1 means any.
fn take_sector(options: &mut NodeOptions) -> Result<Option<u64>> {
    if options.peek("sector") == Some("-1") {
        options.take("sector");
        return Ok(None);
    }
    let sector = options.take_number("sector", u64::MAX / SECTOR_BYTES)?;
    Ok(sector.map(|sector| sector * SECTOR_BYTES))
}

impl Rules {
    /// Takes the rules out of a node's options.
    pub(crate) fn take(options: &mut NodeOptions) -> Result<Self> {
        let inject = take_list(options, "inject-error", InjectError::parse)?;
        let set_state = take_list(options, "set-state", SetState::parse)?;
        Ok(Self { inject, set_state })
    }

    /// Reads the text of a rules file, called `name` in messages.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        let mut rules = Self::default();
        let mut section: Option<Section> = None;
        for (index, line) in text.lines().enumerate() {
            let at =
                |reason: String| Error::invalid_option("config", format!("{name}:{}: {reason}", index + 1));
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(header) = line.strip_prefix('[') {
                rules.add(section.take(), name)?;
                section = Some(Section::parse(header).map_err(at)?);
                continue;
            }
            let Some(section) = &mut section else {
                return Err(at("a line before the first section".to_owned()));
            };
            let (key, value) = assignment(line).map_err(at)?;
            section.options.set(key, value);
        }
        rules.add(section, name)?;
        Ok(rules)
    }

    /// Adds the rules of `more` behind these.
    pub(crate) fn extend(&mut self, more: Self) {
        self.inject.extend(more.inject);
        self.set_state.extend(more.set_state);
    }

    fn add(&mut self, section: Option<Section>, name: &str) -> Result<()> {
        let Some(Section { is_inject, options }) = section else { return Ok(()) };
        if self.inject.len().max(self.set_state.len()) >= RULES_MAX {
            return Err(Error::invalid_option("config", format!("{name}: more than {RULES_MAX} rules")));
        }
        if is_inject {
            self.inject.push(InjectError::parse(options)?);
        } else {
            self.set_state.push(SetState::parse(options)?);
        }
        Ok(())
    }
}

/// A section of a rules file.
#[derive(Debug)]
struct Section {
    is_inject: bool,
    options: NodeOptions,
}

impl Section {
    /// From what follows the opening bracket: `name]`, or `name "id"]`.
    fn parse(header: &str) -> std::result::Result<Self, String> {
        let inside = header.strip_suffix(']').ok_or("a section's name ends with ']'")?;
        let is_inject = match inside.split_whitespace().next() {
            Some("inject-error") => true,
            Some("set-state") => false,
            _ => return Err(format!("section '{inside}' is neither inject-error nor set-state")),
        };
        Ok(Self { is_inject, options: NodeOptions::default() })
    }
}

/// `key = "value"`.
fn assignment(line: &str) -> std::result::Result<(&str, &str), String> {
    let (key, value) =
        line.split_once('=').ok_or_else(|| format!("'{line}' is not of the form key = \"value\""))?;
    let quoted = value.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let value = quoted.ok_or_else(|| format!("the value of '{}' stands in double quotes", key.trim()))?;
    Ok((key.trim(), value))
}

fn take_list<T>(
    options: &mut NodeOptions,
    name: &str,
    parse: impl Fn(NodeOptions) -> Result<T>,
) -> Result<Vec<T>> {
    let mut list = Vec::new();
    let mut below = options.take_below(name);
    loop {
        let rule = below.take_below(&list.len().to_string());
        if rule.is_empty() || list.len() >= RULES_MAX {
            break;
        }
        list.push(parse(rule)?);
    }
    if options.take(name).is_some_and(|value| value != Value::Null) {
        return Err(options.bad(name, "it is a list of rules"));
    }
    below.finish("blkdebug, whose rules are numbered from 0 on without gaps")?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::text;

    #[test]
    fn the_file_and_the_options_say_the_same() {
        let file = "# a comment\n[inject-error]\nevent = \"read_aio\"\nstate = \"2\"\nerrno = \"28\"\nsector = \"3\"\n\
                    once=\"on\"\n\n[set-state \"x\"]\n  event = \"write_aio\"\n  state = \"1\"\n  new_state = \"2\"\n";
        let rules = Rules::parse("rules", file).unwrap();
        let mut options = text::json(
            "",
            r#"{"inject-error":[{"event":"read_aio","state":2,"errno":28,"sector":3,"once":true}],
                     "set-state":[{"event":"write_aio","state":1,"new_state":2}]}"#,
        )
        .unwrap();
        assert_eq!(Rules::take(&mut options).unwrap(), rules);
        assert!(options.is_empty());
        assert_eq!((rules.inject[0].offset, rules.inject[0].errno), (Some(1536), 28));
        assert_eq!(
            (rules.set_state[0].event, rules.set_state[0].new_state),
            (EventName::parse("write_aio").unwrap(), 2)
        );
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |text: &str| Rules::parse("r.conf", text).unwrap_err().to_string();
        assert!(wrong("[foo]\n").contains("r.conf:1: section 'foo'"));
        assert!(wrong("event = \"x\"\n").contains("before the first section"));
        assert!(wrong("[inject-error]\nevent = read_aio\n").contains("r.conf:2"));
        assert!(wrong("[inject-error]\nerrno = \"5\"\n").contains("names its event"));
        assert!(wrong("[inject-error]\nevent = \"nothing\"\n").contains("'nothing'"));
        assert!(wrong("[inject-error]\nevent = \"read_aio\"\nfoo = \"1\"\n").contains("'foo'"));
        assert!(wrong("[inject-error]\nevent = \"read_aio\"\nerrno = \"EIO\"\n").contains("'EIO'"));
        assert!(wrong("[inject-error]\nevent = \"read_aio\"\niotype = \"x\"\n").contains("write-zeroes"));
        let mut gap = text::key_values("inject-error.1.event=read_aio").unwrap();
        assert!(Rules::take(&mut gap).unwrap_err().to_string().contains("inject-error.1.event"));
    }

    #[test]
    fn what_a_rule_covers() {
        let mut options = text::key_values("inject-error.0.event=none,inject-error.0.sector=1").unwrap();
        let rule = Rules::take(&mut options).unwrap().inject[0];
        assert!(rule.covers(IoType::Read, Some((0, 513))) && rule.covers(IoType::Discard, Some((512, 1))));
        assert!(!rule.covers(IoType::Read, Some((0, 512))) && !rule.covers(IoType::Read, Some((513, 9))));
        assert!(!rule.covers(IoType::Flush, None), "a flush touches no sector");
        assert!(!rule.covers(IoType::BlockStatus, Some((512, 1))), "only where it is asked for");
        assert_eq!(rule.errno, 5);
    }
}
