//! The external data file: its name, and whether it is the disk.
//!
//! The file that is open stays the one that data goes to; the next open finds another name.

use blk_core::{Error, Result};

use super::{Change, Progress, Request};
use crate::create::check_data_file;
use crate::ondisk::AUTOCLEAR_DATA_FILE_RAW;
use crate::qcow2::Qcow2;

#[derive(Debug)]
pub(super) struct DataFile;

impl Change for DataFile {
    fn names(&self) -> &'static [&'static str] {
        &["data_file", "data_file_raw"]
    }

    fn check(&self, image: &Qcow2, request: &Request<'_>) -> Result<bool> {
        let refused = |option: &'static str, reason: &'static str| Err(Error::invalid_option(option, reason));
        let metadata = image.metadata.read();
        let header = &metadata.header;
        let is_raw = header.autoclear & AUTOCLEAR_DATA_FILE_RAW != 0;
        if request.options.is_given("data_file") {
            if !header.has_data_file() {
                return refused(
                    "data_file",
                    "data-file can only be set for images that use an external data file",
                );
            }
            header.check_data_file(&*image.storage, new_name(request)?)?;
        }
        match request.options.switch("data_file_raw") {
            Some(true) if !is_raw => {
                return refused("data_file_raw", "data-file-raw cannot be set on existing images");
            }
            _ => {}
        }
        Ok(header.has_data_file())
    }

    fn make(&self, image: &Qcow2, request: &Request<'_>, _: Progress<'_>) -> Result<()> {
        let mut metadata = image.metadata.write();
        metadata.flush()?;
        if request.options.is_given("data_file") {
            let syncs = &metadata.syncs;
            let written = metadata.header.write_data_file(&*image.storage, syncs, new_name(request)?);
            metadata.header = written.map_err(|error| metadata.poison(error))?;
        }
        if request.options.switch("data_file_raw") == Some(false) {
            metadata.header.autoclear &= !AUTOCLEAR_DATA_FILE_RAW;
            metadata.publish_header()?;
        }
        Ok(())
    }
}

/// The name that is asked for; an empty one leaves none in the image.
fn new_name(request: &Request<'_>) -> Result<Option<String>> {
    request.options.text("data_file").filter(|name| !name.is_empty()).map(check_data_file).transpose()
}
