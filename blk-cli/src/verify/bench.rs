//! Two images that are opened, closed and opened again as a command line says.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use blk_core::sync::Mutex;
use blk_core::{Access, CheckReport, Disk, RepairMode, name};
use blk_harness::driver::Bench;

use super::arguments::Formats;
use super::outcome::Outcome;
use crate::spec::{Image, Layer, Origins, Request, Scratch, Start};

/// Most bytes that are kept of what writes in place overwrite.
pub(super) const START_BYTES_MAX: u64 = 16 << 30;

/// The images of a chain, topmost first, while they are open.
pub(super) type Layers = Arc<Mutex<Vec<Layer>>>;

/// How the two images are opened: each time as they were at first, unless that is in place.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) reference: String,
    pub(super) test: String,
    pub(super) formats: Formats,
    /// Writes go to the images themselves.
    pub(super) in_place: bool,
    /// The image under test is repaired before anything else.
    pub(super) repair: bool,
    /// Nothing is written.
    pub(super) read_only: bool,
    pub(super) memory_bytes_max: u64,
    /// What the opened images keep their changes in.
    pub(super) trouble: RefCell<Vec<Arc<Scratch>>>,
    /// What keeps the content that writes in place take away.
    pub(super) start: RefCell<Option<Arc<Start>>>,
    /// Files that are read as they were before a run in place.
    pub(super) origins: Origins,
}

impl Pair {
    /// From now on, writes in place keep what they overwrite, as far as that is possible.
    pub(super) fn begin_start(&self) {
        if self.in_place && !self.read_only {
            *self.start.borrow_mut() = Some(Arc::new(Start::new(self.memory_bytes_max, START_BYTES_MAX)));
        }
    }

    /// What keeps that.
    pub(super) fn start(&self) -> Option<Arc<Start>> {
        self.start.borrow().clone()
    }

    /// Both images as they were before they were written in place, to be opened as copies. Nothing may have
    /// them open.
    pub(super) fn as_at_first(&self) -> Self {
        Self {
            in_place: false,
            start: RefCell::default(),
            origins: self.start().map_or_else(|| self.origins.clone(), |start| start.origins()),
            reference: self.reference.clone(),
            test: self.test.clone(),
            formats: self.formats.clone(),
            trouble: RefCell::default(),
            ..*self
        }
    }

    /// The image, if one is, whose content a server has: what is written there in place cannot be kept.
    pub(super) fn served(&self) -> Option<&str> {
        let is_served = |name: &&str| {
            ["nbd:", "nbds:", "nbd+", "nbds+", "driver=nbd", "\"nbd\""].iter().any(|word| name.contains(word))
        };
        [self.test.as_str(), &self.reference].into_iter().find(is_served)
    }

    /// Opens both.
    pub(super) fn open(&self) -> Result<Box<SpecBench>> {
        let access = if self.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let reference = self.request(&self.reference, self.formats.reference_format.as_ref(), access);
        let test = self.request(&self.test, self.formats.test_format.as_ref(), access);
        let mut scratches = self.trouble.borrow_mut();
        scratches.retain(|scratch| scratch.failure().is_some());
        scratches.extend(reference.scratch.iter().chain(&test.scratch).cloned());
        drop(scratches);
        let mut opened = Box::new(SpecBench::open(&reference, test)?);
        if self.repair && opened.test_disk().as_check().is_some() {
            opened.test_disk().check(RepairMode::All).context("repairing the image under test")?;
            opened.reopen().context("the image under test")?;
        }
        Ok(opened)
    }

    /// What a check says of the image under test, as it is; `None` for a format that has none.
    pub(super) fn check(&self) -> Result<Option<CheckReport>> {
        let mut request = self.request(&self.test, self.formats.test_format.as_ref(), Access::ReadOnly);
        request.for_check = true;
        let image = request.open().context("the image under test")?;
        if image.disk.as_check().is_none() {
            return Ok(None);
        }
        Ok(Some(image.disk.check(RepairMode::None).context("checking the image under test")?))
    }

    /// What a run came to, unless the temporary files of the copies have failed: then answers say nothing.
    pub(super) fn judged(&self, outcome: impl FnOnce() -> Outcome) -> Result<Outcome> {
        self.sound()?;
        Ok(outcome())
    }

    /// Fails if changes to a copy were lost.
    pub(super) fn sound(&self) -> Result<()> {
        let scratches = self.trouble.borrow();
        if let Some(why) = scratches.iter().find_map(|scratch| scratch.failure()) {
            bail!(
                "cannot keep what is written: {why}, in the temporary folder {}; TMPDIR=FOLDER chooses another one, and --memory \
                 SIZE keeps more in memory",
                std::env::temp_dir().display()
            );
        }
        Ok(())
    }

    /// The words of a command line that name the images.
    pub(super) fn words(&self) -> String {
        let mut words = format!("--reference {} --test {}", quoted(&self.reference), quoted(&self.test));
        let formats = &self.formats;
        for (option, format) in
            [("--reference-format", &formats.reference_format), ("--test-format", &formats.test_format)]
        {
            if let Some(format) = format {
                words = format!("{words} {option} {}", quoted(format));
            }
        }
        for (option, is_given) in [("--image-opts", formats.image_opts), ("--repair", self.repair)] {
            if is_given {
                words = format!("{words} {option}");
            }
        }
        words
    }

    fn request(&self, name: &str, format: Option<&String>, access: Access) -> Request {
        let has_origins = self.origins.all().next().is_some();
        let is_copy = !self.in_place && (access == Access::ReadWrite || has_origins);
        Request {
            name: name.to_owned(),
            image_opts: self.formats.image_opts,
            format: format.cloned(),
            access,
            cache: self.formats.cache,
            writes_short_zeroes: true,
            scratch: is_copy.then(|| Arc::new(Scratch::over(self.memory_bytes_max, self.origins.clone()))),
            start: self.start(),
            objects: self.formats.objects.objects(),
            ..Request::default()
        }
    }
}

/// A word as a shell takes it, on one line and as text whatever bytes it has.
pub(super) fn quoted(word: &str) -> String {
    let bytes = name::to_bytes(word);
    if word.contains(char::is_control) || *bytes != *word.as_bytes() {
        return format!("\"$(printf '{}')\"", printf_format(&bytes));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The format by which `printf` prints these bytes.
fn printf_format(bytes: &[u8]) -> String {
    let mut format = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_./:=,+@ ".contains(byte) {
            format.push(char::from(*byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(format, "\\{byte:03o}");
        }
    }
    format
}

/// A reference and an image under test.
#[derive(Debug)]
pub(super) struct SpecBench {
    reference: Image,
    /// Absent only if it could not be opened again.
    test: Option<Image>,
    request: Request,
    /// Those of the image under test.
    layers: Layers,
}

impl SpecBench {
    fn open(reference: &Request, test: Request) -> Result<Self> {
        let open = |who: &'static str, request: &Request| request.open().context(who);
        let reference = open("the reference", reference)?;
        let opened = open("the image under test", &test)?;
        let layers = Arc::new(Mutex::new(opened.layers.clone()));
        Ok(Self { reference, test: Some(opened), request: test, layers })
    }

    /// The images of the chain under test, also once the bench is somebody else's.
    pub(super) fn layers(&self) -> Layers {
        Arc::clone(&self.layers)
    }

    /// The image under test.
    pub(super) fn test_image(&self) -> &Image {
        self.test.as_ref().expect("it was opened")
    }

    pub(super) fn test_disk(&self) -> &Disk {
        &self.test_image().disk
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
        // Nothing may hold the old files: they are locked.
        self.layers.lock().clear();
        let opened = self.request.open()?;
        self.layers.lock().clone_from(&opened.layers);
        self.test = Some(opened);
        Ok(())
    }
}

impl Drop for SpecBench {
    fn drop(&mut self) {
        let is_copy = self.request.scratch.is_some();
        for image in std::iter::once(&self.reference).chain(&self.test) {
            // What a copy holds is gone in any case.
            if !is_copy && let Err(error) = image.disk.close() {
                super::outcome::tell(&format!("blk: closing '{}': {error}\n", image.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("/a/b-1.qcow2"), "/a/b-1.qcow2");
        assert_eq!(quoted("it's {1}"), r"'it'\''s {1}'");
        assert_eq!(quoted(""), "''");
    }
}
