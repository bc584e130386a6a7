//! Adding and erasing key slots of an image, by QEMU's options.

use blk_core::{Amend, Amendment, OptionKind, OptionSpec, Range, Result};

use crate::disk::LuksDisk;
use crate::format::{ITER_TIME, milliseconds};
use crate::info::NAME;
use crate::keyslots::KeyslotChange;

/// The options, as QEMU has them.
pub(crate) static OPTIONS: &[OptionSpec] = &[
    ITER_TIME,
    OptionSpec::new(
        "keyslot",
        OptionKind::Number(Range::ANY),
        "Select a single keyslot to modify explicitly",
    ),
    OptionSpec::new(
        "new-secret",
        OptionKind::Text,
        "New secret to set in the matching keyslots. Empty string to erase",
    ),
    OptionSpec::new("old-secret", OptionKind::Text, "Select all keyslots that match this password"),
    OptionSpec::new(
        "state",
        OptionKind::Choice(&["active", "inactive"]),
        "Select new state of affected keyslots",
    ),
];

impl Amend for LuksDisk {
    fn amend(&self, amendment: Amendment<'_>) -> Result<()> {
        let options = amendment.options.clone().typed(NAME, OPTIONS)?;
        let key = &self.unlocked()?.key;
        let secret = |name: &str| options.text(name).map(|id| amendment.resolver.secret(&id)).transpose();
        let change = KeyslotChange {
            becomes_active: options.choice("state").map(|state| state == "active"),
            keyslot: options.number("keyslot").map(|slot| usize::try_from(slot).unwrap_or(usize::MAX)),
            old: secret("old-secret")?,
            new: secret("new-secret")?,
            iter_time: options.is_given("iter-time").then(|| milliseconds(&options)),
        };
        (amendment.progress)(0, 1);
        change.make(&mut self.slots.lock(), key, amendment.force)?;
        (amendment.progress)(1, 1);
        Ok(())
    }
}
