//! The formats that the program knows: everything else asks here, and names none.
//!
//! What stays special to a format because QEMU's tools have it so: `spec/node/qemu.rs`, names of options that
//! differ from the driver's; `io/snapshot.rs`, a temporary overlay is a qcow2 image. Bytes without a format
//! are read by the raw driver.

use std::sync::OnceLock;

use blk_core::{Features, Format, OptionSpec, Registry};

/// What a new image is where nobody says a format, as in QEMU.
pub(crate) const DEFAULT: &str = "raw";

/// Said once, before anything is opened: a process is one program.
static FORMATS: OnceLock<Registry> = OnceLock::new();

/// The formats of this workspace, in the order in which they are probed.
pub fn ours() -> Registry {
    Registry::new([blk_qcow2::FORMAT, blk_luks::FORMAT, blk_raw::FORMAT])
}

/// The formats that the program knows.
pub(crate) fn registry() -> &'static Registry {
    FORMATS.get_or_init(ours)
}

/// Makes these the formats that the program knows. Returns whether that is still possible.
pub(crate) fn set(registry: Registry) -> bool {
    FORMATS.set(registry).is_ok()
}

/// What images of a format can do; nothing where `driver` is no format.
pub(crate) fn features(driver: &str) -> Features {
    registry().features(driver)
}

/// Whether a new image of a format reads as noise.
pub(crate) fn starts_as_noise(driver: &str) -> bool {
    registry().find(driver).is_ok_and(Format::starts_as_noise)
}

/// Whether a driver keeps metadata of its own in its file: it is a format other than raw.
pub(crate) fn has_metadata(driver: &str) -> bool {
    registry().find(driver).is_ok_and(|format| !format.features().is_raw)
}

/// An option of an open of that format.
pub(crate) fn open_option(driver: &str, name: &str) -> Option<&'static OptionSpec> {
    let format = registry().find(driver).ok()?;
    format.open_options().iter().find(|option| option.name == name)
}
