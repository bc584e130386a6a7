//! Adding and erasing key slots of an image, by QEMU's options.

use std::time::Duration;

use blk_core::{Amend, Amendment, Error, OptionKind, OptionSpec, Range, Result, Secret, TypedOptions};

use crate::disk::LuksDisk;
use crate::format::{ITER_TIME, check_new, milliseconds};
use crate::info::NAME;
use crate::slots::KeySlots;

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
        let (old, new) = (secret("old-secret")?, secret("new-secret")?);
        (amendment.progress)(0, 1);
        let mut slots = self.slots.lock();
        match options.choice("state") {
            Some("active") => activate(&mut slots, &options, key, old.as_ref(), new.as_ref())?,
            Some(_) => erase(&mut slots, &options, old.as_ref(), amendment.force)?,
            None => return Err(Error::invalid_option("state", "Parameter 'state' is missing")),
        }
        (amendment.progress)(1, 1);
        Ok(())
    }
}

fn keyslot(options: &TypedOptions) -> Option<usize> {
    options.number("keyslot").map(|slot| usize::try_from(slot).unwrap_or(usize::MAX))
}

fn activate(
    slots: &mut KeySlots,
    options: &TypedOptions,
    key: &Secret,
    old: Option<&Secret>,
    new: Option<&Secret>,
) -> Result<()> {
    let refused = |name, reason: &str| Err(Error::invalid_option(name, reason));
    let Some(new) = new else {
        return refused("new-secret", "'new-secret' is required to activate a keyslot");
    };
    if old.is_some() {
        return refused("old-secret", "'old-secret' must not be given when activating keyslots");
    }
    check_new("new-secret", new)?;
    let iter_time: Duration = milliseconds(options);
    slots.add(keyslot(options), key, new, iter_time).map(drop)
}

fn erase(slots: &mut KeySlots, options: &TypedOptions, old: Option<&Secret>, force: bool) -> Result<()> {
    let refused = |name: &'static str, reason: String| Err(Error::invalid_option(name, reason));
    for name in ["new-secret", "iter-time"] {
        if options.is_given(name) {
            return refused(name, format!("'{name}' must not be given when erasing keyslots"));
        }
    }
    let active = slots.header().slots.iter().filter(|slot| slot.is_active).count();
    let lost = "which will erase all the data in the image irreversibly - refusing operation";
    let chosen = match (old, keyslot(options)) {
        (Some(old), keyslot) => {
            let mut matching = slots.matching(old)?;
            // Both: the slot, if that secret opens it.
            matching.retain(|slot| keyslot.is_none_or(|keyslot| keyslot == *slot));
            if matching.is_empty() {
                let reason = "No keyslots match given (old) password for erase operation";
                return refused("old-secret", reason.to_owned());
            }
            if matching.len() == active && !force {
                let reason =
                    format!("All the active keyslots match the (old) password that was given, {lost}");
                return refused("old-secret", reason);
            }
            matching
        }
        (None, Some(slot)) => match slots.header().slots.get(slot) {
            Some(found) if !found.is_active && !force => {
                let reason = format!(
                    "Given keyslot {slot} is already erased (inactive); with force its material is overwritten"
                );
                return refused("keyslot", reason);
            }
            Some(found) if found.is_active && active == 1 && !force => {
                let reason = format!("Attempt to erase the only active keyslot {slot}, {lost}");
                return refused("keyslot", reason);
            }
            _ => vec![slot],
        },
        (None, None) => {
            let reason = "To erase keyslot(s), either explicit keyslot index or the password currently \
                          contained in them must be given";
            return refused("keyslot", reason.to_owned());
        }
    };
    // One that fails is no reason to keep the others.
    let erased: Vec<_> = chosen.into_iter().map(|slot| slots.erase(slot)).collect();
    erased.into_iter().collect()
}
