//! How large a new image would be.

use blk_core::{Error, Measure, Options, Result, TypedOptions};

use crate::create::{check_extended_l2, encryption};
use crate::header::L1_TABLE_BYTES_MAX;
use crate::options::CREATE_OPTIONS;

/// What decides how much metadata an image has.
#[derive(Debug, Clone, Copy)]
struct Shape {
    cluster_bytes: u64,
    refcount_bits: u64,
    l2_entry_bytes: u64,
}

pub(crate) fn measure(size: u64, options: Options) -> Result<Measure> {
    let options = options.typed_of_others("qcow2", CREATE_OPTIONS)?;
    options.check_conflicts("refcount_bits")?;
    let shape = Shape::of(&options)?;
    let cluster = shape.cluster_bytes;
    let crypt_bytes = encryption::measured_header_bytes(&options)?.next_multiple_of(cluster);
    let reach = u128::from(cluster / shape.l2_entry_bytes) * u128::from(cluster);
    if u128::from(size).div_ceil(reach) * 8 > u128::from(L1_TABLE_BYTES_MAX) {
        let reason = format!("a disk of {size} bytes is too large for clusters of {cluster}");
        return Err(Error::invalid_option("size", reason));
    }
    Ok(Measure {
        fully_allocated: shape.full_bytes(size) + crypt_bytes,
        unit_bytes: cluster,
        allocates_all: matches!(options.choice("preallocation"), Some("falloc" | "full")),
        bitmaps: options.choice("compat") != Some("0.10"),
    })
}

impl Shape {
    fn of(options: &TypedOptions) -> Result<Self> {
        let number = |name| options.number(name).expect("it has a default");
        let (cluster_bytes, refcount_bits) = (number("cluster_size"), number("refcount_bits"));
        let is_extended = options.switch("extended_l2") == Some(true);
        check_extended_l2(is_extended, cluster_bytes)?;
        Ok(Self { cluster_bytes, refcount_bits, l2_entry_bytes: if is_extended { 16 } else { 8 } })
    }

    /// Bytes of an image with all clusters of the disk allocated.
    fn full_bytes(self, size: u64) -> u64 {
        let Self { cluster_bytes, refcount_bits, l2_entry_bytes } = self;
        let data_clusters = size.div_ceil(cluster_bytes);
        let l2_tables = (data_clusters * l2_entry_bytes).div_ceil(cluster_bytes);
        let l1_clusters = (l2_tables * 8).div_ceil(cluster_bytes);
        let counted = 1 + l1_clusters + l2_tables + data_clusters;
        let per_block = cluster_bytes * 8 / refcount_bits;
        // The blocks and the table count themselves too: the sizes converge within a few rounds.
        let (mut blocks, mut table_clusters) = (0, 0);
        loop {
            let needed_blocks = (counted + blocks + table_clusters).div_ceil(per_block);
            let needed_clusters = (needed_blocks * 8).div_ceil(cluster_bytes);
            if (needed_blocks, needed_clusters) == (blocks, table_clusters) {
                break;
            }
            (blocks, table_clusters) = (needed_blocks, needed_clusters);
        }
        (counted + blocks + table_clusters) * cluster_bytes
    }
}
