//! Commands from standard input.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use blk_core::name;

use super::session::Session;

/// What is printed before each command is read.
const PROMPT: &str = "qemu-io> ";

/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// How long input is waited for before completed requests are reported, while some are in flight.
const GLANCE: Duration = Duration::from_millis(10);

/// Runs the commands that stand on standard input, and answers whether all were possible.
pub(super) fn run(session: &mut Session) -> bool {
    let (sender, lines) = sync_channel(16);
    // The thread ends with the process: nothing can wake it from a terminal on which nobody types.
    let reading = thread::Builder::new().name("input".to_owned()).spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = read_line(&mut input) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    if let Err(error) = reading {
        session.console.error(&format!("cannot read commands: {error}"));
        return false;
    }
    let mut all_done = true;
    while !session.is_over {
        session.console.say(PROMPT);
        let Some(line) = next(session, &lines) else { break };
        all_done &= match line {
            Ok(line) => session.run_line(&line),
            Err(error) => {
                session.console.error(&format!("cannot read commands: {error}"));
                return false;
            }
        };
    }
    all_done
}

/// The next line. Requests that complete in the meantime are reported.
fn next(session: &mut Session, lines: &Receiver<io::Result<String>>) -> Option<io::Result<String>> {
    while !session.flights.is_empty() {
        match lines.recv_timeout(GLANCE) {
            Ok(line) => return Some(line),
            Err(RecvTimeoutError::Timeout) => session.poll(),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    lines.recv().ok()
}

/// A line without its end; `None` at the end of the input. What follows a zero byte is not read.
fn read_line(input: &mut impl BufRead) -> Option<io::Result<String>> {
    let mut line = Vec::new();
    match input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        Ok(0) => return None,
        Ok(_) if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") => {
            let what = format!("a line is longer than {LINE_BYTES_MAX} bytes");
            return Some(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        Ok(_) => {}
        Err(error) => return Some(Err(error)),
    }
    if line.ends_with(b"\n") {
        line.pop();
    }
    if let Some(end) = line.iter().position(|byte| *byte == 0) {
        line.truncate(end);
    }
    Some(Ok(name::from_bytes(&line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_the_line_or_the_input() {
        let mut input: &[u8] = b"read 0 1\n\nlength\0foo\nquit";
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input) {
            lines.push(line.unwrap());
        }
        assert_eq!(lines, ["read 0 1", "", "length", "quit"]);
    }

    #[test]
    fn endless_lines_are_refused() {
        let mut input = io::repeat(b'x').take(LINE_BYTES_MAX + 5);
        let mut input = io::BufReader::new(&mut input);
        assert!(read_line(&mut input).is_some_and(|line| line.is_err()));
    }
}
