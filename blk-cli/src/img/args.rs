//! What the command lines of several subcommands have in common.

use std::ffi::OsString;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::failure::{Failure, Outcome};
use super::image::Named;
use super::output;
use super::progress::Progress;
use crate::spec::{CacheMode, ObjectArgs, Objects};
use crate::suggest;

/// The image that a subcommand works on.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ImageArgs {
    /// Format of the image; guessed from its content where it is not given
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// The name is a list of options, key=value,...
    #[arg(long)]
    image_opts: bool,
    #[command(flatten)]
    objects: ObjectArgs,
}

impl ImageArgs {
    /// What options refer to.
    pub(crate) fn objects(&self) -> Objects {
        self.objects.objects()
    }

    /// The image of that name.
    pub(crate) fn named(&self, name: &str) -> Named {
        Named {
            name: name.to_owned(),
            image_opts: self.image_opts,
            format: self.format.clone(),
            objects: self.objects.objects(),
            ..Named::default()
        }
    }
}

/// The one image that most subcommands expect.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OneImage {
    #[command(flatten)]
    image: ImageArgs,
    /// The image
    #[arg(value_name = "IMAGE")]
    names: Vec<String>,
}

impl OneImage {
    /// The image's name, once it is known that there is one.
    pub(crate) fn name(&self, command: &'static str) -> Outcome<&str> {
        match &self.names[..] {
            [name] => Ok(name),
            _ => Err(Failure::usage(command, "expecting one image file name")),
        }
    }

    /// What options refer to.
    pub(crate) fn objects(&self) -> Objects {
        self.image.objects.objects()
    }

    /// The image of that name.
    pub(crate) fn named(&self, name: &str) -> Named {
        self.image.named(name)
    }

    /// The format that is given.
    pub(crate) fn format(&self) -> Option<&str> {
        self.image.format.as_deref()
    }
}

/// How much a subcommand says that takes its time.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Talk {
    /// Show how far it is
    #[arg(short, long)]
    progress: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl Talk {
    /// The line that shows how far it is, in steps of `step_percent`, if it is wanted.
    pub(crate) fn progress(self, step_percent: f64) -> Outcome<Progress> {
        Progress::new(self.progress && !self.quiet, step_percent)
    }
}

/// How a result is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum OutputForm {
    /// For people.
    #[default]
    Human,
    /// For programs.
    Json,
}

/// Reads a subcommand's arguments. A request for help is answered, and ends the command.
pub(crate) fn parse<T: Parser>(command: &'static str, program: &str, arguments: Vec<OsString>) -> Outcome<T> {
    let shown = format!("{program} {command}");
    let named = std::iter::once(OsString::from(&shown)).chain(arguments);
    T::try_parse_from(named).map_err(|error| {
        if error.kind() == ErrorKind::DisplayHelp {
            return output::text(&error.to_string()).err().unwrap_or_else(|| Failure::silent(0));
        }
        if error.kind() == ErrorKind::ValueValidation {
            return Failure::new(suggest::first_line(&error));
        }
        let failure = Failure::usage(command, suggest::first_line(&error));
        let about_spelling = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::TooFewValues)
            || is_without_value(&error);
        Failure { about_spelling, ..failure }
    })
}

/// Whether the last option has no value where one is needed; an unknown word among known ones is a value.
fn is_without_value(error: &clap::Error) -> bool {
    let value = error.get(ContextKind::InvalidValue);
    error.kind() == ErrorKind::InvalidValue
        && matches!(value, Some(ContextValue::String(value)) if value.is_empty())
}

/// The cache mode of this name; without one every command that writes makes all durable before it ends.
pub(crate) fn cache_mode(name: Option<&str>) -> Outcome<CacheMode> {
    let Some(name) = name else { return Ok(CacheMode::default()) };
    name.parse().map_err(|error: blk_core::Error| Failure::new(error.to_string()))
}
