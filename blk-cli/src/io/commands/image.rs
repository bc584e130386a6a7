//! `open`, `close`, `info`.

use std::fmt::Write;

use blk_core::Detail;

use super::{Call, Command, Needs};
use crate::io::getopt::Words;
use crate::io::mode::{Mode, NO_CACHE, parse_aio, parse_cache, parse_discard};
use crate::io::plan::{NamedOptions, Plan, parse_options};
use crate::io::refusal::{Done, Refusal};
use crate::io::report;
use crate::io::session::Session;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "open",
        short: Some("o"),
        synopsis: Some("[-rsCnkU] [-t cache] [-d discard] [-o options] [path]"),
        summary: "opens an image",
        help: "
 Opens the image PATH; all other commands work on it from now on.

 'open -o driver=raw disk.img' opens a raw image, for reading and writing.

 -C   keep in the image what is read from below it
 -d   what becomes of discards: unmap or ignore
 -i   asynchronous I/O: threads, native or io_uring; without effect
 -k   the same as -i native
 -n   the same as -t none
 -o   options, KEY=VALUE with commas between
 -r   refuse commands that write
 -s   write to a temporary overlay that is gone when the image is closed
 -t   cache mode: none, directsync, writeback, writethrough or unsafe
 -U   others may have the image open for writing
",
        words_min: 1,
        words_max: None,
        needs: Needs::Nothing,
        run: open,
    },
    Command {
        name: "close",
        short: Some("c"),
        synopsis: None,
        summary: "closes the image",
        help: "",
        words_min: 0,
        words_max: Some(0),
        needs: Needs::Image,
        run: close,
    },
    Command {
        name: "info",
        short: Some("i"),
        synopsis: None,
        summary: "shows what the image is",
        help: "",
        words_min: 0,
        words_max: Some(0),
        needs: Needs::Image,
        run: info,
    },
];

fn open(session: &mut Session, call: &Call<'_>) -> Done {
    let mut mode = Mode::default();
    let mut options = NamedOptions::new();
    let mut words = Words::new(call.name, call.words, "snCro:ki:t:d:U");
    while let Some((letter, value)) = words.option()? {
        match letter {
            's' => mode.snapshot = true,
            'n' => mode.cache = NO_CACHE,
            'C' => mode.copy_on_read = true,
            'r' => mode.read_only = true,
            'k' => mode.native_aio = true,
            'i' => mode.native_aio = parse_aio(value)?,
            't' => mode.cache = parse_cache(value)?,
            'd' => mode.discard = parse_discard(value)?,
            'o' if session.image_opts => {
                let what = "--image-opts and 'open -o' are mutually exclusive";
                return Err(Refusal::Line(what.to_owned()));
            }
            'o' => options.extend(parse_options(value)),
            _ => mode.force_share = true,
        }
    }
    let operands = words.operands();
    let name = match operands.as_slice() {
        [] => None,
        [name] => Some((*name).to_owned()),
        _ => return Err(Refusal::Usage),
    };
    if session.opened.is_some() {
        return Err(Refusal::Error("file open already, try 'help close'".to_owned()));
    }
    let (image_opts, objects) = (session.image_opts, session.objects.clone());
    session.open(Plan { name, image_opts, format: None, options, objects, mode })
}

fn close(session: &mut Session, _call: &Call<'_>) -> Done {
    session.close()
}

fn info(session: &mut Session, _call: &Call<'_>) -> Done {
    let target = session.target()?;
    session.console.say(&format!("format name: {}\n", target.format()));
    let Some(info) = target.disk().as_info() else { return Err(Refusal::Said) };
    let info = info.info().map_err(|error| Refusal::Failed { what: "info", error })?;
    let cluster_bytes = report::bytes(info.cluster_bytes.unwrap_or(0));
    let state_offset = report::bytes(info.machine_state_offset);
    let mut text = format!("cluster size: {cluster_bytes}\nvm state offset: {state_offset}\n");
    if !info.details.is_empty() {
        text.push_str("Format specific information:\n");
        for (name, detail) in &info.details {
            add_detail(&mut text, name, detail, 1);
        }
    }
    session.console.say(&text);
    Ok(())
}

fn add_detail(text: &mut String, name: &str, detail: &Detail, level: usize) {
    let value = match detail {
        Detail::Switch(value) => format!(" {value}"),
        Detail::Number(value) => format!(" {value}"),
        Detail::Text(value) => format!(" {value}"),
        Detail::List(_) | Detail::Group(_) => String::new(),
    };
    let (indent, name) = ("    ".repeat(level), name.replace('-', " "));
    // Writing to a String does not fail.
    let _ = writeln!(text, "{indent}{name}:{value}");
    match detail {
        Detail::List(list) => {
            for (index, detail) in list.iter().enumerate() {
                add_detail(text, &format!("[{index}]"), detail, level + 1);
            }
        }
        Detail::Group(group) => {
            for (name, detail) in group {
                add_detail(text, name, detail, level + 1);
            }
        }
        Detail::Switch(_) | Detail::Number(_) | Detail::Text(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_indented_by_their_depth() {
        let flags = Detail::List(vec![Detail::Text("auto".to_owned())]);
        let bitmap = Detail::Group(vec![("flags", flags), ("in-use", Detail::Switch(false))]);
        let mut text = String::new();
        add_detail(&mut text, "bitmaps", &Detail::List(vec![bitmap]), 1);
        add_detail(&mut text, "refcount-bits", &Detail::Number(16), 1);
        assert_eq!(
            text,
            [
                "    bitmaps:\n        [0]:\n            flags:\n                [0]: auto\n",
                "            in use: false\n    refcount bits: 16\n",
            ]
            .concat()
        );
    }
}
