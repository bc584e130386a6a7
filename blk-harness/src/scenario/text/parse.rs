//! Reads the text form. One line at a time; the first mistake ends it.

use std::slice::Iter;

use blk_core::ShortText;

use super::pasted;
use super::{HEADER, Key, backing_name};
use crate::scenario::bounds::{BITMAP_SLOT_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_REQUESTS_MAX, SLOT_MAX};
use crate::scenario::{
    Backing, Config, Fill, OnBitmap, OnSnapshot, POINTS_MAX, ParseError, ParseResult, Repair, Request,
    Scenario, Turn, Value, aliases,
};

/// A word and where it begins.
#[derive(Debug, Clone, Copy)]
struct Word<'a> {
    line: usize,
    column: usize,
    text: &'a str,
}

impl<'a> Word<'a> {
    fn error(self, reason: impl Into<String>) -> ParseError {
        ParseError { line: self.line, column: self.column, reason: reason.into() }
    }

    /// What follows its first `count` bytes.
    fn skip(self, count: usize) -> Self {
        Self { column: self.column + count, text: &self.text[count..], ..self }
    }

    /// What precedes and follows the first `separator`.
    fn split_at_first(self, separator: char) -> Option<(&'a str, Self)> {
        let at = self.text.find(separator)?;
        Some((&self.text[..at], self.skip(at + separator.len_utf8())))
    }

    /// Bytes: decimal with an optional unit, or `0x`.
    fn size(self) -> ParseResult<u64> {
        blk_core::parse_size(self.text).map_err(|error| self.error(format!("'{}' {error}", self.text)))
    }

    /// A number up to `max`, decimal or `0x`.
    fn number(self, what: &str, max: u64) -> ParseResult<u64> {
        let parsed = match self.text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => self.text.parse().ok(),
        };
        let valid = parsed.filter(|&number| number <= max);
        valid.ok_or_else(|| {
            self.error(format!("{what} is '{}', and must be a number from 0 to {max}", self.text))
        })
    }
}

/// The words of a line, without a request's number in front, up to a comment.
fn words<'a>(line: usize, text: &'a str) -> ParseResult<Vec<Word<'a>>> {
    // A line is as long as the document at most, and that is bounded.
    let numbered = pasted::numbered_request(text).unwrap_or(text);
    let (code, comment) = match numbered.find('#') {
        Some(at) => numbered.split_at(at),
        None => (numbered, ""),
    };
    let start = text.as_ptr() as usize;
    let word = |text: &'a str| Word { line, column: text.as_ptr() as usize - start + 1, text };
    let words: Vec<Word> = code.split_ascii_whitespace().map(word).collect();
    if !words.is_empty() && pasted::numbered_request(comment).is_some() {
        let reason =
            "a second request, where a comment may stand; a request is a line, and a comment '# text'";
        return Err(word(comment).error(reason));
    }
    Ok(words)
}

pub(super) fn scenario(text: &str) -> ParseResult<Scenario> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let reason = format!("{} bytes of text; at most {DOCUMENT_BYTES_MAX} are read", text.len());
        return Err(ParseError::document(reason));
    }
    let lines = (1..).zip(text.lines());
    let lines: Vec<_> =
        if pasted::is_report(text) { pasted::requests(lines).collect() } else { lines.collect() };
    let lines = lines.into_iter().map(|(number, line)| words(number, line));
    let mut lines = lines.filter(|words| !words.as_ref().is_ok_and(Vec::is_empty)).peekable();
    if !pasted::is_report(text) {
        header(lines.next().transpose()?.as_deref())?;
    }
    requests(lines)
}

/// What follows the first line.
fn requests<'a>(lines: impl Iterator<Item = ParseResult<Vec<Word<'a>>>>) -> ParseResult<Scenario> {
    let mut scenario = Scenario::default();
    let mut may_configure = true;
    for line in lines {
        let line = line?;
        let (first, rest) = line.split_first().expect("empty lines are filtered out");
        if first.text == "config" {
            if !may_configure {
                return Err(first.error("a second 'config', or one after the first request"));
            }
            scenario.config = config(first.line, rest)?;
        } else if scenario.requests.len() == DOCUMENT_REQUESTS_MAX {
            return Err(first.error(format!("more than {DOCUMENT_REQUESTS_MAX} requests")));
        } else {
            let (turn, (name, operands)) = turn(&line)?;
            scenario.requests.push(request(name, operands)?);
            scenario.set_turn(scenario.requests.len() - 1, turn);
        }
        may_configure = false;
    }
    Ok(scenario)
}

fn header(line: Option<&[Word]>) -> ParseResult<()> {
    match line {
        Some([name, version]) if name.text == "blk-scenario" => match version.text {
            "1" => Ok(()),
            other => Err(version.error(format!("version '{other}' of the text form is unknown; known is 1"))),
        },
        Some([first, ..]) => {
            Err(first.error(format!("a scenario begins with '{HEADER}'; this line is another")))
        }
        Some([]) | None => {
            Err(ParseError::document(format!("an empty text; a scenario begins with '{HEADER}'")))
        }
    }
}

fn config(line: usize, settings: &[Word]) -> ParseResult<Config> {
    let mut config = Config::default();
    let mut seen = Vec::with_capacity(settings.len());
    for setting in settings {
        let Some((name, value)) = setting.split_at_first('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(setting.error(format!("'{}' is not KEY=VALUE", setting.text)));
        };
        let key = Key::ALL.into_iter().find(|key| key.name() == name);
        let said = match key {
            Some(key) => {
                key.set(&mut config, value)?;
                name
            }
            None => option(&mut config, name, value)?,
        };
        if seen.contains(&said) {
            return Err(setting.error(format!("'{name}' is given twice")));
        }
        seen.push(said);
        config.check_ranges().map_err(|error| ParseError { line, column: value.column, ..error })?;
    }
    Ok(config)
}

/// Sets an option of the format, and returns its name. Whether the driver has it is asked when the scenario
/// runs.
fn option<'a>(config: &mut Config, name: &'a str, word: Word) -> ParseResult<&'a str> {
    let empty = || word.error(format!("'{name}' has no value"));
    let value = Value::parse(word.text).ok_or_else(empty)?;
    let (name, value) = match aliases::read(name, &value) {
        Some(meant) => meant.map_err(|reason| word.error(reason))?,
        None => (name, Some(value)),
    };
    config.options.set(name.to_owned(), value);
    Ok(name)
}

impl Key {
    fn set(self, config: &mut Config, value: Word) -> ParseResult<()> {
        let number = |max: u64| value.number(self.name(), max);
        match self {
            Self::Size => config.size_bytes = value.size()?,
            Self::Backing => {
                let all = [Backing::None, Backing::Raw, Backing::Format, Backing::Chain];
                config.backing = self.choice(value, all, backing_name)?;
            }
            Self::BackingBytes => config.backing_bytes = value.size()?,
            Self::Discard => config.discard = self.choice(value, [false, true], switch_name)?,
            Self::AtomBytes => {
                let wrong =
                    |_| value.error(format!("{} is '{}', and must be 512 or 4k", self.name(), value.text));
                config.atom_bytes = u16::try_from(value.size()?).map_err(wrong)?;
            }
            Self::Lanes => config.lanes = number(255)? as u8,
            Self::HostAlignment => {
                config.host_alignment = u16::try_from(value.size()?).unwrap_or(u16::MAX);
            }
            Self::ProbeFlush => config.probe_flush = number(255)? as u8,
            Self::Control => config.control = number(u64::from(u32::MAX))? as u32,
        }
        Ok(())
    }

    fn choice<T: Copy, const N: usize>(
        self,
        value: Word,
        all: [T; N],
        name: fn(T) -> &'static str,
    ) -> ParseResult<T> {
        all.into_iter().find(|&choice| name(choice) == value.text).ok_or_else(|| {
            let known = all.map(name).join(", ");
            value.error(format!("{} is '{}', and must be one of: {known}", self.name(), value.text))
        })
    }
}

fn switch_name(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// What stands behind a request's name, flags and operands apart.
#[derive(Debug, Default)]
struct Operands<'a> {
    /// The flags' letters, each once, and where they stand.
    flags: Vec<(char, Word<'a>)>,
    fill: Fill,
    sizes: Vec<u64>,
}

impl<'a> Operands<'a> {
    /// Takes flags before, between and behind the sizes, alone or joined, as getopt does.
    fn parse(known: &str, rest: &[Word<'a>]) -> ParseResult<Self> {
        let mut operands = Self::default();
        let mut rest = rest.iter();
        while let Some(&word) = rest.next() {
            if word.text.starts_with('-') {
                operands.flags(known, word, &mut rest)?;
            } else {
                operands.sizes.push(word.size()?);
            }
        }
        Ok(operands)
    }

    fn flags(&mut self, known: &str, word: Word<'a>, rest: &mut Iter<Word<'a>>) -> ParseResult<()> {
        if word.text.len() == 1 {
            return Err(word.error("'-' without a flag"));
        }
        for (at, flag) in word.text.char_indices().skip(1) {
            if !known.contains(flag) {
                let takes = if known.is_empty() { "none".to_owned() } else { format!("-{known}") };
                return Err(word.error(format!("unknown flag '-{flag}'; this request takes {takes}")));
            }
            if self.has(flag) {
                return Err(word.error(format!("'-{flag}' is given twice")));
            }
            self.flags.push((flag, word));
            if flag == 'P' {
                // Its value is the rest of the word, or the next one.
                let joined = word.skip(at + 1);
                let value = if joined.text.is_empty() { rest.next().copied() } else { Some(joined) };
                let value = value.ok_or_else(|| word.error("'-P' without a byte"))?;
                self.fill = Fill::Byte(value.number("the byte of -P", 255)? as u8);
                return Ok(());
            }
        }
        Ok(())
    }

    fn has(&self, flag: char) -> bool {
        self.flags.iter().any(|&(other, _)| other == flag)
    }

    /// Refuses the first of `flags` that is there, since it makes no sense `with` what else is.
    fn refuse(&self, flags: &str, with: &str) -> ParseResult<()> {
        match self.flags.iter().find(|(flag, _)| flags.contains(*flag)) {
            Some((flag, word)) => Err(word.error(format!("'-{flag}' is not for {with}"))),
            None => Ok(()),
        }
    }

    fn exactly<const N: usize>(&self, name: Word, wanted: &str) -> ParseResult<[u64; N]> {
        self.sizes.as_slice().try_into().map_err(|_| {
            let usage = format!("{} {wanted}", name.text);
            name.error(format!("{} operands; expected: {}", self.sizes.len(), usage.trim_end()))
        })
    }
}

/// The turn that stands before a request, and the words of the request itself.
fn turn<'a, 'b>(line: &'b [Word<'a>]) -> ParseResult<(Turn, (Word<'a>, &'b [Word<'a>]))> {
    let (first, rest) = line.split_first().expect("empty lines are filtered out");
    if !first.text.starts_with('@') {
        return Ok((Turn::default(), (*first, rest)));
    }
    let turn = Turn::parse(first.text).ok_or_else(|| {
        first.error(format!(
            "'{}' is no turn; one is @POINTS, from @1 to @{POINTS_MAX}, then < and *",
            first.text
        ))
    })?;
    let (name, operands) = rest.split_first().ok_or_else(|| first.error("a turn without a request"))?;
    Ok((turn, (*name, operands)))
}

/// What stands behind `check`.
fn check(name: Word, rest: &[Word]) -> ParseResult<Repair> {
    match rest {
        [] => Ok(Repair::None),
        [flag, what] if flag.text == "-r" => match what.text {
            "leaks" => Ok(Repair::Leaks),
            "all" => Ok(Repair::All),
            other => Err(what.error(format!("'{other}' cannot be repaired; -r takes leaks or all"))),
        },
        _ => Err(name.error("expected: check [-r leaks|all]")),
    }
}

/// What stands behind `snapshot`.
fn snapshot(name: Word, rest: &[Word]) -> ParseResult<Request> {
    let [flag, slot] = rest else { return Err(name.error("expected: snapshot -c|-a|-d|-r SLOT")) };
    let act = OnSnapshot::ALL.into_iter().find(|act| act.flag() == flag.text);
    let act = act.ok_or_else(|| flag.error(format!("'{}' is none of -c, -a, -d, -r", flag.text)))?;
    Ok(Request::Snapshot { act, slot: slot.number("the slot of a snapshot", SLOT_MAX.into())? as u8 })
}

/// What stands behind `amend`.
fn amend(name: Word, rest: &[Word]) -> ParseResult<Request> {
    let [flag, option] = rest else { return Err(name.error("expected: amend -o NAME=VALUE")) };
    if flag.text != "-o" {
        return Err(flag.error(format!("'{}' is not -o", flag.text)));
    }
    let most = ShortText::BYTES_MAX;
    let known = ShortText::new(option.text);
    let option = known.ok_or_else(|| option.error(format!("an option has at most {most} bytes")))?;
    Ok(Request::Amend { option })
}

/// What stands behind `bitmap`.
fn bitmap(name: Word, rest: &[Word]) -> ParseResult<Request> {
    let number = |word: &Word| Ok(word.number("the slot of a bitmap", BITMAP_SLOT_MAX.into())? as u8);
    match rest {
        [flag, from, slot] if flag.text == "--merge" => {
            Ok(Request::Bitmap { act: OnBitmap::Merge(number(from)?), slot: number(slot)? })
        }
        [flag, slot] if flag.text != "--merge" => {
            let act = OnBitmap::ALL.into_iter().find(|act| act.flag() == flag.text);
            let act = act.ok_or_else(|| {
                let flags = OnBitmap::ALL.map(OnBitmap::flag).join(", ");
                flag.error(format!("'{}' is none of {flags}", flag.text))
            })?;
            Ok(Request::Bitmap { act, slot: number(slot)? })
        }
        _ => Err(name.error(
            "expected: bitmap --add|--remove|--clear|--enable|--disable|--read SLOT, or \
                             bitmap --merge FROM SLOT",
        )),
    }
}

fn request(name: Word, rest: &[Word]) -> ParseResult<Request> {
    if name.text == "amend" {
        return amend(name, rest);
    }
    if name.text == "bitmap" {
        return bitmap(name, rest);
    }
    if name.text == "snapshot" {
        return snapshot(name, rest);
    }
    if name.text == "check" {
        return check(name, rest).map(|repair| Request::Check { repair });
    }
    let known = if matches!(name.text, "write" | "w") { "cfnuzP" } else { "" };
    let operands = Operands::parse(known, rest)?;
    let range = || operands.exactly(name, "OFFSET LENGTH").map(|[offset, length]| (offset, length));
    let alone = |request| operands.exactly::<0>(name, "").map(|[]| request);
    match name.text {
        "read" | "r" => range().map(|(offset, length)| Request::Read { offset, length }),
        "write" | "w" => write(&operands, range()?),
        "discard" | "d" => range().map(|(offset, length)| Request::Discard { offset, length }),
        "map" => range().map(|(offset, length)| Request::Status { offset, length }),
        "truncate" | "t" => operands.exactly(name, "SIZE").map(|[size]| Request::Resize { size }),
        "flush" | "f" => alone(Request::Flush),
        "reopen" => alone(Request::Reopen { kill: false }),
        "kill" => alone(Request::Reopen { kill: true }),
        other => Err(name.error(format!(
            "unknown request '{other}'; known are read, write, discard, map, truncate, flush, reopen, kill, check, \
             snapshot, amend, bitmap"
        ))),
    }
}

fn write(operands: &Operands, (offset, length): (u64, u64)) -> ParseResult<Request> {
    let fua = operands.has('f');
    let fill = operands.fill;
    if operands.has('z') {
        operands.refuse("cP", "a write of zeroes (-z)")?;
        let (unmap, no_fallback) = (operands.has('u'), operands.has('n'));
        return Ok(Request::WriteZeroes { offset, length, unmap, no_fallback, fua });
    }
    operands.refuse("un", "a write of data; it takes -z")?;
    if operands.has('c') {
        operands.refuse("f", "a compressed write (-c)")?;
        return Ok(Request::WriteCompressed { offset, length, fill });
    }
    Ok(Request::Write { offset, length, fill, fua })
}

/// Reads one request, as it stands in a line of its own.
impl std::str::FromStr for Request {
    type Err = ParseError;

    fn from_str(text: &str) -> ParseResult<Self> {
        match words(1, text)?.split_first() {
            Some((name, rest)) => request(*name, rest),
            None => Err(ParseError::line(1, "no request")),
        }
    }
}
