//! Requests in flight in QEMU's formats: qemu-io over blkdebug holds one of them at a break point, makes the
//! others meanwhile, and lets it go on.
//!
//! Which break point stands where the finding held the request is not known: each is tried on a fresh copy.

use std::fmt::Write as _;

use anyhow::{Result, bail, ensure};
use blk_harness::scenario::{Request, Scenario};

use super::format::{JUDGE_END, judge_said};
use super::shown::{Shown, change};
use super::{IMAGE, Task, command, not_asked, over_blkdebug, verified_reads};

/// Where a write can stand that has looked up its place, or got it, and is not done.
const EVENTS: [&str; 6] =
    ["write_aio", "cow_read", "cow_write", "cluster_alloc", "l2_load", "l2_alloc_write"];
/// What ends an attempt that waits for the request that is held.
const BOUND: &str = "timeout -k 1 5 stdbuf -oL";
/// How long the request has to come to its break point, ms.
const PAUSE: &str = "sleep 200";

/// The script.
///
/// # Errors
/// Why there is none: not one request is held, which is a write or zeroes.
pub(super) fn script(task: &Task, scenario: &Scenario) -> Result<String> {
    let mut held = scenario.turns().enumerate().filter(|(_, (_, turn))| !turn.is_never());
    let (Some((held, _)), None) = (held.next(), held.next()) else {
        bail!("these programs hold one request, and the finding holds none, or several");
    };
    let (request, is_taken) = task.requests[held];
    ensure!(
        is_taken && matches!(request, Request::Write { .. } | Request::WriteZeroes { .. }),
        "these programs do not tell what '{request}' may show that is held"
    );
    let mut script = task.head() + &format!("mv {IMAGE} fresh\n") + &task.check_function() + JUDGE_END;
    let judge = judge_said();
    let _ = writeln!(
        script,
        "open() {{\n    code=0; said=$({} \"$@\" 2>&1) || code=$?\n    case $code in 124|137) return 1 ;; esac\n    \
         echo \"$said\"\n    {judge}\n    \
         # It has not come by there.\n    \
         case $said in *'Could not resume'*) return 1 ;; esac\n    \
         judge_end 0\n}}",
        task.tool(&format!("{BOUND} qemu-io -t writeback"), &over_blkdebug())
    );
    let Commands { before, meanwhile, after } = Commands::of(task, held, &mut script);
    let events = EVENTS.join(" ");
    let _ = writeln!(
        script,
        "tried=0\nfor event in {events}; do\n    cp fresh {IMAGE}\n    \
         # What waits for the request that is held tells nothing.\n    \
         open{before} \\\n    -c \"break $event A\" -c 'aio_{request}' -c '{PAUSE}'{meanwhile} \\\n    \
         -c 'resume A' -c aio_flush || continue\n    \
         open{after} || bug 'qemu-io does not end'\n    check\n    tried=$((tried + 1))\ndone",
    );
    Ok(script + &format!("trouble \"Nothing is wrong at $tried of {} break points\"\n", EVENTS.len()))
}

/// What is made before a request is held, meanwhile, and after all are done.
struct Commands {
    before: String,
    meanwhile: String,
    after: String,
}

impl Commands {
    fn of(task: &Task, held: usize, script: &mut String) -> Self {
        let (request, _) = task.requests[held];
        let (mut before, mut meanwhile) = (String::new(), String::new());
        let mut shown = Shown::zeroes(task.size);
        for (request, is_taken) in &task.requests[..held] {
            before += &made(request, *is_taken, &mut shown, script);
        }
        let (range, byte) = change(&request).unwrap_or_default();
        let mut after = shown.clone();
        shown.set(range, None);
        after.set(range, byte);
        let ends = |request: &Request| matches!(request, Request::Reopen { .. } | Request::Check { .. });
        let in_flight = task.requests[held + 1..].iter().take_while(|(request, _)| !ends(request));
        for (request, is_taken) in in_flight {
            meanwhile += &made(request, *is_taken, &mut shown, script);
            let Some(((start, end), byte)) = change(request).filter(|_| *is_taken) else { continue };
            after.set((start, end), byte);
            // Of two that overlap, either may be the last one.
            let both = (start.max(range.0), end.min(range.1));
            after.set(both, None);
            shown.set(both, None);
        }
        Self { before, meanwhile, after: verified_reads(&after, 0, after.size()) }
    }
}

/// A request that is waited for, as a command.
fn made(request: &Request, is_taken: bool, shown: &mut Shown, script: &mut String) -> String {
    match *request {
        ref refused if !is_taken => not_asked(script, refused),
        Request::Status { .. } | Request::Check { .. } => not_asked(script, request),
        // The image stays open: all that counts is that it is durable.
        Request::Reopen { .. } => return command("flush"),
        Request::Read { offset, length } => return verified_reads(shown, offset, length),
        ref other => {
            shown.make(other);
            return command(&other.to_string());
        }
    }
    String::new()
}
