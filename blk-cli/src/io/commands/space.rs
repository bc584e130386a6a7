//! `discard`, `truncate`, `flush`, `aio_flush`, `length`, `alloc`, `map`.

use std::time::Instant;

use blk_core::{Disk, Error, Extent, Preallocation, Result};

use super::arguments::{bytes, request_bytes};
use super::{Call, Command, Needs};
use crate::io::getopt::Words;
use crate::io::refusal::{Done, Refusal, reason};
use crate::io::report::{self, Style, Transfer};
use crate::io::session::Session;
use crate::io::target::{SECTOR_BYTES, Target};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "discard",
        short: Some("d"),
        synopsis: Some("[-Cq] off len"),
        summary: "tells that bytes at an offset are no longer needed",
        help: "
 Gives up LEN bytes from OFF on and says how long it took.

 'discard 512 1k' gives up the bytes 512 to 1535 of the disk.

 -C   report values with commas between, for programs
 -q   say nothing unless something is wrong
",
        words_min: 2,
        words_max: None,
        needs: Needs::Writable,
        run: discard,
    },
    Command {
        name: "truncate",
        short: Some("t"),
        synopsis: Some("[-m prealloc_mode] off"),
        summary: "makes the disk end at an offset",
        help: "",
        words_min: 1,
        words_max: Some(3),
        needs: Needs::Writable,
        run: truncate,
    },
    Command {
        name: "flush",
        short: Some("f"),
        synopsis: None,
        summary: "puts what was written on stable storage",
        help: "",
        words_min: 0,
        words_max: Some(0),
        needs: Needs::Image,
        run: flush,
    },
    Command {
        name: "aio_flush",
        short: None,
        synopsis: None,
        summary: "waits for all requests in flight",
        help: "",
        words_min: 0,
        words_max: Some(0),
        needs: Needs::Image,
        run: |session, _| {
            session.flights.finish(&session.console);
            Ok(())
        },
    },
    Command {
        name: "length",
        short: Some("l"),
        synopsis: None,
        summary: "shows the size of the disk",
        help: "",
        words_min: 0,
        words_max: Some(0),
        needs: Needs::Image,
        run: length,
    },
    Command {
        name: "alloc",
        short: Some("a"),
        synopsis: Some("offset [count]"),
        summary: "counts the bytes that the image determines itself",
        help: "",
        words_min: 1,
        words_max: Some(2),
        needs: Needs::Image,
        run: alloc,
    },
    Command {
        name: "map",
        short: None,
        synopsis: Some(""),
        summary: "shows which parts of the disk the image determines itself",
        help: "",
        words_min: 0,
        words_max: Some(0),
        needs: Needs::Image,
        run: map,
    },
];

fn discard(session: &mut Session, call: &Call<'_>) -> Done {
    let (mut style, mut is_quiet) = (Style::Lines, false);
    let mut words = Words::new(call.name, call.words, "Cq");
    while let Some((letter, _)) = words.option()? {
        match letter {
            'C' => style = Style::Values,
            _ => is_quiet = true,
        }
    }
    let operands = words.operands();
    let &[offset, count] = operands.as_slice() else { return Err(Refusal::Usage) };
    let (offset, length) = (bytes(offset)?, request_bytes(count)?);
    let target = session.target()?;
    let started = Instant::now();
    let result = target.discard(Extent::new(offset, length));
    let elapsed = started.elapsed();
    session.poll();
    result.map_err(|error| Refusal::Failed { what: "discard", error })?;
    if !is_quiet {
        let transfer = Transfer { verb: "discard", offset, length, elapsed };
        session.console.say(&transfer.report(style));
    }
    Ok(())
}

fn truncate(session: &mut Session, call: &Call<'_>) -> Done {
    let mut preallocation = Preallocation::Off;
    let mut words = Words::new(call.name, call.words, "m:");
    while let Some((_, value)) = words.option()? {
        preallocation = value.parse().map_err(|error: Error| Refusal::Error(error.to_string()))?;
    }
    let operands = words.operands();
    // What follows the size is ignored, as it always was.
    let size = bytes(operands.first().ok_or(Refusal::Usage)?)?;
    let target = session.target()?;
    let result = target.claim_resize().and_then(|()| resize(target.disk(), size, preallocation));
    session.poll();
    result.map_err(|error| Refusal::Error(format!("cannot make the disk {size} bytes long: {error}")))
}

fn resize(disk: &Disk, size: u64, preallocation: Preallocation) -> Result<()> {
    let has_clusters = match disk.as_info() {
        Some(info) => info.info()?.cluster_bytes.is_some(),
        None => false,
    };
    if has_clusters && !size.is_multiple_of(SECTOR_BYTES) {
        return Err(Error::Misaligned { offset: 0, length: size, alignment: SECTOR_BYTES });
    }
    disk.grow(size, preallocation)
}

fn flush(session: &mut Session, _call: &Call<'_>) -> Done {
    session.target()?.disk().flush().map_err(|error| Refusal::Failed { what: "flush", error })
}

fn length(session: &mut Session, _call: &Call<'_>) -> Done {
    let length = session.target()?.length();
    session.console.say(&format!("{}\n", report::bytes(length)));
    Ok(())
}

fn alloc(session: &mut Session, call: &Call<'_>) -> Done {
    let offset = bytes(&call.words[0])?;
    let count = call.words.get(1).map_or(Ok(SECTOR_BYTES), |word| bytes(word))?;
    let target = session.target()?;
    let count = count.min(target.length().saturating_sub(offset));
    let allocated = count_allocated(&target, offset, count)
        .map_err(|error| Refusal::Line(format!("is_allocated failed: {}", reason(&error))))?;
    let at = report::bytes(offset);
    session.console.say(&format!("{allocated}/{count} bytes allocated at offset {at}\n"));
    Ok(())
}

fn count_allocated(target: &Target, offset: u64, count: u64) -> Result<u64> {
    let (mut done, mut allocated) = (0, 0);
    while done < count {
        let run = target.run_at(offset + done, count - done)?;
        done += run.length;
        allocated += if run.is_allocated { run.length } else { 0 };
    }
    Ok(allocated)
}

fn map(session: &mut Session, _call: &Call<'_>) -> Done {
    let target = session.target()?;
    let length = target.length();
    let mut at = 0;
    while at < length {
        let run = target.run_at(at, length - at).map_err(|error| {
            Refusal::Error(format!("Failed to get allocation status: {}", reason(&error)))
        })?;
        let word = if run.is_allocated { "    allocated" } else { "not allocated" };
        let (size, offset) = (report::bytes(run.length), report::bytes(at));
        let line = format!("{size} ({:#x}) bytes {word} at offset {offset} ({at:#x})\n", run.length);
        session.console.say(&line);
        at += run.length;
    }
    Ok(())
}
