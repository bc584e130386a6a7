//! Why a command ends early, and what is said about it.

use std::io;
use std::process::ExitCode;

use blk_core::Error;

/// What a command's step returns.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// The end of a command that has not done what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What is said, a line each; nothing where all has been said.
    pub(crate) lines: Vec<String>,
    /// The exit code.
    pub(crate) code: u8,
    /// The command line was wrong: the help of this subcommand tells what is right.
    pub(crate) help: Option<&'static str>,
    /// The subcommand says it, not the program as a whole: it is about an option's spelling.
    pub(crate) about_spelling: bool,
}

impl Failure {
    /// Exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { lines: vec![message.into()], code: 1, help: None, about_spelling: false }
    }

    /// `what: error`.
    pub(crate) fn of(what: &str, error: &Error) -> Self {
        Self::new(format!("{what}: {error}"))
    }

    /// A command line that `command` does not understand.
    pub(crate) fn usage(command: &'static str, message: impl Into<String>) -> Self {
        Self { help: Some(command), ..Self::new(message) }
    }

    /// Nothing more is said.
    pub(crate) fn silent(code: u8) -> Self {
        Self { lines: Vec::new(), code, help: None, about_spelling: false }
    }

    /// The same with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// The same with one more line.
    pub(crate) fn and(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Says it on standard error; `program` stands before each line.
    pub(crate) fn report(&self, program: &str) -> ExitCode {
        let command = match self.help {
            Some(command) if !command.is_empty() => format!("{program} {command}"),
            _ => program.to_owned(),
        };
        for line in &self.lines {
            complain(if self.about_spelling { &command } else { program }, line);
        }
        if self.help.is_some() {
            super::output::error_line(&format!("Try '{command} --help' for more info"));
        }
        ExitCode::from(self.code)
    }
}

/// Says something on standard error.
pub(crate) fn complain(program: &str, message: &str) {
    super::output::error_line(&format!("{program}: {message}"));
}

impl From<io::Error> for Failure {
    /// Nobody reads what is written: that is no reason to say more.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::silent(1)
        } else {
            Self::new(format!("standard output: {error}"))
        }
    }
}
