//! How a new image is encrypted.

use std::sync::Arc;
use std::time::Duration;

use blk_core::{Error, Resolver, Result, Secret, Storage, TypedOptions};
use blk_luks::{KeySlots, Parameters, check_new_passphrase};

use crate::crypt::{Crypt, Means, NewKey};
use crate::header::Encryption;
use crate::offset::HostOffset;
use crate::open_options::no_secret;

/// What makes the keys of new images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyMaking {
    /// In how many stripes a key is split.
    pub(crate) stripes: u32,
    /// The fewest iterations of a hash.
    pub(crate) iterations_min: u32,
}

/// What makes new images, besides their options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Maker<'a> {
    pub(crate) means: Means,
    pub(crate) key: KeyMaking,
    /// Who knows the secrets.
    pub(crate) resolver: &'a dyn Resolver,
}

#[cfg(test)]
impl Maker<'static> {
    /// One that knows no secret.
    pub(crate) fn without_keys() -> Self {
        let means = Means { environment: &blk_luks::System, rounds_max: 0 };
        Self { means, key: KeyMaking { stripes: 1, iterations_min: 1 }, resolver: &blk_core::DenyResolver }
    }
}

/// How a new image is encrypted, and the passphrase.
#[derive(Debug)]
pub(super) struct NewEncryption {
    /// Of a LUKS header; the old method has none.
    parameters: Option<Parameters>,
    passphrase: Secret,
}

/// The method that the options ask for.
fn method(options: &TypedOptions) -> Option<&'static str> {
    let old = options.switch("encryption") == Some(true);
    options.choice("encrypt.format").or(old.then_some("aes"))
}

/// The parameters of the LUKS header that the options ask for.
fn parameters(options: &TypedOptions) -> Result<Parameters> {
    let parameters = Parameters::of_words(|name| options.choice(&format!("encrypt.{name}")));
    let parameters = parameters.map_err(|error| match error {
        Error::InvalidOption { name, reason } => Error::invalid_option(format!("encrypt.{name}"), reason),
        other => other,
    })?;
    let iter_time = options.number("encrypt.iter-time").map(Duration::from_millis);
    Ok(Parameters { iter_time: iter_time.unwrap_or(parameters.iter_time), ..parameters })
}

/// Bytes of the header of the encryption of an image that is only measured.
pub(crate) fn measured_header_bytes(options: &TypedOptions) -> Result<u64> {
    if options.choice("encrypt.format") != Some("luks") {
        return Ok(0);
    }
    if !options.is_given("encrypt.key-secret") {
        return Err(no_secret());
    }
    Ok(parameters(options)?.header_bytes())
}

impl NewEncryption {
    /// What the options say; `None` for an image that is not encrypted.
    pub(super) fn of(options: &TypedOptions, maker: &Maker<'_>) -> Result<Option<Self>> {
        let secret = options.text("encrypt.key-secret");
        let Some(method) = method(options) else {
            if secret.is_some() {
                let reason = "Parameter 'encrypt.format' is missing";
                return Err(Error::invalid_option("encrypt.key-secret", reason));
            }
            return Ok(None);
        };
        let parameters = if method == "luks" {
            let KeyMaking { stripes, iterations_min } = maker.key;
            Some(Parameters { stripes, iterations_min, ..parameters(options)? })
        } else {
            None
        };
        let passphrase = maker.resolver.secret(&secret.ok_or_else(no_secret)?)?;
        check_new_passphrase("encrypt.key-secret", &passphrase)?;
        Ok(Some(Self { parameters, passphrase }))
    }

    /// Bytes of its header.
    pub(super) fn header_bytes(&self) -> u64 {
        self.parameters.as_ref().map_or(0, Parameters::header_bytes)
    }

    /// The method, with its header at `at`.
    pub(super) fn method(&self, at: HostOffset) -> Encryption {
        match self.parameters {
            Some(_) => Encryption::Luks(at.with_length(self.header_bytes())),
            None => Encryption::Aes,
        }
    }

    /// Writes its header, and returns what encrypts the data.
    pub(super) fn write_header(
        &self,
        storage: &Arc<dyn Storage>,
        method: Encryption,
        means: Means,
    ) -> Result<Crypt> {
        let key = match (&self.parameters, method.header()) {
            (Some(parameters), Some(extent)) => {
                let (at, environment) = (extent.start.get(), means.environment);
                let storage = Arc::clone(storage);
                let (_, key) = KeySlots::create(storage, at, parameters, &self.passphrase, environment)?;
                NewKey::Volume(parameters.algorithms, key)
            }
            _ => NewKey::Passphrase(&self.passphrase),
        };
        Crypt::of_new(method, means, key)
    }
}
