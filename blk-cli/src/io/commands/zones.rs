//! The commands for zoned devices. No driver of this workspace has zones: the words are checked, and the
//! request is refused.

use blk_core::Error;

use super::arguments::{bytes, parts_bytes};
use super::{Call, Command, Needs};
use crate::io::getopt::Words;
use crate::io::refusal::{Done, Refusal};
use crate::io::session::Session;

const fn command(
    name: &'static str,
    short: &'static str,
    synopsis: &'static str,
    summary: &'static str,
    run: fn(&mut Session, &Call<'_>) -> Done,
) -> Command {
    Command {
        name,
        short: Some(short),
        synopsis: Some(synopsis),
        summary,
        help: "",
        words_min: 2,
        words_max: Some(2),
        needs: Needs::Image,
        run,
    }
}

pub(super) const COMMANDS: &[Command] = &[
    command("zone_report", "zrp", "offset number", "shows zones", |_, call| refuse(call, "zone report")),
    command("zone_open", "zo", "offset len", "opens zones", |_, call| refuse(call, "zone open")),
    command("zone_close", "zc", "offset len", "closes zones", |_, call| refuse(call, "zone close")),
    command("zone_finish", "zf", "offset len", "finishes zones", |_, call| refuse(call, "zone finish")),
    command("zone_reset", "zrs", "offset len", "empties zones", |_, call| refuse(call, "zone reset")),
    Command {
        words_min: 3,
        words_max: Some(4),
        ..command("zone_append", "zap", "offset len [len..]", "writes at the end of a zone", append)
    },
];

fn refuse(call: &Call<'_>, what: &'static str) -> Done {
    for word in call.words {
        bytes(word)?;
    }
    Err(unsupported(what))
}

fn append(_session: &mut Session, call: &Call<'_>) -> Done {
    let mut words = Words::new(call.name, call.words, "pqr");
    while words.option()?.is_some() {}
    let operands = words.operands();
    let [offset, parts @ ..] = operands.as_slice() else { return Err(Refusal::Usage) };
    bytes(offset)?;
    parts_bytes(parts)?;
    Err(unsupported("zone append"))
}

fn unsupported(what: &'static str) -> Refusal {
    Refusal::Failed { what, error: Error::unsupported("zones") }
}
