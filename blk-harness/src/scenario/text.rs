//! The text form: what is kept in git and shown to people.
//!
//! ```text
//! # The story of the bug; comments may stand anywhere, blank lines too.
//! blk-scenario 1
//! config size-bytes=256k cluster_size=512 backing=raw backing-bytes=100k
//! write -P 0x11 0 64k       # what is written: this byte; without -P, stamps
//! write -zu 512 1k          # zeroes; -u may unmap, -n no fallback, -f FUA
//! write -c 64k 64k          # compressed
//! read 0 512
//! discard 0 64k
//! map 0 64k                 # block status
//! truncate 1M
//! flush
//! reopen
//! check
//! snapshot -c 0             # a snapshot inside the image: -c creates, -a applies, -d deletes, -r reads it
//! amend -o compat=0.10      # an option of the image is changed
//! bitmap --add 0            # a dirty bitmap inside the image; also --remove, --clear, --enable, --disable, --read
//! bitmap --merge 0 1        # what bitmap 0 has as dirty becomes dirty in bitmap 1
//! @3 write 0 4k             # gives way to the next lane after 3 points, where `config` has lanes=2 or more
//! ```
//! The keys of `config` are the names of [`Config`]'s fields as JSON has them, and the options of the format
//! under their own names; what is not written has the usual value. Sizes take a unit (`k`, `M`, `G`...:
//! powers of 1024) or `0x`. Which options there are is asked when the scenario runs. The requests are in
//! qemu-io's grammar, whose `r`, `w`, `d`, `f` and `t` are understood too. A request may have a number, `#12
//! write 0 4k`, as reports show it, and a report that was pasted as it is, without the first line, is read as
//! the requests that it shows. What is printed is canonical: reading it back gives the same scenario, and
//! printing that the same text.

mod parse;
mod pasted;

use std::fmt;

use blk_core::ExactSize;

use super::{Backing, Config, Fill, OnBitmap, ParseError, ParseResult, Repair, Request, Scenario};

/// The first line that is neither blank nor a comment.
pub const HEADER: &str = "blk-scenario 1";

impl Scenario {
    /// Reads the text form.
    ///
    /// # Errors
    /// The first line that is wrong, with the word, and what would be right. Documents beyond
    /// [`super::bounds::DOCUMENT_BYTES_MAX`] or [`super::bounds::DOCUMENT_REQUESTS_MAX`] are refused.
    pub fn from_text(text: &str) -> ParseResult<Self> {
        parse::scenario(text)
    }

    /// The text form, canonical, each line ended.
    pub fn to_text(&self) -> String {
        self.to_string()
    }

    /// The text form under a story: what went wrong, in as many lines as it takes, each made a comment.
    pub fn to_text_with_story(&self, story: &str) -> String {
        let mut text = String::new();
        for line in story.lines() {
            text.push_str(if line.is_empty() { "#" } else { "# " });
            text.push_str(line);
            text.push('\n');
        }
        text + &self.to_text()
    }
}

impl std::str::FromStr for Scenario {
    type Err = ParseError;

    fn from_str(text: &str) -> ParseResult<Self> {
        Self::from_text(text)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if self.config != Config::default() {
            writeln!(f, "{}", self.config)?;
        }
        for (request, turn) in self.turns() {
            if !turn.is_never() {
                write!(f, "{turn} ")?;
            }
            writeln!(f, "{request}")?;
        }
        Ok(())
    }
}

/// The `config` line, with what differs from the default.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::default();
        write!(f, "config")?;
        for key in Key::ALL {
            let value = key.get(self);
            if value != key.get(&usual) {
                write!(f, " {}={value}", key.name())?;
            }
            if key == Key::Size {
                write!(f, "{}", self.options)?;
            }
        }
        Ok(())
    }
}

/// The request as qemu-io writes it.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |set: bool, text: &'static str| if set { text } else { "" };
        match *self {
            Self::Read { .. } => write!(f, "read")?,
            Self::Write { fill, fua, .. } => write!(f, "write{}{}", flag(fua, " -f"), Pattern(fill))?,
            Self::WriteCompressed { fill, .. } => write!(f, "write -c{}", Pattern(fill))?,
            Self::WriteZeroes { unmap, no_fallback, fua, .. } => {
                write!(f, "write -z{}{}{}", flag(unmap, " -u"), flag(no_fallback, " -n"), flag(fua, " -f"))?;
            }
            Self::Discard { .. } => write!(f, "discard")?,
            Self::Status { .. } => write!(f, "map")?,
            Self::Resize { size } => write!(f, "truncate {}", ExactSize(size))?,
            Self::Flush => write!(f, "flush")?,
            Self::Reopen { kill } => write!(f, "{}", if kill { "kill" } else { "reopen" })?,
            Self::Check { repair: Repair::None } => write!(f, "check")?,
            Self::Check { repair: Repair::Leaks } => write!(f, "check -r leaks")?,
            Self::Check { repair: Repair::All } => write!(f, "check -r all")?,
            Self::Snapshot { act, slot } => write!(f, "snapshot {} {slot}", act.flag())?,
            Self::Amend { option } => write!(f, "amend -o {option}")?,
            Self::Bitmap { act: OnBitmap::Merge(from), slot } => write!(f, "bitmap --merge {from} {slot}")?,
            Self::Bitmap { act, slot } => write!(f, "bitmap {} {slot}", act.flag())?,
        }
        match self.range() {
            Some((offset, length)) => write!(f, " {} {}", ExactSize(offset), ExactSize(length)),
            None => Ok(()),
        }
    }
}

struct Pattern(Fill);

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Fill::Stamp => Ok(()),
            Fill::Byte(byte) => write!(f, " -P {byte:#04x}"),
        }
    }
}

/// A number of bytes as this form writes it, such as `64k`.
pub(crate) fn size(bytes: u64) -> String {
    ExactSize(bytes).to_string()
}

/// A key of the `config` line that all drivers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Size,
    Backing,
    BackingBytes,
    Discard,
    Control,
    AtomBytes,
    Lanes,
    HostAlignment,
    ProbeFlush,
}

impl Key {
    const ALL: [Self; 9] = [
        Self::Size,
        Self::Backing,
        Self::BackingBytes,
        Self::Discard,
        Self::Control,
        Self::AtomBytes,
        Self::Lanes,
        Self::HostAlignment,
        Self::ProbeFlush,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Size => "size-bytes",
            Self::Backing => "backing",
            Self::BackingBytes => "backing-bytes",
            Self::Discard => "discard",
            Self::Control => "control",
            Self::AtomBytes => "atom-bytes",
            Self::Lanes => "lanes",
            Self::HostAlignment => "host-alignment",
            Self::ProbeFlush => "probe-flush",
        }
    }

    fn get(self, config: &Config) -> String {
        let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
        match self {
            Self::Size => ExactSize(config.size_bytes).to_string(),
            Self::Backing => backing_name(config.backing).to_owned(),
            Self::BackingBytes => ExactSize(config.backing_bytes).to_string(),
            Self::Discard => switch(config.discard),
            Self::Control => config.control.to_string(),
            Self::AtomBytes => ExactSize(u64::from(config.atom_bytes)).to_string(),
            Self::Lanes => config.lanes.to_string(),
            Self::HostAlignment => ExactSize(u64::from(config.host_alignment)).to_string(),
            Self::ProbeFlush => config.probe_flush.to_string(),
        }
    }
}

fn backing_name(backing: Backing) -> &'static str {
    match backing {
        Backing::None => "none",
        Backing::Raw => "raw",
        Backing::Format => "format",
        Backing::Chain => "chain",
    }
}
