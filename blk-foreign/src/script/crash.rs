//! Crashes of QEMU's formats: qemu-io over blkdebug, ended at each break point of each request.
//!
//! What is ended so leaves what the driver has handed to its file so far, and no more: the states between
//! two operations. What a loss of power leaves besides, operations that were handed over and not synced, is
//! out of reach of these tools.

use std::fmt::Write as _;

use blk_harness::scenario::Request;

use super::format::{ABORTED, BOUND, JUDGE_END};
use super::shown::Allowed;
use super::{IMAGE, Task, command, done, line, not_asked, over_blkdebug};

/// Where QEMU's drivers can be stopped, as its documentation of blkdebug names them; `none` is after the
/// request.
const EVENTS: [&str; 22] = [
    "none",
    "l1_update",
    "l1_grow_alloc_table",
    "l1_grow_write_table",
    "l1_grow_activate_table",
    "l2_load",
    "l2_update",
    "l2_update_compressed",
    "l2_alloc_cow_read",
    "l2_alloc_write",
    "read_backing_aio",
    "write_aio",
    "write_compressed",
    "refblock_load",
    "refblock_update",
    "refblock_update_part",
    "refblock_alloc",
    "refblock_alloc_write",
    "refblock_alloc_hookup",
    "cluster_alloc",
    "flush_to_os",
    "flush_to_disk",
];

/// Judges the sectors of a raw disk against the lines `FIRST LAST BYTE...` of a table.
const JUDGE: &str = r#"
judge() { # what is left, against the table of standard input
    OPEN -O raw raw || bug "$1: what is left cannot be read"
    od -An -v -tx1 -w512 raw > sectors
    cat > table
    awk -v at="$1" '
        FILENAME == "table" { for (i = $1; i <= $2; i++) { may[i] = " "; for (j = 3; j <= NF; j++) may[i] = may[i] $j " " } next }
        (FNR - 1) in may {
            for (i = 1; i <= NF; i++) if (index(may[FNR - 1], " " $i " ") == 0 || $i != $1) {
                print at ": sector " FNR - 1 " shows " $i ", and may show" may[FNR - 1]; exit 1
            }
        }' table sectors || bug 'a sector shows what it must not'
}
"#;

/// The script.
pub(super) fn script(task: &Task) -> String {
    let description = task.description();
    let convert = task.tool("qemu-img convert", &format!("file.driver=file,file.filename={IMAGE}"));
    let mut script = task.head() + &format!("mv {IMAGE} fresh\n") + &JUDGE.replace("OPEN", &convert);
    let _ = writeln!(
        script,
        "{JUDGE_END}open() {{ code=0; {} \"$@\" >said 2>&1 || code=$?; judge_end {ABORTED}; }}",
        task.tool(&format!("{BOUND} qemu-io -t writeback"), &over_blkdebug())
    );
    if let Some(program) = &description.repair {
        let _ = writeln!(script, "repair() {{ {} || true; }}", line(&task.names, program));
    } else {
        script.push_str("repair() { :; }\n");
    }
    let mut before = String::new();
    let mut allowed = Allowed::of(task.size);
    for (number, (request, is_taken)) in (1..).zip(&task.requests) {
        if !is_taken {
            not_asked(&mut script, request);
            continue;
        }
        if let Some(in_flight) = in_flight(request) {
            let mut then = allowed.clone();
            if *request != Request::Flush {
                then.make(request);
            }
            attempts(&mut script, number, &before, &in_flight, &then);
        }
        if let Some(done) = done(request) {
            before += &command(&done);
        }
        let durable = matches!(request, Request::Reopen { .. }).then_some(Request::Flush);
        allowed.make(durable.as_ref().unwrap_or(request));
    }
    script + "trouble 'Nothing is wrong in what a kill leaves. What a loss of power leaves'\n"
}

/// A request as it is begun and not waited for.
fn in_flight(request: &Request) -> Option<String> {
    match request {
        Request::Write { .. } | Request::WriteZeroes { .. } => Some(format!("aio_{request}")),
        Request::Flush => Some("aio_flush".to_owned()),
        _ => None,
    }
}

fn attempts(script: &mut String, number: u32, before: &str, in_flight: &str, allowed: &Allowed) {
    let _ = writeln!(
        script,
        "for event in {events}; do\n    cp fresh {IMAGE}\n    \
         stop=\"break $event A\"; [ $event != none ] || stop='sleep 0'\n    \
         open{before} \\\n    -c \"$stop\" -c '{in_flight}' -c 'sleep 50' -c abort\n    \
         repair\n    judge \"request {number}, $event\" <<'TABLE'\n{table}TABLE\ndone",
        events = EVENTS.join(" "),
        table = allowed.table(),
    );
}
