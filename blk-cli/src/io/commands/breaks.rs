//! `break`, `remove_break`, `resume`, `wait_break`.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use blk_core::Error;

use super::{Call, Command, Needs};
use crate::io::refusal::{Done, Refusal, reason};
use crate::io::session::Session;
use crate::io::target::Target;

/// How long `wait_break` waits between two looks.
const GLANCE: Duration = Duration::from_millis(1);

const fn command(
    name: &'static str,
    synopsis: &'static str,
    words: usize,
    summary: &'static str,
    run: fn(&mut Session, &Call<'_>) -> Done,
) -> Command {
    Command {
        name,
        short: None,
        synopsis: Some(synopsis),
        summary,
        help: "",
        words_min: words,
        words_max: Some(words),
        needs: Needs::Image,
        run,
    }
}

pub(super) const COMMANDS: &[Command] = &[
    command("break", "event tag", 2, "stops the next request that reaches an event", set),
    command("remove_break", "tag", 1, "removes a breakpoint", remove),
    command("resume", "tag", 1, "lets a stopped request go on", resume),
    command("wait_break", "tag", 1, "waits until a request is stopped", wait),
];

fn refuse(what: &str, error: &Error) -> Refusal {
    Refusal::Line(format!("{what}: {}", reason(error)))
}

/// What an image answers that has no breakpoints.
fn unsupported() -> Error {
    Error::unsupported("breakpoints")
}

fn set(session: &mut Session, call: &Call<'_>) -> Done {
    let (event, tag) = (&call.words[0], &call.words[1]);
    let target = session.target()?;
    let set = target.breakpoints().map_or_else(|| Err(unsupported()), |all| all.set(event, tag));
    set.map_err(|error| refuse("Could not set breakpoint", &error))?;
    if let Some(opened) = session.opened.as_mut().filter(|opened| !opened.tags.contains(tag)) {
        opened.tags.push(tag.clone());
    }
    Ok(())
}

fn remove(session: &mut Session, call: &Call<'_>) -> Done {
    let tag = &call.words[0];
    let target = session.target()?;
    session.flights.settle();
    let removed = target.breakpoints().map_or_else(|| Err(unsupported()), |all| all.remove(tag));
    removed.map_err(|error| refuse(&format!("Could not remove breakpoint {tag}"), &error))
}

fn resume(session: &mut Session, call: &Call<'_>) -> Done {
    let target = session.target()?;
    // What has completed before is reported before.
    session.flights.settle();
    let resumed = target.breakpoints().map_or_else(|| Err(unsupported()), |all| all.resume(&call.words[0]));
    resumed.map_err(|error| refuse("Could not resume request", &error))
}

fn wait(session: &mut Session, call: &Call<'_>) -> Done {
    let tag = &call.words[0];
    let target: Arc<Target> = session.target()?;
    let Some(breakpoints) = target.breakpoints() else {
        return Err(Refusal::Error(format!("no request stops as '{tag}': the image has no breakpoints")));
    };
    while !breakpoints.is_suspended(tag) {
        if !session.flights.is_flying() {
            // A request may have been stopped and let go since the last look, but then nobody need wait.
            session.poll();
            return Err(Refusal::Error(format!("no request stops as '{tag}': none is in flight")));
        }
        thread::sleep(GLANCE);
    }
    session.poll();
    Ok(())
}
