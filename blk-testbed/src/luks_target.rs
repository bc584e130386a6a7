//! A LUKS disk in memory against raw in memory. What the host has is looked through for what the disk shows.

use std::collections::HashSet;
use std::sync::Arc;

use blk_core::bytes::SECTOR_BYTES;
use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Extent, Format, Limits, MapResolver, Options,
    Result, Secret, Storage, WriteFlags, ZeroFlags,
};
use blk_harness::driver::{Driver, ImageMaker, Promises, on_host};
use blk_harness::scenario::{Config, Value};
use blk_harness::space::{Geometry, Kind, Knob, Space, no_contradictions, not_tuned};
use blk_luks::{Header, LuksFormat, Repeatable};

use crate::initial;

/// The format with keys of two stripes and the fewest iterations: an image is made in no time.
pub(crate) static QUICK: LuksFormat = LuksFormat::new(&Repeatable::new(1)).with_stripes(2);

/// What LUKS disks are made with. Requests go around the edges of sectors, and through them now and then.
pub static LUKS: Space = Space {
    name: "luks",
    knobs: &[
        Knob::new(
            "cipher-mode",
            Kind::Choice(&["xts", "cbc", "ctr", "ecb"]),
            Some(Value::Switch(false)),
            const {
                &[
                    (6, None),
                    (3, Some(Value::name("cbc"))),
                    (1, Some(Value::name("ctr"))),
                    (1, Some(Value::name("ecb"))),
                ]
            },
        ),
        Knob::new(
            "ivgen-alg",
            Kind::Choice(&["plain64", "essiv", "plain"]),
            Some(Value::Switch(false)),
            const { &[(3, None), (1, Some(Value::name("essiv"))), (1, Some(Value::name("plain")))] },
        ),
    ],
    ignored: &[],
    old_header: None,
    unit: None,
    backing_option: None,
    legalize: no_contradictions,
    geometry: |_| Geometry {
        unit_bytes: SECTOR_BYTES,
        table_reach_bytes: 256 << 10,
        alignment_bytes: SECTOR_BYTES,
        size_is_file_length: true,
        is_dense: true,
        amendments: &[],
        ..Geometry::default()
    },
    described: None,
    tune: not_tuned,
};

/// A LUKS image under test, a raw disk in memory as the reference.
#[derive(Debug, Clone, Copy, Default)]
pub struct LuksTarget {
    /// The size stays as it is: a crash while a disk grows may leave noise in what it gains.
    pub is_rigid: bool,
}

/// LUKS images of one configuration.
#[derive(Debug)]
struct LuksImages {
    config: Config,
    is_rigid: bool,
}

impl Driver for LuksTarget {
    fn name(&self) -> &'static str {
        "verify_luks"
    }

    fn space(&self) -> &'static Space {
        &LUKS
    }

    fn promises(&self, _config: &Config) -> Promises {
        Promises {
            zeroes_keep_place: true,
            reuses: true,
            rests_after_flush: true,
            works_on_aligned_hosts: true,
            ..Promises::default()
        }
    }

    /// Looking through an image takes no other program.
    fn asks_one_in(&self) -> u64 {
        20
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        let images = LuksImages { config: config.clone(), is_rigid: self.is_rigid };
        Ok(on_host(Box::new(images), config))
    }
}

/// Knows the one passphrase.
pub(crate) fn secrets() -> MapResolver {
    let mut resolver = MapResolver::default();
    resolver.insert_secret("key", Secret::from(b"passphrase".to_vec()));
    resolver
}

pub(crate) fn key() -> Options {
    Options::new().with("key-secret", "key")
}

impl ImageMaker for LuksImages {
    /// A new disk is noise, the reference is zeroes.
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        let given = self.config.options.iter();
        let options = given.fold(key(), |options, (name, value)| options.with(name, value.to_string()));
        QUICK.create_with(storage, self.config.size_bytes, options, &secrets())?;
        let disk = self.open(Arc::clone(storage))?;
        disk.write_zeroes(Extent::new(0, disk.size()), ZeroFlags::default())?;
        disk.close()
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let disk = QUICK.open(storage, Access::ReadWrite, key(), &secrets())?;
        Ok(if self.is_rigid { Disk::new(Rigid(disk), Access::ReadWrite) } else { disk })
    }

    fn reference(&self) -> Result<Disk> {
        initial::reference_over(self.config.size_bytes, None)
    }

    /// Nothing that the disk shows is on the host.
    fn second_opinion(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        shown_in_plain(storage, reference).map_err(|error| error.to_string())?.map_or(Ok(()), |offset| {
            Err(format!("the host has 16 bytes of the disk at {offset} as they are, or zeroes"))
        })
    }
}

/// Bytes that are looked for as one: a block of the cipher.
const BLOCK_BYTES: usize = 16;
/// How much of a large disk is looked at, bytes.
const LOOKED_BYTES_MAX: u64 = 4 << 20;

/// Where, in the payload on the host, a block stands that the disk shows somewhere.
fn shown_in_plain(storage: &dyn Storage, reference: &Disk) -> Result<Option<u64>> {
    let start = Header::read(storage, 0)?.payload_offset;
    let length = reference.size().min(LOOKED_BYTES_MAX);
    let (mut plain, mut host) = (vec![0; length as usize], vec![0; length as usize]);
    reference.read(0, &mut plain)?;
    storage.read_at(start, &mut host)?;
    let shown: HashSet<&[u8; BLOCK_BYTES]> = plain.as_chunks().0.iter().collect();
    let found = host.as_chunks().0.iter().position(|block| shown.contains(block));
    Ok(found.map(|index| start + (index * BLOCK_BYTES) as u64))
}

/// A disk that does not change its size.
#[derive(Debug)]
struct Rigid(Disk);

impl BlockDriver for Rigid {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn limits(&self) -> Limits {
        *self.0.limits()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.0.write(offset, buf, flags)
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        self.0.discard(extent, flags)
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        self.0.block_status(extent)
    }

    fn close(&self) -> Result<()> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_core::MemoryStorage;

    /// The oracle is able to see.
    #[test]
    fn plain_text_on_the_host_is_found() {
        let images = LuksImages { config: Config { size_bytes: 8192, ..Config::default() }, is_rigid: false };
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        images.create(&storage).unwrap();
        let reference = images.reference().unwrap();
        for disk in [&reference, &images.open(Arc::clone(&storage)).unwrap()] {
            disk.write(512, &[b"0123456789abcdef".as_slice(); 32].concat(), WriteFlags::default()).unwrap();
        }
        assert_eq!(shown_in_plain(&*storage, &reference).unwrap(), None);
        let payload = Header::read(&*storage, 0).unwrap().payload_offset;
        storage.write_at(payload + 4096, b"0123456789abcdef").unwrap();
        assert_eq!(shown_in_plain(&*storage, &reference).unwrap(), Some(payload + 4096));
        storage.punch_hole(Extent::new(payload + 1024, 512)).unwrap();
        assert!(images.second_opinion(&*storage, &reference).unwrap_err().contains("zeroes"));
    }
}
