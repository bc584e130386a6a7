//! Configuration fields back to their defaults.

use super::search::Search;
use crate::scenario::{Backing, Config};

/// First all at once, then each by itself, then what lies between.
pub(super) fn simplify(search: &mut Search) {
    let old = search.best.config.clone();
    let (cluster_bits, size_bytes) = (old.cluster_bits, old.size_bytes);
    for lanes in [0, old.lanes] {
        if accepts(search, Config { size_bytes, cluster_bits, lanes, ..Config::default() }) {
            return;
        }
    }
    for to_default in FIELDS {
        let mut config = search.best.config.clone();
        to_default(&mut config, &Config::default());
        accepts(search, config);
    }
    for backing in [Backing::None, Backing::Raw, Backing::Format] {
        let config = Config { backing, ..search.best.config.clone() };
        if accepts(search, config) {
            break;
        }
    }
    if search.best.config.backing != Backing::None {
        let backing_bytes = search.best.config.size_bytes;
        accepts(search, Config { backing_bytes, ..search.best.config.clone() });
        for unit in [search.best.config.cluster_bytes(), 512, 1] {
            let bytes = search.best.config.backing_bytes;
            search.lower(bytes, unit, |scenario, bytes| scenario.config.backing_bytes = bytes);
        }
    }
}

type ToDefault = fn(&mut Config, &Config);

const FIELDS: [ToDefault; 11] = [
    |config, usual| config.version = usual.version,
    |config, usual| config.refcount_order = usual.refcount_order,
    |config, usual| config.compression = usual.compression,
    |config, usual| config.l2_cache_entries = usual.l2_cache_entries,
    |config, usual| config.l2_slice_bytes = usual.l2_slice_bytes,
    |config, usual| config.refcount_cache_entries = usual.refcount_cache_entries,
    |config, usual| config.preallocate = usual.preallocate,
    |config, usual| config.discard = usual.discard,
    |config, usual| config.lazy_refcounts = usual.lazy_refcounts,
    |config, usual| config.control = usual.control,
    |config, usual| config.atom_bytes = usual.atom_bytes,
];

/// A configuration that was legal stays so.
fn accepts(search: &mut Search, mut config: Config) -> bool {
    if search.best.config.is_normal() {
        config.normalize();
    }
    search.accepts_change(|scenario| scenario.config = config)
}
