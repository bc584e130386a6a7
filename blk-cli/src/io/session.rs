//! What the program knows between two commands.

use std::sync::Arc;

use super::commands::{self, Call, Needs};
use super::console::Console;
use super::flights::Flights;
use super::plan::{Opening, Plan};
use super::refusal::{Done, Refusal, deserves_detail, reason};
use super::target::Target;
use crate::spec::Objects;

/// An open image, and how it came to be.
#[derive(Debug)]
pub(crate) struct Opened {
    /// How to open it again.
    pub(crate) plan: Plan,
    /// The disk.
    pub(crate) target: Arc<Target>,
    /// The drivers of the image and of its backing files, topmost first.
    pub(crate) drivers: Vec<&'static str>,
    /// The tags of all breakpoints that were ever set.
    pub(crate) tags: Vec<String>,
}

/// The state of the program.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where it speaks.
    pub(crate) console: Arc<Console>,
    /// Names of images are option strings.
    pub(crate) image_opts: bool,
    /// What options of images refer to.
    pub(crate) objects: Objects,
    /// The image, if one is open.
    pub(crate) opened: Option<Opened>,
    /// Requests in flight.
    pub(crate) flights: Flights,
    /// `quit` has been said.
    pub(crate) is_over: bool,
}

impl Session {
    /// A session without an image.
    pub(crate) fn new(console: Arc<Console>, image_opts: bool, objects: Objects) -> Self {
        Self { console, image_opts, objects, opened: None, flights: Flights::default(), is_over: false }
    }

    /// Does what a line says, and answers whether that was possible. An empty line says nothing.
    pub(crate) fn run_line(&mut self, line: &str) -> bool {
        let mut words = split(line);
        if words.is_empty() {
            return true;
        }
        let arguments = words.split_off(1);
        let Some(command) = commands::find(&words[0]) else {
            self.console.complain(&format!("command \"{}\" not found", words[0]));
            if let Some(meant) = commands::nearest(&words[0]) {
                self.console.hint(&format!("did you mean '{meant}'?"));
            }
            return false;
        };
        let call = Call { command, name: &words[0], words: &arguments };
        match self.run(&call) {
            Ok(()) => true,
            Err(refusal) => {
                self.explain(&call, refusal);
                false
            }
        }
    }

    fn run(&mut self, call: &Call<'_>) -> Done {
        let is_read_only = call.command.needs != Needs::Nothing && self.target()?.is_read_only();
        call.check_count()?;
        if call.command.needs == Needs::Writable && is_read_only {
            return Err(Refusal::Error("Block node is read-only".to_owned()));
        }
        (call.command.run)(self, call)
    }

    fn explain(&self, call: &Call<'_>, refusal: Refusal) {
        let usage = || self.console.say(&call.command.usage(call.command.name));
        match refusal {
            Refusal::Usage => usage(),
            Refusal::Misspelt(what) => {
                self.console.complain(&what);
                usage();
            }
            Refusal::Line(line) => self.console.say(&format!("{line}\n")),
            Refusal::Complaint(line) => self.console.complain(&line),
            Refusal::Error(line) => self.console.error(&line),
            Refusal::Failed { what, error } => tell_failure(&self.console, what, &error),
            Refusal::Said => {}
        }
    }

    /// The open disk.
    pub(crate) fn target(&self) -> Done<Arc<Target>> {
        match &self.opened {
            Some(opened) => Ok(Arc::clone(&opened.target)),
            None => Err(Refusal::Complaint("no file open, try 'help open'".to_owned())),
        }
    }

    /// Opens an image; none is open.
    pub(crate) fn open(&mut self, plan: Plan) -> Done {
        let opening = plan.open().map_err(Refusal::Error)?;
        if let Some(name) = plan.name.as_ref().filter(|_| opening.guessed_raw) {
            let what = "which looks raw: writes that would make it another format are refused";
            self.console.error(&format!("warning: no format given for '{name}', {what}"));
        }
        self.hold(plan, opening);
        Ok(())
    }

    /// Opens an image that was open before: what is to be said about it has been said.
    pub(crate) fn open_again(&mut self, plan: Plan) -> Done {
        let opening = plan.open().map_err(Refusal::Error)?;
        self.hold(plan, opening);
        Ok(())
    }

    fn hold(&mut self, plan: Plan, opening: Opening) {
        let (target, drivers) = (Arc::new(opening.target), opening.drivers);
        self.opened = Some(Opened { plan, target, drivers, tags: Vec::new() });
    }

    /// Waits for what is in flight and closes the image, if one is open. Requests that are stopped go on.
    ///
    /// # Errors
    /// The image is closed nonetheless, as a killed program would leave it. Only standard error hears of it.
    pub(crate) fn close(&mut self) -> Done {
        let Some(opened) = self.opened.take() else { return Ok(()) };
        if let Some(breakpoints) = opened.target.breakpoints() {
            for tag in &opened.tags {
                // What has been removed or resumed already is fine.
                let _ = breakpoints.remove(tag);
                while breakpoints.is_suspended(tag) && breakpoints.resume(tag).is_ok() {}
            }
        }
        self.flights.finish(&self.console);
        let closed = opened.target.disk().close();
        closed.map_err(|error| {
            Refusal::Error(format!("not all was written when the image was closed: {error}"))
        })
    }

    /// Prints reports of requests that have completed in the meantime.
    pub(crate) fn poll(&mut self) {
        self.flights.poll(&self.console);
    }
}

/// Says that a request failed, and why.
pub(crate) fn tell_failure(console: &Console, what: &str, error: &blk_core::Error) {
    console.say(&format!("{what} failed: {}\n", reason(error)));
    if deserves_detail(error) {
        console.error(&error.to_string());
    }
}

/// The words of a line: what blanks separate. Nothing is quoted.
fn split(line: &str) -> Vec<String> {
    line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Recorder;
    use super::*;

    #[test]
    fn blanks_alone_separate_words() {
        assert_eq!(split("  read  0 512 "), ["read", "0", "512"]);
        assert_eq!(split("read\t0 \"a b\""), ["read\t0", "\"a", "b\""]);
        assert!(split("   ").is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let (recorder, console) = Recorder::console();
        let mut session = Session::new(Arc::new(console), false, Objects::default());
        assert!(session.run_line(""));
        for line in ["foo 1", "read 0", "sleep x", "sleep", "close", "help 1 2", "open", "abort 1"] {
            assert!(!session.run_line(line), "{line}");
        }
        assert_eq!(recorder.out(), "x is not a valid number\n");
        assert_eq!(
            recorder.err(),
            "command \"foo\" not found\n\
             no file open, try 'help open'\n\
             bad argument count 0 to sleep, expected 1 arguments\n\
             no file open, try 'help open'\n\
             bad argument count 2 to help, expected between 0 and 1 arguments\n\
             bad argument count 0 to open, expected at least 1 arguments\n\
             bad argument count 1 to abort, expected 0 arguments\n"
        );
    }
}
