//! Writing to standard output and standard error, in the order of events, without panic where nobody reads,
//! and names as the bytes that they are.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use blk_core::name;

use super::failure::Outcome;

/// Appends to a text that is written later.
pub(crate) fn append(text: &mut String, more: fmt::Arguments<'_>) {
    // Appending to a String does not fail.
    let _ = text.write_fmt(more);
}

/// Writes `text` to standard output at once.
pub(crate) fn text(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(&name::to_bytes(text))?;
    out.flush()?;
    Ok(())
}

/// As [`text`], with the end of the line.
pub(crate) fn line(line: &str) -> Outcome<()> {
    text(&format!("{line}\n"))
}

/// Writes a line to standard error. That it cannot be written changes nothing: there is nobody left to tell.
pub(crate) fn error_line(line: &str) {
    let line = format!("{line}\n");
    let _ = io::stderr().lock().write_all(&name::to_bytes(&line));
}
