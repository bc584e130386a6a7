//! Short requests on a small image, compared with a flat model: what the seeded engine does on our side, here
//! with a bare driver.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::measure::{median, per_second, print};
use crate::medium::{Medium, PREFIX, Storage};

const TIME: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;
const SECTOR_BYTES: u64 = 512;
const SECTORS_MAX: u64 = 8;
/// Requests between two comparisons of everything.
const REQUESTS_PER_ROUND: u64 = 200_000;

pub(crate) fn run(folder: &Path) -> Result<()> {
    for (name, cluster_bytes) in [("64k", 64 << 10), ("4k", 4 << 10), ("512", 512)] {
        let rates: Result<Vec<f64>> = (0..ROUNDS).map(|_| requests(folder, cluster_bytes)).collect();
        print(&format!("{PREFIX}_requests_{name}"), median(rates?));
    }
    let rates: Result<Vec<f64>> = (0..ROUNDS).map(|_| sequences(folder)).collect();
    print(&format!("{PREFIX}_sequences"), median(rates?));
    Ok(())
}

fn requests(folder: &Path, cluster_bytes: usize) -> Result<f64> {
    let medium = Medium::new(folder)?;
    create(&medium, 1 << 20, cluster_bytes)?;
    let mut load = Load::new(open(&medium)?, cluster_bytes as u64);
    let mut rng = SmallRng::seed_from_u64(1);
    per_second(TIME, || {
        for _ in 0..REQUESTS_PER_ROUND {
            load.request(rng.random())?;
        }
        load.disk.flush()?;
        load.compare()?;
        Ok(REQUESTS_PER_ROUND)
    })
}

/// A fresh image each: open, 20 requests, flush, reopen, compare everything.
fn sequences(folder: &Path) -> Result<f64> {
    const CLUSTER_BYTES: usize = 4 << 10;
    let medium = Medium::new(folder)?;
    create(&medium, 256 << 10, CLUSTER_BYTES)?;
    let template = medium.bytes()?;
    let mut rng = SmallRng::seed_from_u64(1);
    per_second(TIME, || {
        for _ in 0..100 {
            medium.set(&template)?;
            let mut load = Load::new(open(&medium)?, CLUSTER_BYTES as u64);
            for _ in 0..20 {
                load.request(rng.random())?;
            }
            load.disk.flush()?;
            load.disk = open(&medium)?;
            load.compare()?;
        }
        Ok(100)
    })
}

fn create(medium: &Medium, size_bytes: u64, cluster_bytes: usize) -> Result<()> {
    let builder = Qcow2::<Storage>::create_builder(medium.storage()?).size(size_bytes);
    Ok(builder.cluster_size(cluster_bytes).create()?)
}

fn open(medium: &Medium) -> Result<FormatAccess<Storage>> {
    let builder = Qcow2::<Storage>::builder(medium.storage()?).write(true);
    Ok(FormatAccess::new(builder.open(DenyImplicitOpenGate::default())?))
}

/// A disk under a random load, and what it has to hold.
struct Load {
    disk: FormatAccess<Storage>,
    model: Vec<u8>,
    cluster_bytes: u64,
    buffer: Vec<u8>,
    count: u64,
}

impl Load {
    fn new(disk: FormatAccess<Storage>, cluster_bytes: u64) -> Self {
        let model = vec![0; disk.size() as usize];
        let buffer = vec![0; (SECTORS_MAX * SECTOR_BYTES) as usize];
        Self { disk, model, cluster_bytes, buffer, count: 0 }
    }

    /// One request, told by one random number.
    #[inline]
    fn request(&mut self, random: u64) -> Result<()> {
        let sectors = self.model.len() as u64 / SECTOR_BYTES;
        let count = (random >> 8) % SECTORS_MAX + 1;
        let (offset, length) = ((random >> 16) % (sectors - count) * SECTOR_BYTES, count * SECTOR_BYTES);
        let buf = &mut self.buffer[..length as usize];
        let model = &mut self.model[offset as usize..(offset + length) as usize];
        self.count += 1;
        match random as u8 % 20 {
            0..8 => {
                self.disk.read(&mut *buf, offset)?;
                ensure!(buf == model, "request {}: wrong bytes between {offset} and +{length}", self.count);
            }
            8..16 => {
                buf.fill(self.count as u8);
                self.disk.write(&*buf, offset)?;
                model.copy_from_slice(buf);
            }
            16 => {
                self.disk.write_zeroes(offset, length)?;
                model.fill(0);
            }
            17 => {
                self.disk.discard_to_zero(offset, length)?;
                model.fill(0);
            }
            _ => {
                self.disk.discard_to_any(offset, length)?;
                self.forget(offset, length);
            }
        }
        Ok(())
    }

    /// Without a backing disk, the whole clusters of a discard read as zeroes, and the rest is kept.
    fn forget(&mut self, offset: u64, length: u64) {
        let start = offset.next_multiple_of(self.cluster_bytes);
        let end = (offset + length) / self.cluster_bytes * self.cluster_bytes;
        if start < end {
            self.model[start as usize..end as usize].fill(0);
        }
    }

    fn compare(&self) -> Result<()> {
        let mut all = vec![0xa5; self.model.len()];
        self.disk.read(&mut all, 0)?;
        ensure!(all == self.model, "the disk differs from the model after {} requests", self.count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_notices_a_lost_write() {
        let folder = tempfile::tempdir().unwrap();
        let medium = Medium::new(folder.path()).unwrap();
        create(&medium, 64 << 10, 4096).unwrap();
        let mut load = Load::new(open(&medium).unwrap(), 4096);
        let mut rng = SmallRng::seed_from_u64(7);
        for _ in 0..200 {
            load.request(rng.random()).unwrap();
        }
        load.compare().unwrap();
        load.model[12_345] ^= 1;
        assert!(load.compare().is_err());
    }
}
