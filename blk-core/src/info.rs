//! What an image says about itself, and what only a disk over another one can do.

use crate::{Result, SnapshotInfo};

/// A name inside an image for the backing file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingFile {
    /// The name as it stands in the image; relative names count from the image's own folder.
    pub name: String,
    /// The format that the image says it has.
    pub format: Option<String>,
}

/// A property that only one format has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// On or off.
    Switch(bool),
    /// A count, or a size in bytes.
    Number(u64),
    /// A word.
    Text(String),
    /// Several of a kind.
    List(Vec<Detail>),
    /// Properties of its own, in order.
    Group(Details),
}

/// Properties by name, words joined by hyphens, in the order in which they are shown.
pub type Details = Vec<(&'static str, Detail)>;

/// What an image says about itself besides its size and content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageInfo {
    /// The format's name, as on a command line.
    pub format: &'static str,
    /// The unit in which the format allocates; `None` where it has none.
    pub cluster_bytes: Option<u64>,
    /// Where the format keeps the state of a machine, in bytes from the start of the disk, past its end; 0
    /// where it keeps none.
    pub machine_state_offset: u64,
    /// The backing file, whether or not it is open.
    pub backing: Option<BackingFile>,
    /// The image was not closed: its metadata may need a repair.
    pub is_dirty: bool,
    /// The snapshots inside, oldest first.
    pub snapshots: Vec<SnapshotInfo>,
    /// What only this format has.
    pub details: Details,
}

/// Telling what an image is.
pub trait Info {
    /// What the image says about itself now.
    fn info(&self) -> Result<ImageInfo>;

    /// Whether the disk cannot be read without a secret.
    fn is_encrypted(&self) -> bool {
        false
    }
}

/// What only a disk over another one can do.
pub trait Overlay {
    /// Writes another name for the backing file into the image, or none, and makes it durable. The open disk
    /// goes on with the disk that it has: the new name counts from the next open on.
    fn set_backing(&self, backing: Option<&BackingFile>) -> Result<()>;

    /// Gives up everything that this layer stores: the backing file shows everywhere.
    fn forget_content(&self) -> Result<()>;
}
