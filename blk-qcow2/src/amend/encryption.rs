//! Key slots of an encrypted image, added and erased by QEMU's options. The order of writes is that of the
//! LUKS header; nothing else of the image changes.

use std::sync::Arc;
use std::time::Duration;

use blk_core::storage::{PassThrough, SyncGroup};
use blk_core::{Error, Result, Storage};
use blk_luks::KeyslotChange;

use super::{Change, Progress, Request};
use crate::crypt::{Crypt, open_slots};
use crate::qcow2::Qcow2;
use crate::roles::Role;

const NAMES: &[&str] =
    &["encrypt.iter-time", "encrypt.keyslot", "encrypt.new-secret", "encrypt.old-secret", "encrypt.state"];

#[derive(Debug)]
pub(super) struct Encryption;

impl Change for Encryption {
    fn names(&self) -> &'static [&'static str] {
        NAMES
    }

    fn check(&self, image: &Qcow2, request: &Request<'_>) -> Result<bool> {
        let given = NAMES.iter().find(|name| request.options.is_given(name)).unwrap_or(&NAMES[0]);
        match &image.crypt {
            Some(crypt) if crypt.method.header().is_some() => volume_key(crypt).map(|_| true),
            Some(_) => Err(no_slots()),
            None => {
                let reason = "Can't amend encryption options - encryption not present";
                Err(Error::invalid_option(*given, reason))
            }
        }
    }

    fn make(&self, image: &Qcow2, request: &Request<'_>, _: Progress<'_>) -> Result<()> {
        let Some((crypt, extent)) =
            image.crypt.as_ref().and_then(|crypt| Some((crypt, crypt.method.header()?)))
        else {
            return Err(no_slots());
        };
        let key = volume_key(crypt)?;
        let options = &request.options;
        let secret = |name: &str| options.text(name).map(|id| request.resolver.secret(&id)).transpose();
        let change = KeyslotChange {
            becomes_active: options.choice("encrypt.state").map(|state| state == "active"),
            keyslot: options
                .number("encrypt.keyslot")
                .map(|slot| usize::try_from(slot).unwrap_or(usize::MAX)),
            old: secret("encrypt.old-secret")?,
            new: secret("encrypt.new-secret")?,
            iter_time: options.number("encrypt.iter-time").map(Duration::from_millis),
        };
        let mut metadata = image.metadata.write();
        metadata.check_usable()?;
        let geometry = metadata.geometry;
        for cluster in geometry.touched(extent) {
            metadata.check_losing(cluster, Some(Role::EncryptionHeader), "changing the keys")?;
        }
        let synced = Synced { inner: Arc::clone(&image.storage), syncs: Arc::clone(&metadata.syncs) };
        let mut slots = open_slots(&(Arc::new(synced) as _), extent, crypt.means)?;
        let changed = change.make(&mut slots, key, request.force);
        // A sync that failed is final, of whatever it was.
        metadata.syncs.check().map_err(|error| metadata.poison(error))?;
        changed.map_err(prefixed)
    }
}

fn no_slots() -> Error {
    Error::unsupported("changing the encryption of an image without a LUKS header")
}

fn volume_key(crypt: &Crypt) -> Result<&blk_core::Secret> {
    crypt.volume_key()?.ok_or_else(no_slots)
}

/// An error about an option, under the name that it has here.
fn prefixed(error: Error) -> Error {
    match error {
        Error::InvalidOption { name, reason } => Error::invalid_option(format!("encrypt.{name}"), reason),
        other => other,
    }
}

/// The image's storage, whose syncs are those of the image.
#[derive(Debug)]
struct Synced {
    inner: Arc<dyn Storage>,
    syncs: Arc<SyncGroup>,
}

impl PassThrough for Synced {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn sync(&self) -> Result<()> {
        self.syncs.sync(&*self.inner)
    }
}
