//! Compressed writes in two steps, so that several threads may compress while the order of what is written is
//! kept.

use crate::{Disk, Error, Result, WriteFlags};

/// Writing compressed data in two steps.
pub trait Compress {
    /// What is compressed as a whole, bytes: the cluster size. Only the last unit of the disk may be shorter.
    fn unit_bytes(&self) -> u64;

    /// Compresses one unit. `None` where it does not become smaller. Neither reads nor changes the disk.
    fn compress(&self, unit: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Writes one unit as [`crate::WriteFlags::compressed`] does; `packed` is what [`Compress::compress`] has
    /// made of it.
    fn write_packed(&self, offset: u64, unit: &[u8], packed: Option<&[u8]>) -> Result<()>;
}

/// What a unit becomes when compressed; made by [`Disk::compress`].
#[derive(Debug)]
pub struct Compressed {
    /// `None`: it has to be written as it is, or by a driver that compresses while it writes.
    packed: Option<Vec<u8>>,
    /// The driver has tried.
    is_tried: bool,
}

impl Disk {
    /// Compresses one unit for [`Disk::write_compressed`] of the same disk. It is at most as long as the
    /// driver's unit, where the driver has [`Compress`]; another one compresses while it writes.
    pub fn compress(&self, unit: &[u8]) -> Result<Compressed> {
        let Some(ability) = self.driver().as_compress() else {
            return Ok(Compressed { packed: None, is_tried: false });
        };
        if unit.is_empty() || unit.len() as u64 > ability.unit_bytes() {
            let alignment = ability.unit_bytes();
            return Err(Error::Misaligned { offset: 0, length: unit.len() as u64, alignment });
        }
        Ok(Compressed { packed: ability.compress(unit)?, is_tried: true })
    }

    /// Writes one unit, at a multiple of its size, as what [`Disk::compress`] has made of it.
    pub fn write_compressed(&self, offset: u64, unit: &[u8], compressed: &Compressed) -> Result<()> {
        let Compressed { packed, is_tried } = compressed;
        let ability = self.driver().as_compress().filter(|_| *is_tried);
        let Some(ability) = ability else {
            return self.write(offset, unit, WriteFlags { compressed: true, ..WriteFlags::default() });
        };
        let length = unit.len() as u64;
        self.check_write(offset, length)?;
        let alignment = ability.unit_bytes();
        let is_whole = length == alignment || (length < alignment && offset + length == self.size());
        if !offset.is_multiple_of(alignment) || !is_whole {
            return Err(Error::Misaligned { offset, length, alignment });
        }
        ability.write_packed(offset, unit, packed.as_deref())
    }
}
