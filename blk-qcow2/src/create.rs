//! Making a new image.
//!
//! ```text
//! header | refcount table | refcount blocks | L1 table | (LUKS header) | (preallocation: L2 tables | data)
//! ```
//!
//! Everything is laid out and counted in advance. Write order: the header comes last, so that an interrupted
//! create leaves no image rather than half of one.

pub(crate) mod encryption;

use std::sync::Arc;

use blk_core::storage::for_any_alignment;
use blk_core::{Access, Error, Extent, Options, Preallocation, Result, Storage, TypedOptions, name};

use crate::create::encryption::NewEncryption;
pub(crate) use crate::create::encryption::{KeyMaking, Maker};
use crate::crypt::Located;
use crate::data_file;
use crate::geometry::Geometry;
use crate::header::{BackingName, Header, L1_TABLE_BYTES_MAX, REFCOUNT_TABLE_BYTES_MAX};
use crate::l2::{Entry, Place, data_entry};
use crate::offset::{ClusterCount, GuestOffset, HostCluster, HostOffset};
use crate::ondisk::{
    AUTOCLEAR_DATA_FILE_RAW, COMPATIBLE_LAZY_REFCOUNTS, CompressionType, HEADER_V2_BYTES, HEADER_V3_BYTES,
    INCOMPATIBLE_COMPRESSION, INCOMPATIBLE_DATA_FILE, INCOMPATIBLE_EXTENDED_L2,
};
use crate::options::CREATE_OPTIONS;
use crate::pointer_table;
use crate::refcount::set_count_at;

/// What the options say.
#[derive(Debug)]
struct Plan {
    version: u32,
    geometry: Geometry,
    lazy_refcounts: bool,
    backing: Option<BackingName>,
    compression: CompressionType,
    preallocation: Preallocation,
    data_file: Option<String>,
    is_raw_data: bool,
    encryption: Option<NewEncryption>,
}

/// How much of everything there is: it lies in this order, after the header.
#[derive(Debug, Clone, Copy)]
struct Layout {
    table_clusters: ClusterCount,
    block_count: ClusterCount,
    l1_entries: u64,
    l1_clusters: ClusterCount,
    /// Of the header of the encryption.
    crypt_clusters: ClusterCount,
    l2_tables: ClusterCount,
    /// Guest clusters that are mapped.
    mapped: ClusterCount,
    /// Their host clusters, unless a data file has them.
    data_clusters: ClusterCount,
}

/// Replaces what is on `storage` by an empty image of `size` bytes.
pub(crate) fn create(
    storage: &Arc<dyn Storage>,
    size: u64,
    options: Options,
    maker: &Maker<'_>,
) -> Result<()> {
    let plan = Plan::parse(options, maker)?;
    let layout = Layout::plan(&plan, size)?;
    let mut header = plan.header(layout, size);
    let encoded = header.encode_new();
    if encoded.len() as u64 > plan.geometry.cluster_bytes() {
        let reason = format!(
            "the header takes {} bytes, and must fit into one cluster of {}",
            encoded.len(),
            plan.geometry.cluster_bytes()
        );
        return Err(Error::invalid_option("backing_file", reason));
    }
    if let Some(name) = &plan.data_file {
        let data = for_any_alignment(maker.resolver.open_storage(name, Access::ReadWrite)?);
        data_file::create(&*data, size, plan.preallocation)?;
    }
    make_room(&**storage, plan.geometry.offset_of(layout.end()).get())?;
    write_refcounts(&**storage, plan.geometry, layout)?;
    let crypt = match (&plan.encryption, header.encryption) {
        (Some(new), Some(method)) => Some(new.write_header(storage, method, maker.means)?),
        _ => None,
    };
    if plan.preallocation != Preallocation::Off {
        plan.write_mapping(&**storage, layout)?;
    }
    let data = plan.geometry.extent_of(layout.first_data(), layout.data_clusters);
    let is_filled = matches!(plan.preallocation, Preallocation::Falloc | Preallocation::Full);
    match crypt.filter(|_| plan.version < 3 && !data.is_empty()) {
        Some(crypt) => {
            let to = Located { host: data.start, guest: GuestOffset::default() };
            crypt.write_zeroes(&**storage, to, data.length)?;
        }
        None if is_filled && !data.is_empty() => storage.write_zeroes_at(data.on_storage())?,
        None => {}
    }
    storage.sync()?;
    storage.write_at(0, &encoded)?;
    storage.sync()
}

/// Makes the first `length` bytes zeroes, and the file as long as that where its length can change. On a
/// block device, the rest stays what it was: clusters that nothing refers to.
fn make_room(storage: &dyn Storage, length: u64) -> Result<()> {
    match storage.set_len(0) {
        Ok(()) => storage.set_len(length),
        Err(Error::Unsupported { .. }) => {
            let available = storage.len()?;
            if length > available {
                let what =
                    format!("the image takes {length} bytes, the storage has {available} and cannot grow");
                return Err(Error::NoSpace { what: what.into() });
            }
            storage.write_zeroes_at(Extent::new(0, length))
        }
        Err(error) => Err(error),
    }
}

impl Plan {
    fn parse(options: Options, maker: &Maker<'_>) -> Result<Self> {
        let options = options.typed("qcow2", CREATE_OPTIONS)?;
        let name = options.text("backing_file");
        let backing = name.map(|name| BackingName::new(name, options.text("backing_fmt"))).transpose()?;
        let data_file = options.text("data_file").map(check_data_file).transpose()?;
        let is_raw_data = options.switch("data_file_raw") == Some(true);
        let geometry = geometry(&options)?.with_data_file(data_file.is_some());
        let preallocation = options.choice("preallocation");
        if preallocation != Some("off") && backing.is_some() && !geometry.has_extended_l2() {
            return Err(hides_backing(&options));
        }
        Ok(Self {
            version: if options.choice("compat") == Some("0.10") { 2 } else { 3 },
            geometry,
            lazy_refcounts: options.switch("lazy_refcounts") == Some(true),
            backing,
            compression: match options.choice("compression_type") {
                Some("zstd") => CompressionType::Zstd,
                _ => CompressionType::Zlib,
            },
            preallocation: match preallocation {
                Some("metadata") => Preallocation::Metadata,
                Some("falloc") => Preallocation::Falloc,
                Some("full") => Preallocation::Full,
                // All of a raw data file is mapped from the start.
                _ if is_raw_data => Preallocation::Metadata,
                _ => Preallocation::Off,
            },
            data_file,
            is_raw_data,
            encryption: NewEncryption::of(&options, maker)?,
        })
    }

    /// Bytes of the header of the encryption.
    fn crypt_bytes(&self) -> u64 {
        self.encryption.as_ref().map_or(0, NewEncryption::header_bytes)
    }

    fn header(&self, layout: Layout, size: u64) -> Header {
        let is_zstd = self.compression == CompressionType::Zstd;
        let zstd = if is_zstd { INCOMPATIBLE_COMPRESSION } else { 0 };
        let extended = if self.geometry.has_extended_l2() { INCOMPATIBLE_EXTENDED_L2 } else { 0 };
        let data_file = if self.data_file.is_some() { INCOMPATIBLE_DATA_FILE } else { 0 };
        Header {
            version: self.version,
            geometry: self.geometry,
            size,
            backing: self.backing.clone(),
            l1_entries: layout.l1_entries as u32,
            l1_table_offset: self.geometry.offset_of(layout.first_l1()),
            refcount_table_offset: self.geometry.offset_of(Layout::TABLE),
            refcount_table_clusters: layout.table_clusters.get() as u32,
            snapshot_count: 0,
            snapshots_offset: HostOffset::default(),
            incompatible: zstd | extended | data_file,
            compatible: if self.lazy_refcounts { COMPATIBLE_LAZY_REFCOUNTS } else { 0 },
            autoclear: if self.is_raw_data { AUTOCLEAR_DATA_FILE_RAW } else { 0 },
            length: if self.version >= 3 { HEADER_V3_BYTES } else { HEADER_V2_BYTES },
            compression: self.compression,
            bitmaps: None,
            data_file: self.data_file.clone(),
            encryption: self
                .encryption
                .as_ref()
                .map(|new| new.method(self.geometry.offset_of(layout.first_crypt()))),
            backing_extent: Extent::default(),
        }
    }
}

/// Checked before it is written: an image whose names are too long could not be opened.
pub(crate) fn check_data_file(name: String) -> Result<String> {
    let length = name::to_bytes(&name).len() as u64;
    if length == 0 || length > data_file::NAME_BYTES_MAX {
        let most = data_file::NAME_BYTES_MAX;
        let reason = format!("the name has {length} bytes, allowed are 1 to {most}");
        return Err(Error::invalid_option("data_file", reason));
    }
    Ok(name)
}

/// A contradiction, unless with extended L2 entries: subclusters of a preallocated cluster show the backing
/// file.
fn hides_backing(options: &TypedOptions) -> Error {
    let value = |name| options.value(name).map_or_else(String::new, |value| value.to_string());
    let (own, other) = (value("preallocation"), value("backing_file"));
    let reason = "allocated clusters would hide the backing file, unless with extended_l2=on";
    let text = format!("'{own}' contradicts backing_file={other}: {reason}");
    Error::invalid_option("preallocation", text)
}

/// Fails where extended L2 entries are wanted and clusters are too small for them.
pub(crate) fn check_extended_l2(is_extended: bool, cluster_bytes: u64) -> Result<()> {
    let least = 1 << Geometry::EXTENDED_CLUSTER_BITS_MIN;
    if !is_extended || cluster_bytes >= least {
        return Ok(());
    }
    let reason = format!("extended L2 entries need clusters of {least} bytes, not {cluster_bytes}");
    Err(Error::invalid_option("extended_l2", reason))
}

fn geometry(options: &TypedOptions) -> Result<Geometry> {
    let number = |name| options.number(name).expect("it has a default");
    let geometry = Geometry::new(number("cluster_size").ilog2(), number("refcount_bits").ilog2())?;
    let is_extended = options.switch("extended_l2") == Some(true);
    check_extended_l2(is_extended, geometry.cluster_bytes())?;
    geometry.with_extended_l2(is_extended)
}

impl Plan {
    /// Maps every guest cluster to its own host cluster.
    fn write_mapping(&self, storage: &dyn Storage, layout: Layout) -> Result<()> {
        let geometry = self.geometry;
        let pointer = |cluster| data_entry(geometry.offset_of(cluster));
        // Zeroes of the host are noise where data is encrypted: a mark hides them.
        let is_encrypted = self.encryption.is_some();
        let is_marked = is_encrypted && self.version >= 3 && !geometry.has_extended_l2();
        // With a bitmap no subcluster is allocated yet: all have a place. A raw data file has all of them.
        let is_all = if geometry.has_extended_l2() { self.is_raw_data && !is_encrypted } else { !is_marked };
        let allocated = if is_all { geometry.all_subclusters() } else { 0 };
        let words = |cluster| {
            let place = Place::Plain { host: geometry.offset_of(cluster), copied: true };
            let raw = Entry { place, allocated, zero: u32::from(is_marked) }.encode(geometry);
            [raw.descriptor, raw.bitmap].into_iter().take(geometry.l2_entry_bytes() as usize / 8)
        };
        let first = if geometry.has_data_file() { HostCluster::default() } else { layout.first_data() };
        let mut data = first.until(first + layout.mapped);
        for table in layout.first_l2().until(layout.first_data()) {
            let entries: Vec<u64> =
                data.by_ref().take(geometry.l2_entries() as usize).flat_map(words).collect();
            storage.write_at(geometry.offset_of(table).get(), &pointer_table::encode(&entries))?;
        }
        assert!(data.next().is_none(), "the L2 tables have an entry for each data cluster");
        let tables: Vec<u64> = layout.first_l2().until(layout.first_data()).map(pointer).collect();
        storage.write_at(geometry.offset_of(layout.first_l1()).get(), &pointer_table::encode(&tables))
    }
}

impl Layout {
    fn plan(plan: &Plan, size: u64) -> Result<Self> {
        let geometry = plan.geometry;
        let l1_entries = geometry.l1_entries(size).max(1);
        if l1_entries * 8 > L1_TABLE_BYTES_MAX {
            // At most 2^61: no size that a table can map is too large for anything else.
            let largest = L1_TABLE_BYTES_MAX / 8 * geometry.l2_table_reach_bytes();
            let reason = format!("{size} is too large for this cluster size, the largest is {largest}");
            return Err(Error::invalid_option("size", reason));
        }
        let (l2_tables, mapped) = match plan.preallocation {
            Preallocation::Off => Default::default(),
            _ => (ClusterCount::new(geometry.l1_entries(size)), geometry.clusters_of(size)),
        };
        let l1_clusters = geometry.clusters_of(l1_entries * 8);
        let crypt_clusters = geometry.clusters_of(plan.crypt_bytes());
        let one = ClusterCount::ONE;
        let mut layout = Self {
            table_clusters: one,
            block_count: one,
            l1_entries,
            l1_clusters,
            crypt_clusters,
            l2_tables,
            mapped,
            data_clusters: if geometry.has_data_file() { ClusterCount::default() } else { mapped },
        };
        // More blocks need more table and more blocks: the sizes converge within a few rounds.
        loop {
            let block_count = ClusterCount::new(layout.end().index().div_ceil(geometry.block_entries()));
            let table_clusters = geometry.clusters_of(block_count.get() * 8);
            if block_count <= layout.block_count && table_clusters <= layout.table_clusters {
                break;
            }
            layout.block_count = block_count.max(layout.block_count);
            layout.table_clusters = table_clusters.max(layout.table_clusters);
        }
        assert!(layout.end() <= geometry.block_start(layout.block_count.get()), "every cluster is counted");
        if geometry.bytes_of(layout.table_clusters) > REFCOUNT_TABLE_BYTES_MAX {
            let reason = format!("preallocating {size} bytes needs a larger refcount table than 8 MiB");
            return Err(Error::invalid_option("preallocation", reason));
        }
        Ok(layout)
    }

    /// Where the refcount table begins: after the header.
    const TABLE: HostCluster = HostCluster::new(1);

    fn first_block(self) -> HostCluster {
        Self::TABLE + self.table_clusters
    }

    fn first_l1(self) -> HostCluster {
        self.first_block() + self.block_count
    }

    fn first_crypt(self) -> HostCluster {
        self.first_l1() + self.l1_clusters
    }

    fn first_l2(self) -> HostCluster {
        self.first_crypt() + self.crypt_clusters
    }

    fn first_data(self) -> HostCluster {
        self.first_l2() + self.l2_tables
    }

    fn end(self) -> HostCluster {
        self.first_data() + self.data_clusters
    }
}

/// Writes the refcount table and blocks; only the bytes that are not zero, the storage is new.
fn write_refcounts(storage: &dyn Storage, geometry: Geometry, layout: Layout) -> Result<()> {
    let blocks = || layout.first_block().until(layout.first_l1()).map(|cluster| geometry.offset_of(cluster));
    let pointers: Vec<u64> = blocks().map(HostOffset::get).collect();
    storage.write_at(geometry.offset_of(Layout::TABLE).get(), &pointer_table::encode(&pointers))?;
    for (index, block) in (0..).zip(blocks()) {
        let first = geometry.block_start(index);
        assert!(first < layout.end(), "no block counts nothing");
        let counted = layout.end().since(first).get().min(geometry.block_entries());
        let bytes = (counted * u64::from(geometry.refcount_bits())).div_ceil(8);
        let mut counts = vec![0; bytes as usize];
        for index in 0..counted {
            set_count_at(&mut counts, index, geometry.refcount_order(), 1);
        }
        storage.write_at(block.get(), &counts)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With 512-byte clusters and 64-bit counts 8 MiB of a table name 2^20 blocks of 64 clusters.
    #[test]
    fn a_refcount_table_has_at_most_8_mib() {
        let options = Options::new().with("cluster_size", 512u64).with("refcount_bits", 64u64);
        let plan = Plan::parse(options.with("preallocation", "metadata"), &Maker::without_keys()).unwrap();
        let (mut fits, mut too_many) = (0, 1 << 27);
        while fits + 1 < too_many {
            let clusters = u64::midpoint(fits, too_many);
            match Layout::plan(&plan, clusters * 512) {
                Ok(_) => fits = clusters,
                Err(_) => too_many = clusters,
            }
        }
        let layout = Layout::plan(&plan, fits * 512).unwrap();
        assert_eq!((layout.table_clusters.get(), layout.end().index()), (16_384, 1 << 26));
        let error = Layout::plan(&plan, too_many * 512).unwrap_err().to_string();
        assert!(error.contains("needs a larger refcount table than 8 MiB"), "{error}");
    }
}
