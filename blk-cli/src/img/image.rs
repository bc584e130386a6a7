//! Opening images, and reading them as whole sectors.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::{Access, BackingFile, Disk, Error, ImageInfo, Options, Result, name, read_padded};

use super::failure::{Failure, Outcome, complain};
use super::size::whole_sectors;
use crate::snapshots;
use crate::spec::{self, CacheMode, FilesInUse, Layer, Locking, Objects};

/// How a command line names an image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// `name` is an option string.
    pub(crate) image_opts: bool,
    pub(crate) format: Option<String>,
    /// Others may write it meanwhile, so it cannot be written.
    pub(crate) force_share: bool,
    pub(crate) cache: CacheMode,
    /// What the name refers to.
    pub(crate) objects: Objects,
    /// The snapshot inside the image that is read in place of the disk.
    pub(crate) snapshot: Option<String>,
    /// Options besides those in the name.
    pub(crate) options: Options,
}

/// What an image is opened for, besides reading.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Purpose {
    pub(crate) write: bool,
    /// Backing files are not opened: what is asked concerns the image itself.
    pub(crate) alone: bool,
    /// A check follows, so damage is no reason to refuse.
    pub(crate) check: bool,
    /// Others may do with the files whatever they want, and are not told that we read: either the program has
    /// locked the image already, or it only looks whether there is one.
    pub(crate) unlocked: bool,
    /// The content is copied as it is now: nobody may write it meanwhile, not even where it is raw.
    pub(crate) unwritten: bool,
    /// Only what the image says about itself is read.
    pub(crate) describes: bool,
}

impl Purpose {
    /// Reading the content.
    pub(crate) const READ: Self = Self {
        write: false,
        alone: false,
        check: false,
        unlocked: false,
        unwritten: false,
        describes: false,
    };
    /// Changing the content.
    pub(crate) const WRITE: Self = Self { write: true, ..Self::READ };
    /// Reading what the image says about itself.
    pub(crate) const INSPECT: Self = Self { alone: true, describes: true, ..Self::READ };
}

/// An open image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) disk: Arc<Disk>,
    /// The name that reports show.
    pub(crate) name: String,
    /// No format was given, and nothing but raw fits.
    pub(crate) guessed_raw: bool,
    /// The image and those below it that are open, the first one on top.
    pub(crate) layers: Vec<Layer>,
    end: Arc<End>,
}

/// Closes a disk that a command which failed has left open: what images keep of their state (dirty bitmaps,
/// refcounts that were postponed) would be lost with it.
#[derive(Debug)]
struct End {
    disk: Arc<Disk>,
    is_closed: AtomicBool,
}

impl Drop for End {
    fn drop(&mut self) {
        if !*self.is_closed.get_mut() {
            // The failure of the command is told.
            let _ = self.disk.close();
        }
    }
}

impl Named {
    /// A file of this name.
    pub(crate) fn file(name: impl Into<String>, format: Option<&str>) -> Self {
        Self { name: name.into(), format: format.map(str::to_owned), ..Self::default() }
    }

    /// Opens the image. `program` warns where a guess of the format may be dangerous.
    pub(crate) fn open(&self, program: &str, purpose: Purpose) -> Outcome<Image> {
        self.open_beside(program, purpose, &FilesInUse::new())
    }

    /// The same, while `in_use` are open: if the image is written, it is none of them, whatever name it has.
    pub(crate) fn open_beside(&self, program: &str, purpose: Purpose, in_use: &FilesInUse) -> Outcome<Image> {
        let failed = |error: Error| match error {
            // It names what cannot be opened, which may be a backing file.
            Error::Unresolved { .. } => Failure::new(error.to_string()),
            _ => Failure::new(format!("cannot open '{}': {error}", crate::spec::shown(&self.name))),
        };
        if self.image_opts && self.format.is_some() {
            return Err(Failure::new("--image-opts and a format exclude each other"));
        }
        if self.force_share && purpose.write {
            return Err(failed(Error::unsupported("writing to an image that is opened shared (-U)")));
        }
        let selected = self.snapshot.as_deref().map(snapshots::selection).transpose();
        let options = selected.map_err(Failure::new)?.unwrap_or_default();
        let image = self.try_open(purpose, options, in_use).map_err(failed)?;
        if purpose.write && image.guessed_raw {
            let danger = "writes that would make it another format are refused";
            complain(
                program,
                &format!("warning: no format given for '{}', which looks raw: {danger}", self.name),
            );
        }
        Ok(image)
    }

    fn try_open(&self, purpose: Purpose, options: Options, in_use: &FilesInUse) -> Result<Image> {
        let request = spec::Request {
            name: self.name.clone(),
            image_opts: self.image_opts,
            format: self.format.clone(),
            options: self
                .options
                .clone()
                .into_iter()
                .fold(options, |all, (name, value)| all.with(&name, value)),
            access: if purpose.write { Access::ReadWrite } else { Access::ReadOnly },
            force_share: self.force_share,
            cache: self.cache,
            locking: if purpose.unlocked { Locking::Off } else { Locking::Auto },
            alone: purpose.alone,
            for_check: purpose.check,
            unwritten: purpose.unwritten,
            describes: purpose.describes,
            in_use: in_use.clone(),
            objects: self.objects.clone(),
            ..spec::Request::default()
        };
        let spec::Image { disk, name, guessed_raw, layers, .. } = request.open()?;
        let end = Arc::new(End { disk: Arc::clone(&disk), is_closed: AtomicBool::new(false) });
        Ok(Image { disk, name, guessed_raw, layers, end })
    }
}

impl Image {
    /// What the image says about itself; a disk that says nothing is raw.
    pub(crate) fn info(&self) -> Result<ImageInfo> {
        info_of(&self.disk)
    }

    /// All files that are open for it.
    pub(crate) fn files(&self) -> FilesInUse {
        self.layers.iter().flat_map(|layer| layer.files.iter().cloned()).collect()
    }

    /// Claims that the length of the file changes, which a raw image does not do otherwise.
    pub(crate) fn claim_resize(&self) -> Outcome<()> {
        let files = self.layers.first().map(|layer| layer.files.as_slice()).unwrap_or_default();
        let claimed = files.first().map_or(Ok(()), |file| file.claim_resize());
        claimed.map_err(|error| Failure::new(error.to_string()))
    }

    /// The size in bytes, a multiple of a sector.
    pub(crate) fn size(&self) -> u64 {
        whole_sectors(self.disk.size())
    }

    /// Fills `buf`; bytes past the end are zeroes.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        read_padded(&self.disk, offset, buf)
    }

    /// Closes an image that was written.
    pub(crate) fn close(&self) -> Outcome<()> {
        self.end.is_closed.store(true, Ordering::Relaxed);
        let closed = self.disk.flush().and_then(|()| self.disk.close());
        closed.map_err(|error| Failure::of(&self.name, &error))
    }
}

/// As [`Image::info`].
pub(crate) fn info_of(disk: &Disk) -> Result<ImageInfo> {
    match disk.as_info() {
        Some(info) => info.info(),
        None => Ok(ImageInfo { format: blk_raw::FORMAT.name(), ..ImageInfo::default() }),
    }
}

/// The file name that `backing` has for a program which has opened the image that names it as `image`: a name
/// with a protocol, `file:` too, does not depend on the image's folder.
pub(crate) fn backing_path(image: &str, backing: &str) -> String {
    match image.rsplit_once('/') {
        Some((folder, _)) if !backing.starts_with('/') && !has_protocol(backing) => {
            format!("{folder}/{backing}")
        }
        _ => backing.to_owned(),
    }
}

/// Whether a name says how it is to be opened: letters, then a colon, before any slash.
pub(crate) fn has_protocol(name: &str) -> bool {
    name.split_once(':').is_some_and(|(protocol, _)| !protocol.is_empty() && !protocol.contains('/'))
}

/// The path of a file that is named plainly, or with `file:`.
pub(crate) fn plain_path(name: &str) -> PathBuf {
    name::to_path(name.strip_prefix("file:").unwrap_or(name))
}

/// The backing file of `image` as a command line would name it.
pub(crate) fn backing_of(image: &str, backing: &BackingFile, objects: Objects) -> Named {
    Named { objects, ..Named::file(backing_path(image, &backing.name), backing.format.as_deref()) }
}
