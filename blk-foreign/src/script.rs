//! A scenario as a shell script that makes the same requests by programs of others alone, so that a finding
//! can be shown to those who know nothing of this one.
//!
//! ```text
//! a process for each open ──► the process itself, and qemu-io as its client           (script/server.rs)
//! QEMU's formats ───────────► qemu-img and qemu-io on a file                          (script/format.rs)
//!   crashes ────────────────► qemu-io over blkdebug, ended at each of its break points (script/crash.rs)
//!   requests in flight ─────► the same, one of them held at each of these              (script/race.rs)
//!   failures ───────────────► the same, one write of the file after the other fails    (script/fault.rs)
//! ```
//!
//! A script exits with 1 where something is wrong, with 0 where nothing is, with 2 where it cannot tell.

mod crash;
mod fault;
mod format;
mod race;
mod server;
mod shown;

use anyhow::{Result, bail};
use blk_harness::driver::Driver;
use blk_harness::scenario::{Config, Fill, Request, Scenario};

use crate::description::Program;
use crate::template::Names;
use crate::{EngineKind, ForeignDriver};
use shown::Shown;

/// The image, in the folder of the script.
const IMAGE: &str = "image";

/// The script for a scenario that an engine runs on a driver.
///
/// # Errors
/// Why there is none: failures, crashes and requests in flight that are not in QEMU's formats, a
/// process whose control channel a script cannot use.
pub fn script(driver: ForeignDriver, engine: EngineKind, scenario: &Scenario) -> Result<String> {
    let config = driver.space().legal(&scenario.config);
    let task = Task::new(driver, &config, scenario);
    let has_format = driver.description().reproduce.is_some();
    match engine {
        EngineKind::Fault if !has_format => {
            bail!("only QEMU's blkdebug can have a write fail, and '{}' has none", driver.name())
        }
        EngineKind::Fault => fault::script(&task),
        EngineKind::Race if !has_format => {
            bail!("only QEMU's break points can hold a request, and '{}' has none", driver.name())
        }
        EngineKind::Race => race::script(&task, scenario),
        EngineKind::Crash if !has_format => {
            bail!(
                "only QEMU's break points can end a process in the middle, and '{}' has none",
                driver.name()
            )
        }
        EngineKind::Crash => Ok(crash::script(&task)),
        EngineKind::Content if !driver.description().is_shared() => Ok(server::script(&task)),
        EngineKind::Content if has_format => Ok(format::script(&task)),
        EngineKind::Content => bail!("'{}' opens images by a control channel alone", driver.name()),
    }
}

/// What a script is made of.
struct Task {
    driver: ForeignDriver,
    names: Names,
    size: u64,
    discards: bool,
    /// The requests, with a byte in place of stamps, and whether the disk takes them.
    requests: Vec<(Request, bool)>,
}

impl Task {
    fn new(driver: ForeignDriver, config: &Config, scenario: &Scenario) -> Self {
        let names = driver.0.names(config).with("file", IMAGE);
        let size = driver.0.size(config);
        let takes = |request: &Request| match (request, request.range()) {
            // Another process has the image open: nobody asks it to resize.
            (Request::Resize { .. } | Request::WriteCompressed { .. }, _) => false,
            (_, Some((offset, length))) => offset.checked_add(length).is_some_and(|end| end <= size),
            (_, None) => true,
        };
        let requests = (1..).zip(&scenario.requests).map(|(number, request)| {
            let request = marked(number, request);
            (request, takes(&request))
        });
        Self { driver, names, size, discards: config.discard, requests: requests.collect() }
    }

    fn description(&self) -> &'static crate::Description {
        self.driver.description()
    }

    /// What all scripts begin with: a folder of their own, and an image in it.
    fn head(&self) -> String {
        let description = self.description();
        let head = format!(
            "#!/bin/sh\n\
             # {about}.\n\
             # Exits with 1 where something is wrong, with 0 where nothing is, with 2 where it cannot tell.\n\
             set -eu\n\
             ulimit -c 0\n\
             folder=$(mktemp -d)\n\
             server= medium=\n\
             # What fails by itself tells nothing of the driver.\n\
             told=\n\
             trap 'code=$?; kill -9 $server $medium 2>/dev/null || true; rm -rf \"$folder\"\n    \
             [ $code -eq 0 ] || [ -n \"$told\" ] || code=2; exit $code' EXIT\n\
             trap 'exit 2' INT TERM\n\
             cd \"$folder\"\n\
             bug() {{ echo \"$1\"; echo 'THE BUG SHOWS'; told=1; exit 1; }}\n\
             trouble() {{ echo \"$1: nothing can be told\"; exit 2; }}\n",
            about = description.about.replace('\n', "\n# "),
        );
        let create = match &description.create {
            Some(program) => line(&self.names, program),
            None => format!("truncate -s {} {IMAGE}", self.size),
        };
        format!("{head}{create} || trouble 'no image is made'\n")
    }

    /// A function `check` that has the image checked.
    fn check_function(&self) -> String {
        let Some(program) = &self.description().check else { return "check() { :; }\n".to_owned() };
        let good: Vec<String> = program.good.iter().map(ToString::to_string).collect();
        format!(
            "check() {{\n    code=0; {} || code=$?\n    case $code in {}) ;; 126|127) trouble 'there is no check' ;; *) bug 'the check finds something' ;; esac\n}}\n",
            line(&self.names, program),
            good.join("|")
        )
    }
}

/// A program with its arguments, for a shell.
fn line(names: &Names, program: &Program) -> String {
    quoted_words(&names.words(&program.argv))
}

fn quoted_words(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word, as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The request with a byte in place of stamps, which tells its number. Zeroes that may be refused rather than
/// written as data are plain ones: whether they were refused, the script could not know.
fn marked(number: u64, request: &Request) -> Request {
    let mut request = *request;
    if let Request::WriteZeroes { no_fallback, .. } = &mut request {
        *no_fallback = false;
    }
    if let Request::Write { fill, .. } | Request::WriteCompressed { fill, .. } = &mut request
        && *fill == Fill::Stamp
    {
        // The remainder of a division by 255 is at most 254.
        *fill = Fill::Byte(((number - 1) % 255) as u8 + 1);
    }
    request
}

/// A command of qemu-io, as a word of a shell.
fn command(text: &str) -> String {
    format!(" \\\n    -c '{text}'")
}

/// A request as a command of qemu-io that stays the same process, which waits for it.
fn done(request: &Request) -> Option<String> {
    match request {
        Request::Status { .. } | Request::Check { .. } => None,
        // The image stays open: all that counts is that it is durable.
        Request::Reopen { .. } => Some("flush".to_owned()),
        other => Some(other.to_string()),
    }
}

/// The image as a file.
fn over_file() -> String {
    format!("file.driver=file,file.discard=unmap,file.filename={IMAGE}")
}

/// The image as QEMU's blkdebug has it, which can stop requests at break points.
fn over_blkdebug() -> String {
    format!(
        "file.driver=blkdebug,file.image.driver=file,file.image.discard=unmap,file.image.filename={IMAGE}"
    )
}

/// Reads of a range, a command for each piece that is filled with one byte.
fn verified_reads(shown: &Shown, offset: u64, length: u64) -> String {
    let pieces = shown.pieces(offset, length).into_iter();
    let read = |(start, end, byte): shown::Piece| {
        let pattern = byte.map_or_else(String::new, |byte| format!(" -P {byte:#04x}"));
        command(&format!("read{pattern} {start} {}", end - start))
    };
    pieces.map(read).collect()
}

/// Says of a request that the script does not make it: nobody takes it, or no program can be asked for it.
fn not_asked(script: &mut String, request: &Request) {
    *script = format!("{script}# not asked: {request}\n");
}
