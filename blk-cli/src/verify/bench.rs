//! Two images that are opened, closed and opened again as a command line says.

use std::sync::Arc;

use anyhow::{Context, Result};
use blk_core::Disk;
use blk_verify::target::Bench;

use crate::spec::{Image, Request};

/// A reference and an image under test.
#[derive(Debug)]
pub(super) struct SpecBench {
    reference: Image,
    /// Absent only if it could not be opened again.
    test: Option<Image>,
    request: Request,
}

impl SpecBench {
    pub(super) fn open(reference: &Request, test: Request) -> Result<Self> {
        let open = |who: &'static str, request: &Request| request.open().context(who);
        Ok(Self {
            reference: open("the reference", reference)?,
            test: Some(open("the image under test", &test)?),
            request: test,
        })
    }
}

impl SpecBench {
    /// The image under test.
    pub(super) fn test_image(&self) -> &Image {
        self.test.as_ref().expect("it was opened")
    }
}

impl Bench for SpecBench {
    fn reference(&self) -> Arc<Disk> {
        Arc::clone(&self.reference.disk)
    }

    fn test(&self) -> Arc<Disk> {
        Arc::clone(&self.test.as_ref().expect("a run ends where the image cannot be opened again").disk)
    }

    fn reopen(&mut self) -> blk_core::Result<()> {
        if let Some(test) = self.test.take() {
            test.disk.close()?;
        }
        self.test = Some(self.request.open()?);
        Ok(())
    }
}

impl Drop for SpecBench {
    fn drop(&mut self) {
        for image in std::iter::once(&self.reference).chain(&self.test) {
            if let Err(error) = image.disk.close() {
                eprintln!("blk: closing '{}': {error}", image.name);
            }
        }
    }
}
