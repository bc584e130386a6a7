//! The program's own arguments.

use std::ffi::OsString;

use clap::{ArgAction, Parser};

use super::mode::{Mode, NO_CACHE, parse_aio, parse_cache, parse_discard};
use super::plan::Plan;
use super::refusal::{Done, Refusal};
use crate::spec::{Object, Objects};

/// What stands on the command line. Options may follow the file name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Parser)]
#[command(
    no_binary_name = true,
    disable_help_flag = true,
    disable_version_flag = true,
    infer_long_args = true,
    args_override_self = true
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct Arguments {
    /// Objects that options refer to.
    #[arg(long, action = ArgAction::Append, allow_hyphen_values = true)]
    pub(super) object: Vec<String>,
    /// The file is an option string.
    #[arg(long)]
    pub(super) image_opts: bool,
    /// Commands, in order.
    #[arg(short = 'c', long = "cmd", action = ArgAction::Append, allow_hyphen_values = true)]
    pub(super) commands: Vec<OsString>,
    /// The format of the image.
    #[arg(short, long, allow_hyphen_values = true)]
    pub(super) format: Option<String>,
    /// Refuse commands that write.
    #[arg(short, long)]
    pub(super) read_only: bool,
    /// Write to a temporary overlay.
    #[arg(short, long)]
    pub(super) snapshot: bool,
    /// Pass the host's cache by.
    #[arg(short, long)]
    pub(super) nocache: bool,
    /// Keep in the image what is read from below it.
    #[arg(short = 'C', long)]
    pub(super) copy_on_read: bool,
    /// Place buffers oddly.
    #[arg(short, long)]
    pub(super) misalign: bool,
    /// Asynchronous I/O by the kernel.
    #[arg(short = 'k', long)]
    pub(super) native_aio: bool,
    /// How asynchronous I/O is done.
    #[arg(short = 'i', long, allow_hyphen_values = true)]
    pub(super) aio: Option<String>,
    /// The cache mode.
    #[arg(short = 't', long, allow_hyphen_values = true)]
    pub(super) cache: Option<String>,
    /// What becomes of discards.
    #[arg(short = 'd', long, allow_hyphen_values = true)]
    pub(super) discard: Option<String>,
    /// What is traced.
    #[arg(short = 'T', long, action = ArgAction::Append, allow_hyphen_values = true)]
    pub(super) trace: Vec<String>,
    /// Others may have the image open for writing.
    #[arg(short = 'U', long)]
    pub(super) force_share: bool,
    /// Show the options.
    #[arg(short, long)]
    pub(super) help: bool,
    /// Show the version.
    #[arg(short = 'V', long)]
    pub(super) version: bool,
    /// The image.
    pub(super) files: Vec<OsString>,
}

/// The help text of the program.
pub(super) const USAGE: &str = "\
Usage: qemu-io [OPTIONS]... [-c STRING]... [file]
Reads, writes and explores disk images

      --object OBJECT    an object that options refer to, such as a secret
      --image-opts       the file is given as KEY=VALUE with commas between
  -c, --cmd STRING       run this command; may be given several times
  -f, --format FMT       the format of the image, instead of probing it
  -r, --read-only        refuse commands that write
  -s, --snapshot         write to a temporary overlay that is gone at the end
  -n, --nocache          the same as -t none
  -C, --copy-on-read     keep in the image what is read from below it
  -m, --misalign         accepted: place buffers oddly
  -k, --native-aio       the same as -i native
  -i, --aio MODE         asynchronous I/O: threads, native or io_uring
  -t, --cache MODE       none, directsync, writeback, writethrough or unsafe
  -d, --discard MODE     what becomes of discards: unmap or ignore
  -T, --trace PATTERN    accepted: what is traced
  -U, --force-share      others may have the image open for writing
  -h, --help             show this text
  -V, --version          show the version

Without -c, commands are read from standard input. 'qemu-io -c help' lists them.
";

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    /// What is wrong with it, in a line.
    pub(super) fn parse_line(arguments: Vec<OsString>) -> Result<Self, String> {
        Self::try_parse_from(arguments).map_err(|error| crate::suggest::first_line(&error))
    }

    /// What is to be opened; `None` where no file is named.
    pub(super) fn plan(&self, objects: Objects) -> Done<Option<Plan>> {
        let mode = self.mode()?;
        if self.image_opts && self.format.is_some() {
            return Err(Refusal::Error("--image-opts and -f are mutually exclusive".to_owned()));
        }
        let Some(file) = self.files.first() else { return Ok(None) };
        let (name, format) = (Some(file.to_string_lossy().into_owned()), self.format.clone());
        Ok(Some(Plan { name, image_opts: self.image_opts, format, options: Vec::new(), objects, mode }))
    }

    /// What options refer to.
    pub(super) fn objects(&self) -> Done<Objects> {
        let read: Result<Vec<Object>, String> = self.object.iter().map(|text| Object::parse(text)).collect();
        read.map(Objects::from).map_err(Refusal::Error)
    }

    fn mode(&self) -> Done<Mode> {
        let mut mode = Mode {
            read_only: self.read_only,
            snapshot: self.snapshot,
            copy_on_read: self.copy_on_read,
            force_share: self.force_share,
            native_aio: self.native_aio,
            ..Mode::default()
        };
        if self.nocache {
            mode.cache = NO_CACHE;
        }
        if let Some(name) = &self.cache {
            mode.cache = parse_cache(name)?;
        }
        if let Some(name) = &self.discard {
            mode.discard = parse_discard(name)?;
        }
        if let Some(name) = &self.aio {
            mode.native_aio |= parse_aio(name)?;
        }
        Ok(mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Arguments, String> {
        Arguments::parse_line(line.iter().map(OsString::from).collect())
    }

    #[test]
    fn options_may_follow_the_file() {
        let arguments =
            parse(&["disk", "-c", "read 0 512", "-rs", "--cm=length", "-cquit", "-f", "raw"]).unwrap();
        assert_eq!(arguments.files, ["disk"]);
        assert_eq!(arguments.commands, ["read 0 512", "length", "quit"]);
        assert!(arguments.read_only && arguments.snapshot);
        let plan = arguments.plan(Objects::default()).unwrap().unwrap();
        assert_eq!(plan.format.as_deref(), Some("raw"));
        assert!(plan.mode.read_only && plan.mode.snapshot);
    }

    #[test]
    fn a_later_option_stands_for_an_earlier_one() {
        let arguments = parse(&["-f", "qcow2", "-f", "raw", "-t", "none", "-t", "unsafe", "-rr"]).unwrap();
        assert_eq!(arguments.format.as_deref(), Some("raw"));
        assert!(arguments.mode().unwrap().cache.no_flush);
    }

    #[test]
    fn a_command_may_begin_with_a_hyphen() {
        assert_eq!(parse(&["-c", "-r"]).unwrap().commands, ["-r"]);
        assert_eq!(parse(&["--", "-r"]).unwrap().files, ["-r"]);
        assert_eq!(parse(&["-c", "", "a"]).unwrap().commands, [""]);
    }

    #[test]
    fn what_is_wrong_is_said_in_a_line() {
        assert!(parse(&["--foo"]).unwrap_err().contains("--foo"));
        assert!(parse(&["-Z"]).unwrap_err().contains("-Z"));
        assert!(parse(&["-c"]).unwrap_err().contains("--cmd"));
        assert!(parse(&["--read-only=1"]).unwrap_err().contains("--read-only"));
        let arguments = parse(&["--image-opts", "-f", "raw", "driver=raw"]).unwrap();
        assert!(arguments.plan(Objects::default()).is_err());
        assert!(parse(&["--object", "foo,id=a"]).unwrap().objects().is_err());
        assert!(parse(&["--object", "secret,id=a,data=x"]).unwrap().objects().is_ok());
    }
}
