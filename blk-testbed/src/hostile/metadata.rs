//! What requests do to the metadata of an image, read from its bytes without the driver.
//!
//! A hostile mapping leads a request anywhere: onto a refcount block, another guest cluster's L2 table, a
//! snapshot. Whatever it leads to, the request changes the entries of its own guest clusters, the counts of
//! what these refer to, and what was free; it may be refused; all else stays as it was.

use std::collections::{BTreeMap, BTreeSet};

use blk_core::Extent;

use super::bytes::number;

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const EXTENSION_BITMAPS: u64 = 0x2385_2875;
/// Bits of the incompatible features that a driver sets and clears: dirty and corrupt.
const MARKS: u64 = 3;
/// The bit of the incompatible features that says that L2 entries are extended.
const EXTENDED_L2: u64 = 1 << 4;
/// Fields of the header that requests change: where the refcount table lies, and the autoclear bits.
const HEADER_FIELDS: [(usize, usize); 2] = [(48, 12), (88, 8)];
const INCOMPATIBLE: usize = 72;
/// What is said of the directory of bitmaps.
const DIRECTORY: &str = "the directory of bitmaps";
/// Bytes of an entry of the directory of bitmaps without extra data and name.
const BITMAP_BYTES: usize = 24;
/// Bytes of an entry of the snapshot table without its texts.
const SNAPSHOT_BYTES: usize = 40;

/// What a host cluster holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Header,
    /// The active L1 table; the entries of this cluster begin with this one.
    L1 {
        first: usize,
    },
    /// The L2 table of this entry of the active L1 table.
    L2 {
        l1_index: usize,
    },
    RefcountTable {
        first: usize,
    },
    /// The block of this entry of the refcount table.
    RefcountBlock {
        index: usize,
    },
    /// What requests never change.
    Kept(&'static str),
}

/// The metadata of an image before requests.
#[derive(Debug)]
pub(super) struct Metadata {
    image: Vec<u8>,
    cluster_bytes: usize,
    /// 16 with bitmaps of subclusters, else 8.
    l2_entry_bytes: usize,
    refcount_bits: usize,
    owners: BTreeMap<usize, Vec<Owner>>,
    /// Guest clusters that requests have named.
    named: BTreeSet<usize>,
    /// Host clusters that their entries, and their tables, referred to.
    referred: BTreeSet<usize>,
}

impl Metadata {
    /// Walks all structures of an image, as far as they lie in it; tables of snapshots below their L1 tables
    /// only if asked for, because no driver has to know them. An image that opens is expected.
    pub(super) fn of(image: Vec<u8>, has_inactive_l2: bool) -> Self {
        let version = number(&image, 4, 4);
        let refcount_order = if version >= 3 { number(&image, 96, 4) } else { 4 };
        let mut metadata = Self {
            cluster_bytes: 1 << number(&image, 20, 4).clamp(9, 21),
            l2_entry_bytes: if version >= 3 && number(&image, 72, 8) & EXTENDED_L2 != 0 { 16 } else { 8 },
            refcount_bits: 1 << refcount_order.min(6),
            owners: BTreeMap::new(),
            named: BTreeSet::new(),
            referred: BTreeSet::new(),
            image,
        };
        metadata.own(0, 1, |_| Owner::Header);
        metadata.walk_active();
        metadata.walk_refcounts();
        metadata.walk_snapshots(has_inactive_l2);
        metadata.walk_bitmaps();
        metadata
    }

    /// Length of a cluster, bytes.
    pub(super) fn cluster_bytes(&self) -> u64 {
        self.cluster_bytes as u64
    }

    /// A request names a range of the disk.
    pub(super) fn name(&mut self, extent: Extent) {
        if extent.is_empty() {
            return;
        }
        let cluster = self.cluster_bytes as u64;
        let (first, end) = (extent.offset / cluster, extent.end().div_ceil(cluster));
        for guest in first..end {
            if self.named.insert(guest as usize) {
                self.refer(guest as usize);
            }
        }
    }

    /// What of `after` is not as it was and has to be.
    ///
    /// # Errors
    /// The structure, and where it differs.
    pub(super) fn judge(&self, after: &[u8]) -> Result<(), String> {
        for (cluster, owners) in &self.owners {
            let at = cluster * self.cluster_bytes;
            let (before, now) =
                (part(&self.image, at, self.cluster_bytes), part(after, at, self.cluster_bytes));
            if before == now {
                continue;
            }
            let judged = match owners[..] {
                [owner] => self.judge_cluster(owner, after, &before, &now),
                // The corrupt bit is set wherever else the header is claimed.
                _ if owners.contains(&Owner::Header) => judge_header(&before, &now),
                _ => Err(format!("{owners:?} share a cluster, and it")),
            };
            judged.map_err(|what| format!("{what} was changed, host offset {at:#x}"))?;
        }
        Ok(())
    }

    fn judge_cluster(&self, owner: Owner, after: &[u8], before: &[u8], now: &[u8]) -> Result<(), String> {
        match owner {
            Owner::Header => judge_header(before, now),
            Owner::L1 { first } => self.judge_l1_table(first, before, now),
            Owner::L2 { l1_index } => self.judge_l2_table(l1_index, after, before, now),
            // Another table is in use, and this one is free.
            Owner::RefcountTable { .. } if number(after, 48, 8) != number(&self.image, 48, 8) => Ok(()),
            Owner::RefcountTable { first } => entries_stay(before, now, |at| number(before, at * 8, 8) == 0)
                .map_err(|at| format!("entry {} of the refcount table", first + at)),
            Owner::RefcountBlock { index } => self.judge_refcount_block(index, before, now),
            // Another directory is in use, or this one has marks: bit 0 of flags.
            Owner::Kept(DIRECTORY) if directory(after) != directory(&self.image) => Ok(()),
            Owner::Kept(DIRECTORY)
                if before.iter().zip(now).all(|(old, new)| new == old || *new == old | 1) =>
            {
                Ok(())
            }
            Owner::Kept(what) => Err(what.to_owned()),
        }
    }

    /// A table that is the disk's alone is changed in place; another one is copied. What follows the last
    /// entry is unused.
    fn judge_l1_table(&self, first: usize, before: &[u8], now: &[u8]) -> Result<(), String> {
        let named: BTreeSet<usize> = self.named.iter().map(|guest| guest / self.l2_entries()).collect();
        let count = number(&self.image, 36, 4) as usize;
        let entry = |table: &[u8], at: usize| number(table, at * 8, 8);
        let is_own =
            |entry: u64| entry & COPIED != 0 && (entry & !COPIED).is_multiple_of(self.cluster_bytes as u64);
        let is_replaced = |at: usize| entry(before, at) & COPIED == 0 && is_own(entry(now, at));
        let may_change =
            |at: usize| first + at >= count || (named.contains(&(first + at)) && is_replaced(at));
        entries_stay(before, now, may_change)
            .map_err(|at| format!("entry {} of the L1 table, which no request may change so,", first + at))
    }

    fn judge_l2_table(&self, l1_index: usize, after: &[u8], before: &[u8], now: &[u8]) -> Result<(), String> {
        let entry = number(&self.image, 40, 8) as usize + l1_index * 8;
        let is_named = |at: usize| self.named.contains(&(l1_index * self.l2_entries() + at));
        let is_replaced = number(after, entry, 8) & OFFSET != number(&self.image, entry, 8) & OFFSET;
        if is_replaced && (0..self.l2_entries()).any(is_named) {
            return Ok(());
        }
        let words = self.l2_entry_bytes / 8;
        entries_stay(before, now, |word| is_named(word / words))
            .map_err(|word| word / words)
            .map_err(|at| format!("entry {at} of the L2 table {l1_index}, which no request may change,"))
    }

    /// Counts of clusters that were in use, and that no request has to do with, stay.
    fn judge_refcount_block(&self, index: usize, before: &[u8], now: &[u8]) -> Result<(), String> {
        let per_block = self.cluster_bytes * 8 / self.refcount_bits;
        let count = |block: &[u8], at: usize| refcount(block, at, self.refcount_bits);
        let is_wrong = |at: &usize| {
            let (old, new) = (count(before, *at), count(now, *at));
            old != new && old != 0 && !self.referred.contains(&(index * per_block + at))
        };
        match (0..per_block).find(is_wrong) {
            None => Ok(()),
            Some(at) => {
                let cluster = index * per_block + at;
                let (old, new) = (count(before, at), count(now, at));
                Err(format!(
                    "the refcount of cluster {cluster}, which no request refers to, is {new}, was {old}, and"
                ))
            }
        }
    }

    fn l2_entries(&self) -> usize {
        self.cluster_bytes / self.l2_entry_bytes
    }

    /// Notes what the entries of a guest cluster refer to: these clusters may be freed.
    fn refer(&mut self, guest: usize) {
        let at = number(&self.image, 40, 8) as usize;
        let l2 = (number(&self.image, at.saturating_add(guest / self.l2_entries() * 8), 8) & OFFSET) as usize;
        if l2 == 0 {
            return;
        }
        self.referred.insert(l2 / self.cluster_bytes);
        let entry = number(&self.image, l2 + guest % self.l2_entries() * self.l2_entry_bytes, 8);
        if entry & COMPRESSED == 0 {
            self.referred.insert((entry & OFFSET) as usize / self.cluster_bytes);
            return;
        }
        let bits = 62 - (self.cluster_bytes.ilog2() - 8);
        let (start, sectors) = (entry & ((1 << bits) - 1), ((entry & !(3 << 62)) >> bits) + 1);
        let cluster = self.cluster_bytes as u64;
        let end = (start & !511) + sectors * 512;
        self.referred.extend((start / cluster..end.div_ceil(cluster)).map(|cluster| cluster as usize));
    }

    /// The clusters from `at` on have an owner, as far as they lie in the image.
    fn own(&mut self, at: usize, clusters: usize, owner: impl Fn(usize) -> Owner) {
        let first = at / self.cluster_bytes;
        let end = first.saturating_add(clusters).min(self.image.len().div_ceil(self.cluster_bytes));
        for cluster in first..end {
            self.owners.entry(cluster).or_default().push(owner(cluster - first));
        }
    }

    fn walk_active(&mut self) {
        let (count, at) = (number(&self.image, 36, 4) as usize, number(&self.image, 40, 8) as usize);
        let per_cluster = self.cluster_bytes / 8;
        self.own(at, (count * 8).div_ceil(self.cluster_bytes), |number| Owner::L1 {
            first: number * per_cluster,
        });
        for (l1_index, l2) in self.pointers(at, count) {
            self.own((l2 & OFFSET) as usize, 1, |_| Owner::L2 { l1_index });
        }
    }

    fn walk_refcounts(&mut self) {
        let (at, clusters) = (number(&self.image, 48, 8) as usize, number(&self.image, 56, 4) as usize);
        let per_cluster = self.cluster_bytes / 8;
        self.own(at, clusters, |number| Owner::RefcountTable { first: number * per_cluster });
        for (index, block) in self.pointers(at, clusters.saturating_mul(per_cluster)) {
            self.own(usize::try_from(block).unwrap_or(usize::MAX), 1, |_| Owner::RefcountBlock { index });
        }
        let old_table = at / self.cluster_bytes;
        self.referred.extend(old_table..old_table.saturating_add(clusters.min(self.image.len())));
    }

    fn walk_snapshots(&mut self, has_inactive_l2: bool) {
        let (count, start) = (number(&self.image, 60, 4), number(&self.image, 64, 8) as usize);
        let mut at = start;
        for _ in 0..count {
            if at >= self.image.len() {
                break;
            }
            let (table, entries) =
                (number(&self.image, at, 8) as usize, number(&self.image, at + 8, 4) as usize);
            let extra = number(&self.image, at + 36, 4);
            if table.is_multiple_of(self.cluster_bytes) && entries <= 4 << 20 {
                let clusters = (entries * 8).div_ceil(self.cluster_bytes);
                self.own(table, clusters, |_| Owner::Kept("a snapshot's L1 table"));
                for (_, l2) in self.pointers(table, entries).into_iter().filter(|_| has_inactive_l2) {
                    self.own((l2 & OFFSET) as usize, 1, |_| Owner::Kept("a snapshot's L2 table"));
                }
            }
            let texts = number(&self.image, at + 12, 2) + number(&self.image, at + 14, 2);
            let rest = texts + extra;
            at = at.saturating_add(SNAPSHOT_BYTES).saturating_add(rest as usize).next_multiple_of(8);
        }
        let length = at.min(self.image.len()).saturating_sub(start);
        self.own(start, length.div_ceil(self.cluster_bytes), |_| Owner::Kept("the snapshot table"));
    }

    /// The directory, where somebody vouches for it. It, and what it names, is free once the bitmaps have
    /// been saved elsewhere.
    fn walk_bitmaps(&mut self) {
        let Some((start, bytes, count)) = directory(&self.image) else { return };
        let bytes = bytes.min(self.image.len());
        let clusters = (start % self.cluster_bytes + bytes).div_ceil(self.cluster_bytes);
        self.own(start, clusters, |_| Owner::Kept(DIRECTORY));
        self.free(start, bytes);
        let mut at = start;
        for _ in 0..count {
            if at.saturating_add(BITMAP_BYTES) > start.saturating_add(bytes).min(self.image.len()) {
                return;
            }
            let (table, entries) =
                (number(&self.image, at, 8) as usize, number(&self.image, at + 8, 4) as usize);
            self.free(table, entries * 8);
            for (_, entry) in self.pointers(table, entries) {
                self.free((entry & OFFSET) as usize, 1);
            }
            let rest = number(&self.image, at + 20, 4) + number(&self.image, at + 18, 2);
            at = (at + BITMAP_BYTES + rest as usize).next_multiple_of(8);
        }
    }

    /// The clusters of these bytes may be freed.
    fn free(&mut self, at: usize, bytes: usize) {
        let (first, end) = (
            at / self.cluster_bytes,
            at.saturating_add(bytes).min(self.image.len()).div_ceil(self.cluster_bytes),
        );
        self.referred.extend(first..end);
    }

    /// Index and value of each entry of a table that is in the image and refers to something.
    fn pointers(&self, table: usize, count: usize) -> Vec<(usize, u64)> {
        let last = self.image.len().saturating_sub(table) / 8;
        let entry = |index: usize| (index, number(&self.image, table + index * 8, 8));
        (0..count.min(last)).map(entry).filter(|(_, entry)| *entry != 0).collect()
    }
}

/// The bytes of a cluster; past the end there are zeroes.
fn part(image: &[u8], at: usize, length: usize) -> Vec<u8> {
    let start = at.min(image.len());
    let mut bytes = image[start..image.len().min(start + length)].to_vec();
    bytes.resize(length, 0);
    bytes
}

/// The first entry of a table that differs and may not.
fn entries_stay(before: &[u8], now: &[u8], may_change: impl Fn(usize) -> bool) -> Result<(), usize> {
    let differs = |at: &usize| number(before, at * 8, 8) != number(now, at * 8, 8);
    match (0..before.len() / 8).filter(differs).find(|at| !may_change(*at)) {
        None => Ok(()),
        Some(at) => Err(at),
    }
}

/// Where the directory of bitmaps lies, its bytes and how many it has, where the image vouches for it.
fn directory(image: &[u8]) -> Option<(usize, usize, u64)> {
    const AUTOCLEAR_BITMAPS: u64 = 1;
    let at = bitmaps_extension(image)?;
    let field = |offset, width| number(image, at + offset, width);
    let vouched = number(image, 88, 8) & AUTOCLEAR_BITMAPS != 0;
    vouched.then(|| (field(24, 8) as usize, field(16, 8) as usize, field(8, 4)))
}

/// Where the extension lies that names the directory of bitmaps.
fn bitmaps_extension(image: &[u8]) -> Option<usize> {
    let cluster_bytes = 1 << number(image, 20, 4).clamp(9, 21);
    let mut at = number(image, 100, 4) as usize;
    while number(image, 4, 4) >= 3 && at.saturating_add(8) <= cluster_bytes {
        let (kind, length) = (number(image, at, 4), number(image, at + 4, 4) as usize);
        match (kind, length) {
            (0, _) => return None,
            (EXTENSION_BITMAPS, 24) => return Some(at),
            _ => at = at.saturating_add(8).saturating_add(length).saturating_add(7) & !7,
        }
    }
    None
}

fn judge_header(before: &[u8], now: &[u8]) -> Result<(), String> {
    let in_field =
        |at: usize| HEADER_FIELDS.iter().any(|(start, length)| (*start..start + length).contains(&at));
    let bitmaps = bitmaps_extension(before).map_or(0..0, |at| at + 8..at + 32);
    let may_change =
        |at: usize| bitmaps.contains(&at) || in_field(at) || (INCOMPATIBLE..INCOMPATIBLE + 8).contains(&at);
    let marks = number(before, INCOMPATIBLE, 8) ^ number(now, INCOMPATIBLE, 8);
    if marks & !MARKS != 0 {
        return Err("an incompatible feature".to_owned());
    }
    match (0..before.len()).find(|at| before[*at] != now[*at] && !may_change(*at)) {
        None => Ok(()),
        Some(at) => Err(format!("byte {at} of the header")),
    }
}

/// The count number `at` of a block; narrow ones begin with the lowest bits of a byte.
fn refcount(block: &[u8], at: usize, bits: usize) -> u64 {
    if bits >= 8 {
        return number(block, at * bits / 8, bits / 8);
    }
    u64::from(block[at * bits / 8]) >> (at * bits % 8) & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests;
