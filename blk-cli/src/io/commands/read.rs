//! `read`, `readv`, `aio_read`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arguments::{buffer, bytes, parts_bytes, pattern, request_bytes, whole_sectors};
use super::{Call, Command, Needs};
use crate::io::console::Console;
use crate::io::getopt::Words;
use crate::io::refusal::{Done, Refusal};
use crate::io::report::{Style, Transfer, dump};
use crate::io::session::{Session, tell_failure};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "read",
        short: Some("r"),
        synopsis: Some("[-abCqrv] [-P pattern [-s off] [-l len]] off len"),
        summary: "reads bytes at an offset",
        help: "
 Reads LEN bytes from OFF on and says how long it took.

 'read -v 512 1k' shows the bytes 512 to 1535 of the disk.

 -b   read the machine state instead of the disk
 -C   report values with commas between, for programs
 -l   how many bytes are held against the pattern (with -P)
 -p   accepted, without effect
 -P   hold what is read against this byte
 -q   say nothing unless something is wrong
 -r   accepted: register the buffer
 -s   where the bytes start that are held against the pattern (with -P)
 -v   show the bytes
",
        words_min: 2,
        words_max: None,
        needs: Needs::Image,
        run: read,
    },
    Command {
        name: "readv",
        short: None,
        synopsis: Some("[-Cqrv] [-P pattern] off len [len..]"),
        summary: "reads bytes at an offset, into several buffers",
        help: "
 Reads from OFF on as many bytes as all LEN together say, and says how long it took.

 'readv -v 512 1k 1k' shows the bytes 512 to 2559 of the disk.

 -C   report values with commas between, for programs
 -P   hold what is read against this byte
 -q   say nothing unless something is wrong
 -r   accepted: register the buffer
 -v   show the bytes
",
        words_min: 2,
        words_max: None,
        needs: Needs::Image,
        run: readv,
    },
    Command {
        name: "aio_read",
        short: None,
        synopsis: Some("[-Ciqrv] [-P pattern] off len [len..]"),
        summary: "reads bytes at an offset, without waiting for them",
        help: "
 Reads as readv does, while the next commands run; aio_flush waits for it. What goes wrong is
 said when it has completed, and does not count as a failure of the command.

 -C   report values with commas between, for programs
 -i   only count an invalid request
 -P   hold what is read against this byte
 -q   say nothing unless something is wrong
 -r   accepted: register the buffer
 -v   show the bytes
",
        words_min: 2,
        words_max: None,
        needs: Needs::Image,
        run: aio_read,
    },
];

/// What is done with the bytes that were read.
#[derive(Debug, Clone, Default)]
struct Use {
    offset: u64,
    length: u64,
    /// The buffers that are filled, by their lengths; none where there is one of `length` bytes.
    parts: Vec<u64>,
    expected: Option<Expected>,
    /// The state of the machine is read instead of the disk.
    machine_state: bool,
    is_quiet: bool,
    shows_bytes: bool,
    style: Style,
}

/// A part of the bytes, and what they should be.
#[derive(Debug, Clone, Copy)]
struct Expected {
    byte: u8,
    start: u64,
    length: u64,
}

impl Use {
    /// Holds the bytes against the pattern, shows and reports them. Answers whether they are as expected.
    fn present(&self, console: &Console, data: &[u8], elapsed: Duration) -> bool {
        let as_expected = self.expected.is_none_or(|expected| {
            let part = &data[expected.start as usize..][..expected.length as usize];
            let as_expected = part.iter().all(|byte| *byte == expected.byte);
            if !as_expected {
                let (offset, length) = (self.offset + expected.start, expected.length);
                console.say(&format!("Pattern verification failed at offset {offset}, {length} bytes\n"));
            }
            as_expected
        });
        if self.is_quiet {
            return as_expected;
        }
        if self.shows_bytes {
            console.say_all(dump(self.offset, data));
        }
        let transfer = Transfer { verb: "read", offset: self.offset, length: self.length, elapsed };
        console.say(&transfer.report(self.style));
        as_expected
    }

    /// Reads and presents at once.
    fn run(&self, session: &mut Session, what: &'static str) -> Done {
        let target = session.target()?;
        let mut data = buffer(self.length, 0)?;
        let started = Instant::now();
        let result = if self.machine_state {
            target.read_state(self.offset, &mut data)
        } else {
            target.read(self.offset, &mut data, &self.parts)
        };
        let elapsed = started.elapsed();
        session.poll();
        result.map_err(|error| Refusal::Failed { what, error })?;
        if self.present(&session.console, &data, elapsed) { Ok(()) } else { Err(Refusal::Said) }
    }
}

fn read(session: &mut Session, call: &Call<'_>) -> Done {
    let mut way = Use::default();
    let (mut byte, mut start, mut length) = (None, None, None);
    let mut words = Words::new(call.name, call.words, "bCl:pP:qrs:v");
    while let Some((letter, value)) = words.option()? {
        match letter {
            'b' => way.machine_state = true,
            'C' => way.style = Style::Values,
            'l' => length = Some(bytes(value)?),
            'P' => byte = Some(pattern(value)?),
            'q' => way.is_quiet = true,
            's' => start = Some(bytes(value)?),
            'v' => way.shows_bytes = true,
            _ => {}
        }
    }
    let operands = words.operands();
    let &[offset, count] = operands.as_slice() else { return Err(Refusal::Usage) };
    way.offset = bytes(offset)?;
    way.length = request_bytes(count)?;
    if byte.is_none() && (start.is_some() || length.is_some()) {
        return Err(Refusal::Usage);
    }
    way.expected = expected_part(byte, start, length, way.length)?;
    if way.machine_state {
        whole_sectors(way.offset, way.length)?;
    }
    way.run(session, "read")
}

/// The part of a read of `count` bytes that is held against the pattern.
fn expected_part(
    byte: Option<u8>,
    start: Option<u64>,
    length: Option<u64>,
    count: u64,
) -> Done<Option<Expected>> {
    let start = start.unwrap_or(0);
    let outside = || Refusal::Line("pattern verification range exceeds end of read data".to_owned());
    let behind = count.checked_sub(start).ok_or_else(outside)?;
    let length = length.unwrap_or(behind);
    if length > behind {
        return Err(outside());
    }
    Ok(byte.map(|byte| Expected { byte, start, length }))
}

/// What `readv` and `aio_read` have in common; `None` where the request is only to be counted as invalid.
fn read_parts(call: &Call<'_>, letters: &str) -> Done<Option<Use>> {
    let mut way = Use::default();
    let mut byte = None;
    let mut words = Words::new(call.name, call.words, letters);
    while let Some((letter, value)) = words.option()? {
        match letter {
            'C' => way.style = Style::Values,
            'i' => return Ok(None),
            'P' => byte = Some(pattern(value)?),
            'q' => way.is_quiet = true,
            'v' => way.shows_bytes = true,
            _ => {}
        }
    }
    let operands = words.operands();
    let [offset, parts @ ..] = operands.as_slice() else { return Err(Refusal::Usage) };
    if parts.is_empty() {
        return Err(Refusal::Usage);
    }
    way.offset = bytes(offset)?;
    way.parts = parts_bytes(parts)?;
    way.length = way.parts.iter().sum();
    way.expected = expected_part(byte, None, None, way.length)?;
    Ok(Some(way))
}

fn readv(session: &mut Session, call: &Call<'_>) -> Done {
    match read_parts(call, "CP:qrv")? {
        Some(way) => way.run(session, "readv"),
        None => Err(Refusal::Usage),
    }
}

fn aio_read(session: &mut Session, call: &Call<'_>) -> Done {
    let Some(way) = read_parts(call, "CP:iqrv")? else {
        session.console.say("injecting invalid read request\n");
        return Ok(());
    };
    let target = session.target()?;
    let mut data = buffer(way.length, 0)?;
    let started = Instant::now();
    let request = move || -> crate::io::flights::Report {
        let result = Arc::clone(&target).read(way.offset, &mut data, &way.parts);
        let elapsed = started.elapsed();
        Box::new(move |console| match result {
            Ok(()) => {
                way.present(console, &data, elapsed);
            }
            Err(error) => tell_failure(console, "readv", &error),
        })
    };
    session.flights.send(request).map_err(Refusal::Error)
}
