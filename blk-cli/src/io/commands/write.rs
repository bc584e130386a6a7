//! `write`, `writev`, `aio_write`.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use blk_core::{Extent, Result, WriteFlags, ZeroFlags, name};

use super::arguments::{REQUEST_BYTES_MAX, buffer, bytes, parts_bytes, pattern, whole_sectors};
use super::{Call, Command, Needs};
use crate::io::console::Console;
use crate::io::getopt::Words;
use crate::io::refusal::{Done, Refusal, system_text};
use crate::io::report::{Style, Transfer};
use crate::io::session::{Session, tell_failure};
use crate::io::target::Target;

/// What is written where nothing else is said.
const DEFAULT_BYTE: u8 = 0xcd;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "write",
        short: Some("w"),
        synopsis: Some("[-bcCfnqruz] [-P pattern | -s source_file] off len"),
        summary: "writes bytes at an offset",
        help: "
 Writes LEN bytes from OFF on and says how long it took.

 'write -P 0x11 512 1k' makes the bytes 512 to 1535 of the disk 0x11.

 -b   write the machine state instead of the disk
 -c   store the data compressed
 -C   report values with commas between, for programs
 -f   the data is on stable storage before the command is done
 -n   with -z: fail rather than write zeroes as data
 -p   accepted, without effect
 -P   the byte that is written, instead of 0xcd
 -q   say nothing unless something is wrong
 -r   accepted: register the buffer
 -s   write what is in this file, over and over
 -u   with -z: storage may be given back
 -z   write zeroes, without data where the format can
",
        words_min: 2,
        words_max: None,
        needs: Needs::Writable,
        run: write,
    },
    Command {
        name: "writev",
        short: None,
        synopsis: Some("[-Cfqr] [-P pattern] off len [len..]"),
        summary: "writes bytes at an offset, from several buffers",
        help: "
 Writes from OFF on as many bytes as all LEN together say, and says how long it took.

 'writev 512 1k 1k' writes the bytes 512 to 2559 of the disk.

 -C   report values with commas between, for programs
 -f   the data is on stable storage before the command is done
 -P   the byte that is written, instead of 0xcd
 -q   say nothing unless something is wrong
 -r   accepted: register the buffer
",
        words_min: 2,
        words_max: None,
        needs: Needs::Writable,
        run: writev,
    },
    Command {
        name: "aio_write",
        short: None,
        synopsis: Some("[-Cfiqruz] [-P pattern] off len [len..]"),
        summary: "writes bytes at an offset, without waiting for it",
        help: "
 Writes as writev does, while the next commands run; aio_flush waits for it. What goes wrong is
 said when it has completed, and does not count as a failure of the command.

 -C   report values with commas between, for programs
 -f   the data is on stable storage before the request is done
 -i   only count an invalid request
 -P   the byte that is written, instead of 0xcd
 -q   say nothing unless something is wrong
 -r   accepted: register the buffer
 -u   with -z: storage may be given back
 -z   write zeroes, without data where the format can
",
        words_min: 2,
        words_max: None,
        needs: Needs::Writable,
        run: aio_write,
    },
];

/// What the options say.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command")]
struct Switches<'a> {
    machine_state: bool,
    compressed: bool,
    fua: bool,
    no_fallback: bool,
    registered: bool,
    may_unmap: bool,
    zeroes: bool,
    invalid: bool,
    is_quiet: bool,
    style: Style,
    byte: Option<u8>,
    source: Option<&'a str>,
}

impl<'a> Switches<'a> {
    fn take(words: &mut Words<'a>) -> Done<Self> {
        let mut switches = Self::default();
        while let Some((letter, value)) = words.option()? {
            match letter {
                'b' => switches.machine_state = true,
                'c' => switches.compressed = true,
                'C' => switches.style = Style::Values,
                'f' => switches.fua = true,
                'i' => {
                    // Nothing behind it counts any more.
                    switches.invalid = true;
                    return Ok(switches);
                }
                'n' => switches.no_fallback = true,
                'P' => switches.byte = Some(pattern(value)?),
                'q' => switches.is_quiet = true,
                'r' => switches.registered = true,
                's' => switches.source = Some(value),
                'u' => switches.may_unmap = true,
                'z' => switches.zeroes = true,
                _ => {}
            }
        }
        Ok(switches)
    }

    /// Refuses what does not go together in `write`.
    fn check(&self) -> Done {
        let refuse = |what: &str| Err(Refusal::Line(what.to_owned()));
        if self.machine_state && self.zeroes {
            return refuse("-b and -z cannot be specified at the same time");
        }
        if self.fua && (self.machine_state || self.compressed) {
            return refuse("-f and -b or -c cannot be specified at the same time");
        }
        if self.no_fallback && !self.zeroes {
            return refuse("-n requires -z to be specified");
        }
        if self.may_unmap && !self.zeroes {
            return refuse("-u requires -z to be specified");
        }
        let sources = [self.zeroes, self.byte.is_some(), self.source.is_some()];
        if sources.into_iter().filter(|source| *source).count() > 1 {
            return refuse("Only one of -z, -P, and -s can be specified at the same time");
        }
        Ok(())
    }

    fn check_registered(&self) -> Done {
        if self.zeroes && self.registered {
            let what = "cannot combine zero write with registered I/O buffer";
            return Err(Refusal::Line(what.to_owned()));
        }
        Ok(())
    }

    fn zeroes(&self) -> ZeroFlags {
        let Self { fua, may_unmap, no_fallback, .. } = *self;
        ZeroFlags { fua, may_unmap, no_fallback, fast_only: false }
    }
}

/// What is written.
#[derive(Debug)]
enum Content {
    Data(Vec<u8>, WriteFlags),
    /// Of the state of the machine.
    State(Vec<u8>),
    /// In pieces of these lengths.
    Parts(Vec<u8>, Vec<u64>, WriteFlags),
    Zeroes(u64, ZeroFlags),
}

/// A write that is ready to go.
#[derive(Debug)]
struct Writing {
    offset: u64,
    content: Content,
    is_quiet: bool,
    style: Style,
}

impl Writing {
    fn length(&self) -> u64 {
        match &self.content {
            Content::Data(data, _) | Content::State(data) | Content::Parts(data, ..) => data.len() as u64,
            Content::Zeroes(length, _) => *length,
        }
    }

    fn write(&self, target: &Target) -> Result<()> {
        match &self.content {
            Content::Data(data, flags) => target.write(self.offset, data, *flags),
            Content::State(data) => target.write_state(self.offset, data),
            Content::Parts(data, parts, flags) => target.write_parts(self.offset, data, parts, *flags),
            Content::Zeroes(length, flags) => target.write_zeroes(Extent::new(self.offset, *length), *flags),
        }
    }

    fn report(&self, console: &Console, elapsed: Duration) {
        if !self.is_quiet {
            let transfer = Transfer { verb: "wrote", offset: self.offset, length: self.length(), elapsed };
            console.say(&transfer.report(self.style));
        }
    }

    fn run(&self, session: &mut Session, what: &'static str) -> Done {
        let target = session.target()?;
        let started = Instant::now();
        let result = self.write(&target);
        let elapsed = started.elapsed();
        session.poll();
        result.map_err(|error| Refusal::Failed { what, error })?;
        self.report(&session.console, elapsed);
        Ok(())
    }
}

fn write(session: &mut Session, call: &Call<'_>) -> Done {
    let mut words = Words::new(call.name, call.words, "bcCfnpP:qrs:uz");
    let switches = Switches::take(&mut words)?;
    let operands = words.operands();
    let &[offset, count] = operands.as_slice() else { return Err(Refusal::Usage) };
    switches.check()?;
    let offset = bytes(offset)?;
    let length = bytes(count)?;
    if length > REQUEST_BYTES_MAX && !switches.no_fallback {
        let what = format!("length cannot exceed {REQUEST_BYTES_MAX} without -n, given {count}");
        return Err(Refusal::Line(what));
    }
    if switches.machine_state || switches.compressed {
        whole_sectors(offset, length)?;
    }
    switches.check_registered()?;
    let content = if switches.zeroes {
        Content::Zeroes(length, switches.zeroes())
    } else {
        let data = match switches.source {
            Some(name) => file_content(name, length)?,
            None => buffer(length, switches.byte.unwrap_or(DEFAULT_BYTE))?,
        };
        let flags = WriteFlags { fua: switches.fua, compressed: switches.compressed };
        if switches.machine_state { Content::State(data) } else { Content::Data(data, flags) }
    };
    Writing { offset, content, is_quiet: switches.is_quiet, style: switches.style }.run(session, "write")
}

/// The start of a file, over and over, until there are `length` bytes.
fn file_content(name: &str, length: u64) -> Done<Vec<u8>> {
    let failed = |error: &std::io::Error| Refusal::Complaint(format!("{name}: {}", system_text(error)));
    let mut content = buffer(length, 0)?;
    let mut file = File::open(name::to_path(name)).map_err(|error| failed(&error))?;
    let mut filled = 0;
    while filled < content.len() {
        match file.read(&mut content[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) => return Err(failed(&error)),
        }
    }
    if filled == 0 {
        return Err(Refusal::Complaint(format!("{name}: file is empty")));
    }
    let mut copied = filled;
    while copied < content.len() {
        let count = copied.min(content.len() - copied);
        content.copy_within(..count, copied);
        copied += count;
    }
    Ok(content)
}

fn writev(session: &mut Session, call: &Call<'_>) -> Done {
    let mut words = Words::new(call.name, call.words, "CfqrP:");
    let switches = Switches::take(&mut words)?;
    let operands = words.operands();
    parts(&switches, &operands)?.run(session, "writev")
}

/// A write of all the parts together.
fn parts(switches: &Switches<'_>, operands: &[&str]) -> Done<Writing> {
    let [offset, parts @ ..] = operands else { return Err(Refusal::Usage) };
    if parts.is_empty() {
        return Err(Refusal::Usage);
    }
    let offset = bytes(offset)?;
    let lengths = parts_bytes(parts)?;
    let data = buffer(lengths.iter().sum(), switches.byte.unwrap_or(DEFAULT_BYTE))?;
    let content = Content::Parts(data, lengths, WriteFlags { fua: switches.fua, compressed: false });
    Ok(Writing { offset, content, is_quiet: switches.is_quiet, style: switches.style })
}

fn aio_write(session: &mut Session, call: &Call<'_>) -> Done {
    let mut words = Words::new(call.name, call.words, "CfiP:qruz");
    let switches = Switches::take(&mut words)?;
    if switches.invalid {
        session.console.say("injecting invalid write request\n");
        return Ok(());
    }
    let operands = words.operands();
    let writing = aio_content(&switches, &operands)?;
    let target = session.target()?;
    let started = Instant::now();
    let request = move || -> crate::io::flights::Report {
        let result = writing.write(&target);
        let elapsed = started.elapsed();
        Box::new(move |console| match result {
            Ok(()) => writing.report(console, elapsed),
            Err(error) => tell_failure(console, "aio_write", &error),
        })
    };
    session.flights.send(request).map_err(Refusal::Error)
}

fn aio_content(switches: &Switches<'_>, operands: &[&str]) -> Done<Writing> {
    let refuse = |what: &str| Err(Refusal::Line(what.to_owned()));
    if operands.len() < 2 {
        return Err(Refusal::Usage);
    }
    if switches.zeroes && operands.len() != 2 {
        return refuse("-z supports only a single length parameter");
    }
    if switches.may_unmap && !switches.zeroes {
        return refuse("-u requires -z to be specified");
    }
    switches.check_registered()?;
    if !switches.zeroes {
        return parts(switches, operands);
    }
    let (offset, length) = (bytes(operands[0])?, bytes(operands[1])?);
    let content = Content::Zeroes(length, switches.zeroes());
    Ok(Writing { offset, content, is_quiet: switches.is_quiet, style: switches.style })
}
