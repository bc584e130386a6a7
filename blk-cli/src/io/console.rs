//! Where the program speaks: two streams whose lines appear in the order of events.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use blk_core::name;
use blk_core::sync::Mutex;

/// A stream that can be written from any thread.
type Stream = Box<dyn Write + Send>;

/// Standard output and standard error of the program.
pub(crate) struct Console {
    /// What stands before errors.
    program: String,
    streams: Mutex<Streams>,
}

struct Streams {
    out: Stream,
    err: Stream,
    /// Nobody reads the output any more. What is done goes on: only its text has no use.
    is_closed: bool,
}

/// Standard output, written when it is flushed and not at the end of every line: a dump has many.
fn standard_output() -> Stream {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(own) => Box::new(BufWriter::with_capacity(1 << 16, File::from(own))),
        Err(_) => Box::new(io::stdout()),
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("program", &self.program).finish_non_exhaustive()
    }
}

impl Console {
    /// The streams of the process.
    pub(crate) fn of_process(program: &str) -> Self {
        Self::new(program, standard_output(), Box::new(io::stderr()))
    }

    /// Streams of the caller.
    pub(crate) fn new(program: &str, out: Stream, err: Stream) -> Self {
        Self { program: program.to_owned(), streams: Mutex::new(Streams { out, err, is_closed: false }) }
    }

    /// Writes `text` to standard output at once.
    pub(crate) fn say(&self, text: &str) {
        self.say_all(std::iter::once(text));
    }

    /// Writes the texts to standard output; nothing comes between them.
    pub(crate) fn say_all(&self, texts: impl IntoIterator<Item = impl AsRef<str>>) {
        let mut streams = self.streams.lock();
        for text in texts {
            if streams.is_closed {
                return;
            }
            if streams.out.write_all(&name::to_bytes(text.as_ref())).is_err() {
                streams.is_closed = true;
            }
        }
        if streams.out.flush().is_err() {
            streams.is_closed = true;
        }
    }

    /// Writes a line to standard error as it is.
    pub(crate) fn complain(&self, line: &str) {
        let mut streams = self.streams.lock();
        // That it cannot be written changes nothing: there is nobody left to tell.
        let line = format!("{line}\n");
        let _ = streams.err.write_all(&name::to_bytes(&line)).and_then(|()| streams.err.flush());
    }

    /// Writes a line to standard error that qemu-io does not have, unless the program is called by that name.
    pub(crate) fn hint(&self, line: &str) {
        if self.program != "qemu-io" {
            self.error(line);
        }
    }

    /// Writes a line to standard error behind the program's name.
    pub(crate) fn error(&self, line: &str) {
        self.complain(&format!("{}: {line}", self.program));
    }
}
