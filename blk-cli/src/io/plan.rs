//! From what the command line says to an open disk, and the same once more for `reopen`.

use std::sync::Arc;

use blk_core::{Access, Disk, Error, Options};

use super::copy_on_read::CopyOnRead;
use super::mode::Mode;
use super::snapshot;
use super::target::Target;
use crate::spec::{Objects, Request, shown};

/// Options by name, later ones standing for earlier ones of the same name.
pub(crate) type NamedOptions = Vec<(String, String)>;

/// What is to be opened, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// A file name or, with `image_opts`, an option string; `None` where the options say all.
    pub(crate) name: Option<String>,
    /// `name` is an option string.
    pub(crate) image_opts: bool,
    /// The format; probed where it is not given.
    pub(crate) format: Option<String>,
    /// Options of the format and of what lies below it.
    pub(crate) options: NamedOptions,
    /// What the options refer to.
    pub(crate) objects: Objects,
    /// Everything else.
    pub(crate) mode: Mode,
}

impl Plan {
    /// Opens it.
    ///
    /// # Errors
    /// What cannot be opened, and why.
    pub(crate) fn open(&self) -> Result<Opening, String> {
        let what = match &self.name {
            Some(name) if !self.image_opts => format!("can't open device {}", shown(name)),
            _ => "can't open".to_owned(),
        };
        self.mode.check().map_err(|reason| format!("{what}: {reason}"))?;
        self.open_disk().map_err(|error| format!("{what}: {error}"))
    }

    fn open_disk(&self) -> Result<Opening, Error> {
        let image = self.request().open()?;
        let mut drivers: Vec<_> = image.layers.iter().map(|layer| layer.format).collect();
        if let (Some(_), Some(top)) = (&image.debug, drivers.first_mut()) {
            *top = image.format;
        }
        let (mut disk, mut format, mut debug) = (image.disk, image.format, image.debug);
        if self.mode.snapshot {
            disk = Arc::new(snapshot::overlay(disk, self.access())?);
            (format, debug) = (snapshot::OVERLAY.name(), None);
        }
        if self.mode.copy_on_read {
            disk = Arc::new(Disk::new(CopyOnRead::new(disk, debug.as_ref()), Access::ReadWrite));
        }
        // A snapshot keeps what is written to it elsewhere.
        let layer = image.layers.first().filter(|_| !self.mode.snapshot);
        let target = Target::new(disk, format)
            .with_discard(self.mode.discard)
            .with_breakpoints(image.breakpoints)
            .with_file(layer.and_then(|layer| layer.files.first().cloned()));
        Ok(Opening { target, drivers, guessed_raw: image.guessed_raw && !self.is_read_only_below() })
    }

    fn access(&self) -> Access {
        if self.mode.read_only { Access::ReadOnly } else { Access::ReadWrite }
    }

    /// Whether the image itself is only read.
    fn is_read_only_below(&self) -> bool {
        self.mode.read_only || self.mode.snapshot
    }

    fn request(&self) -> Request {
        let options = self
            .options
            .iter()
            .fold(Options::new(), |options, (key, value)| options.with(key, value.as_str()));
        Request {
            name: self.name.clone().unwrap_or_default(),
            image_opts: self.image_opts,
            format: self.format.clone(),
            options,
            access: if self.is_read_only_below() { Access::ReadOnly } else { Access::ReadWrite },
            force_share: self.mode.force_share,
            cache: self.mode.cache,
            discard: (!self.mode.discard).then_some(false),
            objects: self.objects.clone(),
            ..Request::default()
        }
    }
}

/// What an open image is, and what is to be said about it.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The disk.
    pub(crate) target: Target,
    /// The drivers of the image and of its backing files, topmost first.
    pub(crate) drivers: Vec<&'static str>,
    /// Nobody said that the image is raw, and it may be written.
    pub(crate) guessed_raw: bool,
}

/// Takes an option string apart: `key=value,...`, where two commas stand for one inside a value. A key alone
/// is switched on.
pub(crate) fn parse_options(text: &str) -> NamedOptions {
    split_at_single_commas(text)
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (part, "on".to_owned()),
        })
        .collect()
}

fn split_at_single_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let doubled = letter == ',' && letters.next_if_eq(&',').is_some();
        match parts.last_mut() {
            Some(part) if letter != ',' || doubled => part.push(letter),
            _ => parts.push(String::new()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_strings_are_taken_apart() {
        let options = parse_options("driver=qcow2,file.filename=a,,b,lazy-refcounts,x=1=2");
        let expected =
            [("driver", "qcow2"), ("file.filename", "a,b"), ("lazy-refcounts", "on"), ("x", "1=2")];
        let options_as_text: Vec<_> =
            options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(options_as_text, expected);
        assert!(parse_options("").is_empty());
    }

    #[test]
    fn a_snapshot_leaves_the_image_alone() {
        let mode = Mode { snapshot: true, ..Mode::default() };
        let plan = Plan {
            name: Some("disk".to_owned()),
            options: parse_options("driver=raw"),
            mode,
            ..Plan::default()
        };
        let mut request = plan.request();
        assert_eq!(request.access, Access::ReadOnly);
        assert_eq!(plan.access(), Access::ReadWrite);
        assert_eq!(request.options.take("driver").as_deref(), Some("raw"));
        assert_eq!((request.name.as_str(), request.discard), ("disk", None));
    }
}
