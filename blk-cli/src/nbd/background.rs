//! A server that goes on by itself: the program runs itself again, and waits until that one listens.

use std::io::Read;
use std::process::{Command, Stdio};

use super::Done;

/// Set for the process that is the server.
const CHILD: &str = "BLK_NBD_BACKGROUND";

/// Whether this process is the server that another one has started.
pub(super) fn is_child() -> bool {
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().to_string());
    parent.is_some_and(|parent| std::env::var(CHILD).is_ok_and(|named| named == parent))
}

/// Starts the server, and returns when it listens.
pub(super) fn start() -> Done<()> {
    let failed = |error: std::io::Error| format!("cannot start the server: {error}");
    let program = std::env::current_exe().map_err(failed)?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    command.args(arguments).env(CHILD, std::process::id().to_string()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        // It is closed when the server listens, or has ended.
        stdout.read_to_string(&mut said).map_err(failed)?;
    }
    if said == READY {
        return Ok(());
    }
    // It has said why.
    let status = child.wait().map_err(failed)?;
    Err(format!("the server did not start: {status}"))
}

/// What the server says when it listens.
const READY: &str = "ready";

/// Tells the parent process that the server listens, and detaches from its terminal.
pub(super) fn ready() -> Done<()> {
    let failed = |error: rustix::io::Errno| format!("cannot go on in the background: {error}");
    print!("{READY}");
    std::io::Write::flush(&mut std::io::stdout()).map_err(|error| error.to_string())?;
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null");
    let nothing = nothing.map_err(|error| format!("cannot open /dev/null: {error}"))?;
    // A secret may have come from there.
    rustix::stdio::dup2_stdin(&nothing).map_err(failed)?;
    rustix::stdio::dup2_stdout(&nothing).map_err(failed)?;
    rustix::stdio::dup2_stderr(&nothing).map_err(failed)?;
    // One that leads its group already stays in its session.
    let _ = rustix::process::setsid();
    Ok(())
}
