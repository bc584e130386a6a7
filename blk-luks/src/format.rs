//! The format as programs plug it in.

use std::sync::Arc;
use std::time::Duration;

use blk_core::storage::{Step, for_any_alignment, write_zeroes_as_data};
use blk_core::{
    Access, DenyResolver, Disk, Error, Extent, Format, Measure, OptionKind, OptionSpec, Options,
    Preallocation, Probe, Range, Resolver, Result, Secret, Storage, TypedOptions,
};

use crate::algorithm::{Cipher, IvGenerator, Mode};
use crate::amend;
use crate::cipher::{SECTOR_BYTES, SectorCipher};
use crate::disk::{LuksDisk, Unlocked, file_bytes, size_in};
use crate::environment::{Environment, System};
use crate::hash::Hash;
use crate::header::{Header, ROUNDS_MAX};
use crate::info::NAME;
use crate::one_sync::OneSync;
use crate::slots::{KeySlots, Parameters, STRIPES, check_new_passphrase};
use crate::steps;

/// The LUKS format, for a [`blk_core::Registry`].
pub static FORMAT: &dyn Format = &LuksFormat::new(&System);

/// The LUKS format, with what it takes from outside.
#[derive(Debug, Clone, Copy)]
pub struct LuksFormat {
    environment: &'static dyn Environment,
    stripes: u32,
    rounds_max: u64,
}

/// How long a passphrase is hashed.
pub(crate) const ITER_TIME: OptionSpec = OptionSpec::new(
    "iter-time",
    OptionKind::Number(Range::from_to(0, 3_600_000)),
    "Time to spend in PBKDF in milliseconds",
)
.with_default("2000");

static OPEN_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("key-secret", OptionKind::Text, "ID of the secret that provides the passphrase"),
    OptionSpec::new("header", OptionKind::Text, "file that the header lies in, if not before the data")
        .that_selects_content(),
    OptionSpec::new("locked", OptionKind::Switch, "look at the header without the key; nothing else works")
        .with_default("off"),
];

/// Those of QEMU's luks format and of the file under it.
static CREATE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::disk_size(Range::ANY),
    OptionSpec::new("key-secret", OptionKind::Text, "ID of the secret that provides the keyslot passphrase"),
    OptionSpec::new("cipher-alg", OptionKind::Choice(&Cipher::NAMES), "Name of encryption cipher algorithm")
        .with_default("aes-256"),
    OptionSpec::new("cipher-mode", OptionKind::Choice(&Mode::NAMES), "Name of encryption cipher mode")
        .with_default("xts"),
    OptionSpec::new("ivgen-alg", OptionKind::Choice(&IvGenerator::NAMES), "Name of IV generator algorithm")
        .with_default("plain64"),
    OptionSpec::new(
        "ivgen-hash-alg",
        OptionKind::Choice(&Hash::NAMES),
        "Name of IV generator hash algorithm",
    ),
    OptionSpec::new("hash-alg", OptionKind::Choice(&Hash::NAMES), "Name of encryption hash algorithm")
        .with_default("sha256"),
    ITER_TIME,
    OptionSpec::new("detached-header", OptionKind::Switch, "Create a detached LUKS header")
        .with_default("off"),
    OptionSpec::new(
        "preallocation",
        OptionKind::Choice(&["off", "metadata", "falloc", "full"]),
        "What is allocated at creation",
    )
    .with_default("off"),
];

impl LuksFormat {
    /// Images as QEMU makes them.
    pub const fn new(environment: &'static dyn Environment) -> Self {
        Self { environment, stripes: STRIPES, rounds_max: ROUNDS_MAX }
    }

    /// New images have keys of so many stripes, as QEMU does not read them: small images for tests.
    #[must_use]
    pub const fn with_stripes(self, stripes: u32) -> Self {
        assert!(stripes > 0, "a key has a stripe");
        Self { stripes, ..self }
    }

    /// At most so many rounds of a hash are made to open an image: for tests, which are not to wait.
    #[must_use]
    pub const fn with_rounds_max(self, rounds_max: u64) -> Self {
        Self { rounds_max, ..self }
    }

    fn parameters(&self, options: &TypedOptions) -> Result<Parameters> {
        let parameters = Parameters::of_words(|name| options.choice(name))?;
        Ok(Parameters {
            iter_time: milliseconds(options),
            stripes: self.stripes,
            is_detached: options.switch("detached-header") == Some(true),
            ..parameters
        })
    }

    fn open_slots(
        &self,
        storage: &Arc<dyn Storage>,
        header: Option<&str>,
        access: Access,
        resolver: &dyn Resolver,
    ) -> Result<KeySlots> {
        let storage = match header {
            Some(name) => for_any_alignment(resolver.open_storage(name, access)?),
            None => Arc::clone(storage),
        };
        let slots = KeySlots::open(storage, 0, self.environment)?.with_rounds_max(self.rounds_max);
        if header.is_none() {
            slots.header().check_payload(0)?;
        }
        Ok(slots)
    }
}

/// How long a passphrase is to be hashed.
pub(crate) fn milliseconds(options: &TypedOptions) -> Duration {
    Duration::from_millis(options.number("iter-time").expect("it has a default"))
}

fn passphrase(options: &TypedOptions, resolver: &dyn Resolver) -> Result<Secret> {
    match options.text("key-secret") {
        Some(id) => resolver.secret(&id),
        None => Err(Error::invalid_option("key-secret", "Parameter 'key-secret' is required for cipher")),
    }
}

impl Format for LuksFormat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self, probe: &Probe<'_>) -> u8 {
        if Header::is_here(probe.start) { 100 } else { 0 }
    }

    fn open(
        &self,
        storage: Arc<dyn Storage>,
        access: Access,
        options: Options,
        resolver: &dyn Resolver,
    ) -> Result<Disk> {
        let options = options.typed(NAME, OPEN_OPTIONS)?;
        let storage = Arc::new(OneSync::new(for_any_alignment(storage)));
        let header = options.text("header");
        let slots = self.open_slots(&(Arc::clone(&storage) as _), header.as_deref(), access, resolver)?;
        // What costs nothing to find out comes before the work.
        let size = size_in(&*storage, slots.header().payload_offset)?;
        let unlocked = if options.switch("locked") == Some(true) {
            None
        } else {
            let passphrase = passphrase(&options, resolver)?;
            let (_, key) = slots.unlock(&passphrase)?.ok_or_else(|| {
                Error::invalid_option("key-secret", "Invalid password, cannot unlock any keyslot")
            })?;
            Some(Unlocked { cipher: SectorCipher::new(slots.header().algorithms, key.expose())?, key })
        };
        Ok(Disk::new(LuksDisk::new(storage, size, slots, unlocked, header.is_some()), access))
    }

    /// Needs a secret, and so [`Format::create_with`].
    fn create(&self, storage: &Arc<dyn Storage>, size: u64, options: Options) -> Result<()> {
        self.create_with(storage, size, options, &DenyResolver)
    }

    /// The new disk is noise: what the host has, decrypted. Its size is rounded up to whole sectors.
    fn create_with(
        &self,
        storage: &Arc<dyn Storage>,
        size: u64,
        options: Options,
        resolver: &dyn Resolver,
    ) -> Result<()> {
        let options = options.typed(NAME, CREATE_OPTIONS)?;
        let parameters = self.parameters(&options)?;
        let passphrase = passphrase(&options, resolver)?;
        check_new_passphrase("key-secret", &passphrase)?;
        let preallocation: Preallocation =
            options.choice("preallocation").map_or(Ok(Preallocation::Off), str::parse)?;
        let storage = for_any_alignment(Arc::clone(storage));
        let header_bytes = parameters.header_bytes();
        let size = if parameters.is_detached { 0 } else { size };
        let length = file_bytes(header_bytes, size)?;
        replace(&*storage, length)?;
        KeySlots::create(Arc::clone(&storage), 0, &parameters, &passphrase, self.environment)?;
        let payload = Extent::between(header_bytes, length);
        match preallocation {
            // There is no other metadata than the header.
            Preallocation::Off | Preallocation::Metadata => Ok(()),
            Preallocation::Falloc => storage.write_zeroes_at(payload),
            Preallocation::Full => write_zeroes_as_data(&*storage, payload),
        }
    }

    fn open_options(&self) -> &'static [OptionSpec] {
        OPEN_OPTIONS
    }

    fn create_options(&self) -> &'static [OptionSpec] {
        CREATE_OPTIONS
    }

    fn amend_options(&self) -> &'static [OptionSpec] {
        amend::OPTIONS
    }

    fn steps(&self) -> &'static [&'static Step] {
        &steps::ALL
    }

    fn starts_as_noise(&self) -> bool {
        true
    }

    fn measure(&self, size: u64, options: Options) -> Result<Measure> {
        let options = options.typed_of_others(NAME, CREATE_OPTIONS)?;
        let header_bytes = self.parameters(&options)?.header_bytes();
        let fully_allocated = size.checked_next_multiple_of(SECTOR_BYTES as u64);
        let fully_allocated = fully_allocated.and_then(|size| size.checked_add(header_bytes));
        let fully_allocated = fully_allocated.ok_or(Error::OutOfRange {
            offset: header_bytes,
            length: size,
            size: i64::MAX as u64,
        })?;
        Ok(Measure { fully_allocated, unit_bytes: 1, allocates_all: true, bitmaps: false })
    }
}

/// Makes the storage so long, and empty where it can be; one of fixed length has to be long enough.
fn replace(storage: &dyn Storage, length: u64) -> Result<()> {
    match storage.set_len(0).and_then(|()| storage.set_len(length)) {
        Err(Error::Unsupported { .. }) => {
            let found = storage.len()?;
            if found >= length {
                return Ok(());
            }
            let what = format!("{length} bytes are needed, the storage has {found} and cannot grow");
            Err(Error::NoSpace { what: what.into() })
        }
        done => done,
    }
}
