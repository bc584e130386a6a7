//! What can be done with the key slots of a volume that was opened: one more passphrase, or one less.

use std::time::Duration;

use blk_core::{Error, Result, Secret};

use crate::slots::{ITER_TIME, KeySlots, check_new_passphrase};

/// A change of key slots, by the options that QEMU has for it.
#[derive(Debug, Clone, Default)]
pub struct KeyslotChange {
    /// `state`: whether slots become active or inactive.
    pub becomes_active: Option<bool>,
    /// `keyslot`: which one.
    pub keyslot: Option<usize>,
    /// `old-secret`: all slots that this passphrase opens.
    pub old: Option<Secret>,
    /// `new-secret`: what opens the slot afterwards.
    pub new: Option<Secret>,
    /// `iter-time`: how long the new passphrase is hashed, where that is given.
    pub iter_time: Option<Duration>,
}

impl KeyslotChange {
    /// Makes the change, durably; `key` is the volume's. What may lose all data is done with `force` alone.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] says which of the options cannot be so; nothing has changed then. Else those
    /// of [`KeySlots::add`] and [`KeySlots::erase`].
    pub fn make(&self, slots: &mut KeySlots, key: &Secret, force: bool) -> Result<()> {
        match self.becomes_active {
            Some(true) => self.activate(slots, key),
            Some(false) => self.erase(slots, force),
            None => refused("state", "Parameter 'state' is missing"),
        }
    }

    fn activate(&self, slots: &mut KeySlots, key: &Secret) -> Result<()> {
        let Some(new) = &self.new else {
            return refused("new-secret", "'new-secret' is required to activate a keyslot");
        };
        if self.old.is_some() {
            return refused("old-secret", "'old-secret' must not be given when activating keyslots");
        }
        check_new_passphrase("new-secret", new)?;
        slots.add(self.keyslot, key, new, self.iter_time.unwrap_or(ITER_TIME)).map(drop)
    }

    fn erase(&self, slots: &mut KeySlots, force: bool) -> Result<()> {
        for (name, is_given) in [("new-secret", self.new.is_some()), ("iter-time", self.iter_time.is_some())]
        {
            if is_given {
                return refused(name, format!("'{name}' must not be given when erasing keyslots"));
            }
        }
        // One that fails is no reason to keep the others.
        let erased: Vec<_> = self.chosen(slots, force)?.into_iter().map(|slot| slots.erase(slot)).collect();
        erased.into_iter().collect()
    }

    /// The slots that are to be erased.
    fn chosen(&self, slots: &KeySlots, force: bool) -> Result<Vec<usize>> {
        let active = slots.header().slots.iter().filter(|slot| slot.is_active).count();
        let lost = "which will erase all the data in the image irreversibly - refusing operation";
        match (&self.old, self.keyslot) {
            (Some(old), keyslot) => {
                let mut matching = slots.matching(old)?;
                // Both: the slot, if that secret opens it.
                matching.retain(|slot| keyslot.is_none_or(|keyslot| keyslot == *slot));
                if matching.is_empty() {
                    return refused(
                        "old-secret",
                        "No keyslots match given (old) password for erase operation",
                    );
                }
                if matching.len() == active && !force {
                    let reason =
                        format!("All the active keyslots match the (old) password that was given, {lost}");
                    return refused("old-secret", reason);
                }
                Ok(matching)
            }
            (None, Some(slot)) => match slots.header().slots.get(slot) {
                Some(found) if !found.is_active && !force => {
                    let reason = format!(
                        "Given keyslot {slot} is already erased (inactive); with force its material is \
                         overwritten"
                    );
                    refused("keyslot", reason)
                }
                Some(found) if found.is_active && active == 1 && !force => {
                    refused("keyslot", format!("Attempt to erase the only active keyslot {slot}, {lost}"))
                }
                _ => Ok(vec![slot]),
            },
            (None, None) => {
                let reason = "To erase keyslot(s), either explicit keyslot index or the password currently \
                              contained in them must be given";
                refused("keyslot", reason)
            }
        }
    }
}

fn refused<T>(name: &'static str, reason: impl Into<String>) -> Result<T> {
    Err(Error::invalid_option(name, reason))
}
