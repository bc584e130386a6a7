//! Images of one configuration: what an engine needs of a driver under test.

use std::sync::Arc;

use blk_core::{Disk, ErrorKind, Extent, MemoryStorage, Result, Storage};

use crate::Outcome;
use crate::driver::promises::{Since, Was, lost};
use crate::driver::{self, Driver, ImageMaker, Promises, legal_config};
use crate::oracle::content::failed;
use crate::promise::{self, Promise, Violation};
use crate::scenario::Config;
use crate::space::{Geometry, Space};

/// Bytes that are read at a time.
const PIECE_BYTES: u64 = 64 << 10;

/// A fresh image of one configuration, and how it is opened.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) space: &'static Space,
    pub(crate) config: Config,
    pub(crate) geometry: Geometry,
    pub(crate) promises: Promises,
    pub(crate) prepared: Box<dyn ImageMaker>,
    pub(crate) fresh: MemoryStorage,
    /// What it shows.
    pub(crate) initial: Arc<MemoryStorage>,
    pub(crate) size: u64,
    /// What others keep in it.
    kept: Vec<driver::Kept>,
}

impl Images {
    /// Images for a scenario's configuration, or why it cannot be run. Those of `before` are taken if they
    /// are of the same configuration; they come from the same target: an engine is used with one.
    pub(crate) fn for_scenario(
        before: Option<Self>,
        target: &dyn Driver,
        config: &Config,
        size_bytes_max: u64,
    ) -> std::result::Result<Self, Outcome> {
        let mut config = legal_config(target, config).map_err(Outcome::Refused)?;
        // A write that fails may leave a file that is longer, up to what the host takes as one: its disk has
        // another size then.
        if target.space().geometry(&config).size_is_file_length {
            config.host_alignment = 1;
        }
        let size = config.size_bytes.max(config.backing_bytes);
        if size > size_bytes_max {
            return Err(Outcome::Refused(format!("a disk of {size} bytes is too large here")));
        }
        if let Some(mut same) = before.filter(|before| is_same_image(&before.config, &config)) {
            same.config = config;
            return Ok(same);
        }
        Self::new(target, config).map_err(|error| match error.kind() {
            // A driver that does not understand what it has just written is no refusal.
            ErrorKind::Corrupt | ErrorKind::Malformed => Outcome::Finding(failed("making the image", &error)),
            _ => Outcome::Refused(format!("the image cannot be made: {error}")),
        })
    }

    fn new(target: &dyn Driver, config: Config) -> Result<Self> {
        let (space, geometry) = (target.space(), target.space().geometry(&config));
        let promises = target.promises(&config);
        let prepared = target.images(&config)?;
        let fresh = prepared.fresh()?;
        let reference = prepared.reference()?;
        let (initial, size) = (Arc::new(content_of(&reference)?), reference.size());
        let kept = prepared.kept(&fresh)?;
        Ok(Self { space, config, geometry, promises, prepared, fresh, initial, size, kept })
    }

    /// What others keep in the image is there as it was, and nothing vouches for it once what the disk shows,
    /// `content`, has changed. Without a content, it may have changed.
    pub(crate) fn judge_kept_by_others(
        &self,
        image: &dyn Storage,
        content: Option<&MemoryStorage>,
    ) -> promise::Kept {
        if self.kept.is_empty() {
            return Ok(());
        }
        let has_changed = content.map_or(Ok(false), |content| self.has_changed(content));
        // What was written may be lost, or be the same again.
        let has_changed = has_changed.map_err(|error| Violation::memory(&error))?;
        let changed = if has_changed { Was::Surely } else { Was::Perhaps };
        let since = Since { changed, amended: Was::Perhaps };
        let after = self.prepared.kept(image);
        let after = after.map_err(|error| {
            Violation::failed(Promise::Others, "reading what others keep in the image", &error)
        })?;
        lost(&self.kept, &after, since).map_or(Ok(()), |what| Err(Violation::new(Promise::Others, what)))
    }

    /// Whether a disk shows something else than in the beginning.
    fn has_changed(&self, content: &MemoryStorage) -> Result<bool> {
        let before = self.initial.to_bytes(self.size)?;
        Ok(content.len()? != self.size || !content.holds(0, &before))
    }

    /// The unit that compressed writes fill in part.
    pub(crate) fn fill_bytes(&self) -> u64 {
        self.geometry.fill_bytes()
    }
}

/// Whether images do not differ: lanes, atoms and probes are no part of them.
fn is_same_image(one: &Config, other: &Config) -> bool {
    let plain = |config: &Config| Config { lanes: 0, atom_bytes: 512, probe_flush: 0, ..config.clone() };
    plain(one) == plain(other)
}

/// What `disk` shows; what it knows to be zero is not read.
fn content_of(disk: &Disk) -> Result<MemoryStorage> {
    let content = MemoryStorage::new();
    let size = disk.size();
    let mut buf = vec![0; PIECE_BYTES.min(size) as usize];
    let mut at = 0;
    while at < size {
        let status = disk.block_status(Extent::new(at, size - at))?;
        let mut length = status.length;
        if status.has_data() {
            length = length.min(PIECE_BYTES);
            let part = &mut buf[..length as usize];
            disk.read(at, part)?;
            content.write_at(at, part)?;
        }
        at += length;
    }
    Ok(content)
}
