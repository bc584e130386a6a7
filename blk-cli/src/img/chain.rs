//! A disk and its backing files: which of them determines which bytes.

use std::sync::Arc;

use blk_core::{ChainQuery, Disk, Extent, Result};

pub(crate) use blk_core::ChainStatus as Status;

use super::image::Image;
use super::size::{SECTOR_BYTES, whole_sectors};
use crate::spec;

/// One disk of the chain.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) disk: Arc<Disk>,
    /// The name of what its data lies in: that which a program would open it by, or its data file.
    pub(crate) name: String,
}

/// The disks, the one that is asked first.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) layers: Vec<Layer>,
}

impl Chain {
    /// The chain of an open image.
    pub(crate) fn of(image: &Image) -> Self {
        // A filter stores nothing: the image below it has the name.
        let name_of =
            |layer: &spec::Layer| layer.data_file.as_ref().map_or(&layer.name, |file| &file.name).clone();
        let name = image.layers.first().map_or_else(|| image.name.clone(), name_of);
        let mut layers = vec![Layer { disk: Arc::clone(&image.disk), name }];
        while let Some(below) = layers.last().and_then(|layer| layer.disk.backing().cloned()) {
            let name = match image.layers.get(layers.len()) {
                Some(layer) => name_of(layer),
                None => String::new(),
            };
            layers.push(Layer { disk: below, name });
        }
        Self { layers }
    }

    /// Size of the first disk in bytes, a multiple of a sector.
    pub(crate) fn size(&self) -> u64 {
        whole_sectors(self.layers[0].disk.size())
    }

    /// The status of the bytes at the start of `extent`, which is not empty and inside the first disk.
    pub(crate) fn status(&self, extent: Extent) -> Result<Status> {
        ChainQuery::new(&self.layers[0].disk).whole_sectors(SECTOR_BYTES).status(extent)
    }

    /// The runs of `extent`, neighbours that are alike joined.
    pub(crate) fn runs(&self, extent: Extent) -> Runs<'_> {
        Runs { chain: self, rest: extent }
    }
}

/// An iterator over the runs of an extent: where each starts, and what is known of it.
#[derive(Debug)]
pub(crate) struct Runs<'a> {
    chain: &'a Chain,
    rest: Extent,
}

impl Iterator for Runs<'_> {
    type Item = Result<(u64, Status)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let start = self.rest.offset;
        let mut run = match self.chain.status(self.rest) {
            Ok(status) => status,
            Err(error) => {
                self.rest.length = 0;
                return Some(Err(error));
            }
        };
        loop {
            self.rest = Extent::between(start + run.length, self.rest.end());
            if self.rest.is_empty() {
                break;
            }
            // An error shows again, and is reported, when the run that it stands at begins.
            match self.chain.status(self.rest) {
                Ok(next) if run.continues(&next) => run.length += next.length,
                _ => break,
            }
        }
        Some(Ok((start, run)))
    }
}

/// Asks about one range after the other, and remembers what is known of the bytes ahead.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    chain: &'a Chain,
    /// A run, and where it starts.
    known: Option<(u64, Status)>,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(chain: &'a Chain) -> Self {
        Self { chain, known: None }
    }

    /// The status of the bytes at the start of `extent`, neighbours that are alike joined.
    pub(crate) fn status(&mut self, extent: Extent) -> Result<Status> {
        let known = self.known.filter(|(start, run)| (*start..*start + run.length).contains(&extent.offset));
        let (start, run) = match known {
            Some(known) => known,
            None => match self.chain.runs(Extent::between(extent.offset, self.chain.size())).next() {
                Some(run) => run?,
                None => (extent.offset, Status::unallocated(0, extent.length)),
            },
        };
        self.known = Some((start, run));
        let passed = extent.offset - start;
        let host_offset = run.host_offset.map(|offset| offset + passed);
        Ok(Status { length: extent.length.min(run.length - passed), host_offset, ..run })
    }
}
