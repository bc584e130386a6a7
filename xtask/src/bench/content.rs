//! Files to measure with: the same bytes in every run.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

const PART_BYTES: usize = 1 << 20;
const WORDS: usize = 3000;
const BLOCK_BYTES: u64 = 4096;

/// A generator whose numbers never change.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Below `limit`, small ones more often.
    fn skewed(&mut self, limit: usize) -> usize {
        let (a, b) = (self.next() as usize % limit, self.next() as usize % limit);
        a * b / limit
    }
}

/// Writes `bytes` bytes, none of whose blocks is zero: half text, a quarter records of a binary format, a
/// quarter noise.
pub(super) fn write(path: &Path, bytes: u64) -> Result<()> {
    let mut numbers = Numbers(1);
    let words: Vec<Vec<u8>> = (0..WORDS)
        .map(|_| (0..2 + numbers.next() % 9).map(|_| b'a' + (numbers.next() % 26) as u8).collect())
        .collect();
    let mut out = BufWriter::new(create(path)?);
    for part in 0..bytes / PART_BYTES as u64 {
        let content = match part % 4 {
            0 | 2 => text(&mut numbers, &words),
            1 => records(&mut numbers),
            _ => (0..PART_BYTES).map(|_| numbers.next() as u8).collect(),
        };
        out.write_all(&content)?;
    }
    Ok(out.flush()?)
}

/// Writes `bytes` bytes, all alike.
pub(super) fn write_one_byte(path: &Path, bytes: u64) -> Result<()> {
    let (mut out, part) = (create(path)?, vec![0x55; PART_BYTES]);
    for _ in 0..bytes / PART_BYTES as u64 {
        out.write_all(&part)?;
    }
    Ok(())
}

fn text(numbers: &mut Numbers, words: &[Vec<u8>]) -> Vec<u8> {
    let mut content = Vec::with_capacity(PART_BYTES + 16);
    while content.len() < PART_BYTES {
        content.extend_from_slice(&words[numbers.skewed(words.len())]);
        content.push(if numbers.next().is_multiple_of(12) { b'\n' } else { b' ' });
    }
    content.truncate(PART_BYTES);
    content
}

fn records(numbers: &mut Numbers) -> Vec<u8> {
    let mut content = Vec::with_capacity(PART_BYTES + 32);
    let mut key = 1_u64;
    while content.len() < PART_BYTES {
        key += numbers.next() % 100;
        content.extend_from_slice(&key.to_le_bytes());
        content.extend_from_slice(&(numbers.skewed(5000) as u32).to_le_bytes());
        content.extend_from_slice(&[0, (numbers.next() % 4) as u8, 0xff, 1]);
        content.extend_from_slice(&numbers.next().to_le_bytes());
    }
    content.truncate(PART_BYTES);
    content
}

/// Writes `count` blocks of data with a hole behind each.
pub(super) fn write_extents(path: &Path, count: u64) -> Result<()> {
    let file = create(path)?;
    for extent in 0..count {
        file.write_all_at(&[extent as u8 | 1; BLOCK_BYTES as usize], extent * 2 * BLOCK_BYTES)?;
    }
    Ok(file.set_len(count * 2 * BLOCK_BYTES)?)
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot make {}", path.display()))
}
