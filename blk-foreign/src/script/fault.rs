//! Failures of QEMU's formats: qemu-io over blkdebug, of which one write of the file after the other fails,
//! once, as on a host that is full for a moment. The requests are made again, as QEMU makes them again for a
//! guest (`werror=enospc`), and in another run they are not: a repeat puts some failures right. Then what the
//! disk shows has to be there at the next open.
//!
//! Other failures are out of reach of these tools: operations that take effect by half, syncs after which the
//! host has forgotten.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use blk_harness::scenario::Request;

use super::format::BOUND;
use super::{IMAGE, Task, command, done, not_asked, over_blkdebug, over_file};

/// The largest disk that is shown byte by byte.
const SHOWN_BYTES_MAX: u64 = 16 << 20;

/// Judges failures: FAIL has a program with the options that open the image over blkdebug, OPEN without,
/// REPEATED the requests and once more those that write, ONCE the requests alone.
const JUDGE: &str = r#"
# The disk byte by byte, as qemu-io has said it.
bytes() { grep -E '^[0-9a-f]{8,}:' "$1" > "$1.bytes" || true; }
repeated() { FAIL"$1" REPEATED; }
once() { FAIL"$1" ONCE; }
cp fresh IMAGE
repeated '' > shown 2>&1 || trouble 'the requests fail by themselves'
# Some failures no request tells of: only after several in a row are all writes through.
count=0 silent=0
while [ $count -lt 500 ] && [ $silent -lt 8 ]; do
    count=$((count + 1)) told_of=
    # The driver's writes are counted by states: in the last one, the write that is due fails.
    rules= state=1
    while [ $state -lt $count ]; do
        rule=file.set-state.$((state - 1))
        rules="$rules,$rule.event=pwritev,$rule.state=$state,$rule.new_state=$((state + 1))"
        state=$((state + 1))
    done
    rules="$rules,file.inject-error.0.event=pwritev,file.inject-error.0.state=$count"
    rules="$rules,file.inject-error.0.iotype=write,file.inject-error.0.once=on,file.inject-error.0.errno=28"
    for way in repeated once; do
        cp fresh IMAGE
        code=0
        $way "$rules" > shown 2>&1 || code=$?
        case $code in
            0) ;;
            1) told_of=1 ;;
            126|127) trouble 'qemu-io cannot run' ;;
            124|137) bug "write $count fails: qemu-io does not end" ;;
            *) bug "write $count fails: qemu-io has ended with $code" ;;
        esac
        ! grep -q "can.t open" shown || continue
        bytes shown
        # For writing: a log may have to be replayed.
        OPEN -c 'read -v 0 SIZE' > left 2>&1 || bug "write $count fails once: what is left cannot be read"
        bytes left
        # Only what a flush has made durable after the last write has to be there. qemu-io does not say that a
        # flush has failed: the last write was made durable, or another request has met the failure.
        if [ $way = repeated ]; then
            last=$(grep -E '^(wrote|write failed)' shown | tail -n 1)
            [ "${last%% *}" = wrote ] || continue
        else
            grep -q '^write failed' shown || continue
        fi
        if ! cmp -s shown.bytes left.bytes; then
            diff shown.bytes left.bytes | head -n 4
            bug "write $count fails once ($way): the next open shows what the disk did not show"
        fi
    done
    if [ -z "$told_of" ]; then silent=$((silent + 1)); else silent=0; fi
done
trouble 'Nothing is wrong after a write that fails. What other failures leave'
"#;

/// The script.
///
/// # Errors
/// A scenario without writes, a disk that is too large.
pub(super) fn script(task: &Task) -> Result<String> {
    let is_write =
        |request: &&Request| matches!(request, Request::Write { .. } | Request::WriteZeroes { .. });
    let taken: Vec<Request> =
        task.requests.iter().filter(|(_, is_taken)| *is_taken).map(|(request, _)| *request).collect();
    let Some(last) = taken.iter().rfind(is_write) else {
        bail!("a script has writes of the file fail, and none of the requests writes")
    };
    if task.size > SHOWN_BYTES_MAX {
        bail!("a script compares disks of 16 MiB at most, and this one has {} bytes", task.size);
    }
    let mut script = task.head() + &format!("mv {IMAGE} fresh\n");
    let refused = task.requests.iter().filter(|(_, is_taken)| !*is_taken);
    refused.for_each(|(request, _)| not_asked(&mut script, request));
    let made: String = taken.iter().filter_map(done).map(|done| command(&done)).collect();
    let again = taken.iter().filter(is_write).chain([last]);
    let again: String = again.map(|again| command(&durable(*again).to_string())).collect();
    let shown = command(&format!("read -v 0 {}", task.size));
    let (repeated, once) = (format!("{made}{again}{shown}"), format!("{made}{}{shown}", command("flush")));
    let fail = task.tool(&format!("{BOUND} stdbuf -oL qemu-io -t writeback"), &over_blkdebug());
    let open = task.tool(&format!("{BOUND} qemu-io"), &over_file());
    let judge = JUDGE
        .replace("FAIL", &fail)
        .replace("OPEN", &open)
        .replace("REPEATED", &repeated)
        .replace("ONCE", &once);
    let _ = write!(script, "{}", judge.replace("SIZE", &task.size.to_string()).replace("IMAGE", IMAGE));
    Ok(script)
}

/// The write, made durable before it is answered: qemu-io does not say that a flush has failed.
fn durable(request: Request) -> Request {
    match request {
        Request::Write { offset, length, fill, .. } => Request::Write { offset, length, fill, fua: true },
        Request::WriteZeroes { offset, length, unmap, no_fallback, .. } => {
            Request::WriteZeroes { offset, length, unmap, no_fallback, fua: true }
        }
        other => other,
    }
}
