//! What the tests of this program share.

use std::io::{self, Write};
use std::sync::Arc;

use blk_core::sync::Mutex;

use super::console::Console;

/// What a console of a test was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder {
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Recorder {
    /// A console of the program `qemu-io`, and what it was told.
    pub(crate) fn console() -> (Self, Console) {
        let recorder = Self::default();
        let (out, err) = (Sink(Arc::clone(&recorder.out)), Sink(Arc::clone(&recorder.err)));
        let console = Console::new("qemu-io", Box::new(out), Box::new(err));
        (recorder, console)
    }

    /// Standard output so far.
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.out.lock()).into_owned()
    }

    /// Standard error so far.
    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.err.lock()).into_owned()
    }
}
