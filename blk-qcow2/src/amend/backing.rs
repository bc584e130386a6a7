//! The backing file: its name and its format stay what they are; `rebase` is what changes them.

use blk_core::{Error, Result};

use super::{Change, Progress, Request};
use crate::qcow2::Qcow2;

#[derive(Debug)]
pub(super) struct Backing;

impl Change for Backing {
    fn names(&self) -> &'static [&'static str] {
        &["backing_file", "backing_fmt"]
    }

    /// Both have to be what the image says.
    fn check(&self, image: &Qcow2, request: &Request<'_>) -> Result<bool> {
        let metadata = image.metadata.read();
        let backing = metadata.header.backing.as_ref();
        let named = backing.map(|backing| backing.name.clone());
        let format = backing.and_then(|backing| backing.format.clone());
        let (name, wanted) = (request.options.text("backing_file"), request.options.text("backing_fmt"));
        for (option, is, asked) in [("backing_file", named, name), ("backing_fmt", format, wanted)] {
            if asked != is {
                let show =
                    |value: Option<String>| value.map_or("none".to_owned(), |value| format!("'{value}'"));
                let reason = format!(
                    "Cannot amend the backing file: the image has {}, not {}; rebase changes it",
                    show(is),
                    show(asked)
                );
                return Err(Error::invalid_option(option, reason));
            }
        }
        Ok(false)
    }

    fn make(&self, _: &Qcow2, _: &Request<'_>, _: Progress<'_>) -> Result<()> {
        Ok(())
    }
}
