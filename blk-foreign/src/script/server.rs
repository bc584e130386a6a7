//! Content of a driver with a process for each open: the process itself, with qemu-nbd below it where it
//! needs a medium that speaks NBD, and qemu-io as its client.

use std::fmt::Write as _;

use blk_harness::scenario::Request;

use super::format::{ABORTED, BOUND, JUDGE_END, judge_said};
use super::shown::Shown;
use super::{IMAGE, Task, command, not_asked, quoted, verified_reads};
use crate::description::MediumKind;

/// Stands for the folder of the script, which it alone knows.
const FOLDER: &str = "@FOLDER@";

/// How often a script looks whether a server that was asked to end has, and how many seconds are in between:
/// 10 s in all. Then it is killed.
const END_PAUSES: u32 = 500;
const END_PAUSE: &str = "0.02";

/// The script.
pub(super) fn script(task: &Task) -> String {
    let description = task.description();
    let mut script = task.head() + &task.check_function();
    if description.medium.kind == MediumKind::Nbd {
        let size = "$(($(stat -c %s image) + ROOM + 511 & ~511))";
        let size = size.replace("ROOM", &description.medium.room.to_string());
        let _ = writeln!(script, "truncate -s {size} {IMAGE}");
    }
    script += &functions(task);
    script += "start\n";
    let mut shown = Shown::zeroes(task.size);
    let mut commands = String::new();
    for (request, is_taken) in &task.requests {
        match *request {
            ref refused if !is_taken => not_asked(&mut script, refused),
            Request::Status { offset, length } => {
                run(&mut script, &mut commands);
                statuses(&mut script, &shown, (offset, length));
            }
            Request::Read { offset, length } => commands += &verified_reads(&shown, offset, length),
            Request::Reopen { kill } => {
                commands += &command("flush");
                run(&mut script, &mut commands);
                if description.medium.kind != MediumKind::None {
                    let signal = if kill { "KILL" } else { "TERM" };
                    let check = if kill { "" } else { "check\n" };
                    let _ = writeln!(script, "stop {signal}\n{check}start");
                }
            }
            // Nothing but a reopen has it checked.
            Request::Check { .. } => {}
            ref other => {
                if let Request::Discard { offset, length } = *other {
                    // Afterwards nobody can tell what it has to show.
                    commands += &verified_reads(&shown, offset, length);
                }
                commands += &command(&other.to_string());
                shown.make(other);
            }
        }
    }
    run(&mut script, &mut commands);
    commands += &verified_reads(&shown, 0, shown.size());
    run(&mut script, &mut commands);
    if description.medium.kind != MediumKind::None {
        script += "stop TERM\ncheck\n";
    }
    script + "echo 'nothing is wrong'\n"
}

/// `start`, `stop`, `run` and `shows`.
fn functions(task: &Task) -> String {
    let description = task.description();
    let sockets = task.names.clone().with("export", format!("{FOLDER}/export"));
    let medium = if description.medium.kind == MediumKind::Nbd { "medium" } else { IMAGE };
    let names = sockets.with("medium", format!("{FOLDER}/{medium}"));
    let start: Vec<String> =
        names.words(&description.process.argv).iter().map(|word| in_folder(word)).collect();
    let start = start.join(" ");
    let export = names.text(&description.export);
    let medium = if description.medium.kind == MediumKind::Nbd {
        format!(
            "    rm -f medium\n    \
             qemu-nbd --persistent -e 8 -f raw --discard unmap -k \"$folder/medium\" {IMAGE} &\n    medium=$!\n    \
             wait_for medium\n"
        )
    } else {
        String::new()
    };
    let flags = if task.discards { "unmap" } else { "ignore" };
    let judge = judge_said();
    format!(
        "{JUDGE_END}uri=\"nbd+unix:///{export}?socket=$folder/export\"\n\
         wait_for() {{\n    i=0\n    while ! [ -S \"$1\" ]; do\n        i=$((i + 1)); [ $i -lt 200 ] || trouble \"no $1\"; \
         sleep 0.05\n    done\n}}\n\
         # A server that has opened the image once has to open it again.\n\
         starts=0\n\
         start() {{\n{medium}    rm -f export\n    starts=$((starts + 1))\n    {start} &\n    server=$!\n    \
         i=0\n    while ! [ -S export ]; do\n        \
         if ! kill -0 $server 2>/dev/null; then\n            \
         [ $starts -eq 1 ] || bug 'the server does not start again'\n            \
         trouble 'the server does not start'\n        fi\n        \
         i=$((i + 1)); [ $i -lt 400 ] || trouble 'no export'\n        sleep 0.05\n    done\n}}\n\
         # Whether it has ended before its time is up.\n\
         ends() {{\n    i=0\n    while kill -0 \"$1\" 2>/dev/null; do\n        \
         i=$((i + 1)); [ $i -le {END_PAUSES} ] || return 1; sleep {END_PAUSE}\n    done\n}}\n\
         stop() {{\n    kill -\"$1\" $server || true\n    \
         ends $server || bug 'the server does not end when it is asked to'\n    \
         code=0; wait $server 2>/dev/null || code=$?\n    \
         case $code in 0|137|143) ;; *) bug \"the server has ended with $code\" ;; esac\n    \
         [ -z \"$medium\" ] || {{\n        \
         kill -TERM $medium || true; ends $medium || trouble 'the medium does not end'; wait $medium || true\n    }}\n    \
         server= medium=\n}}\n\
         # Without a close, which would flush.\n\
         run() {{\n    code=0\n    \
         said=$({BOUND} stdbuf -oL qemu-io -t writeback -d {flags} -f raw \"$@\" -c abort \"$uri\" 2>&1) || code=$?\n    \
         echo \"$said\"\n    \
         {judge}\n    \
         judge_end {ABORTED}\n}}\n\
         # Data from $1 to $2 must not be zeroes by its block status.\n\
         shows() {{\n    nbdinfo --map \"$uri\" > map || trouble 'no block status'\n    \
         awk -v from=\"$1\" -v to=\"$2\" '($3 == 2 || $3 == 3) && $1 < to && $1 + $2 > from {{ exit 1 }}' map ||\n        \
         bug \"data from $1 to $2 is zeroes by its block status\"\n}}\n"
    )
}

/// A word in which [`FOLDER`] is what the shell calls so.
fn in_folder(word: &str) -> String {
    let part = |part: &str| if part.is_empty() { String::new() } else { quoted(part) };
    word.split(FOLDER).map(part).collect::<Vec<_>>().join("\"$folder\"")
}

fn statuses(script: &mut String, shown: &Shown, (offset, length): (u64, u64)) {
    for (start, end, byte) in shown.pieces(offset, length) {
        if byte.is_some_and(|byte| byte != 0) {
            let _ = writeln!(script, "shows {start} {end}");
        }
    }
}

fn run(script: &mut String, commands: &mut String) {
    if !commands.is_empty() {
        let _ = writeln!(script, "run{commands}");
        commands.clear();
    }
}
