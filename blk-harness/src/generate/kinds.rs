//! Disks whose few clusters are of every kind: where exhaustive scenarios start from.

use crate::scenario::{Config, Fill, Request};
use crate::space::Space;

/// A kind of cluster that requests can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unallocated,
    Zero,
    ZeroAllocated,
    Data,
    Compressed,
}

const KINDS: [Kind; 5] = [Kind::Unallocated, Kind::Data, Kind::Zero, Kind::ZeroAllocated, Kind::Compressed];

impl Kind {
    fn requests(self, offset: u64, length: u64) -> Vec<Request> {
        let fill = Fill::Stamp;
        let write = Request::Write { offset, length, fill, fua: false };
        let zero = |unmap| Request::WriteZeroes { offset, length, unmap, no_fallback: false, fua: false };
        match self {
            Self::Unallocated => vec![],
            Self::Zero => vec![write, zero(true)],
            Self::ZeroAllocated => vec![write, zero(false)],
            Self::Data => vec![write],
            Self::Compressed => vec![Request::WriteCompressed { offset, length, fill }],
        }
    }
}

/// The requests that make each combination of kinds out of a fresh disk of `config`, a flush at the end: five
/// to the power of the number of units of allocation. Meant for disks of a few.
pub fn setups(space: &Space, config: &Config) -> Vec<Vec<Request>> {
    let cluster_bytes = space.geometry(config).unit_bytes;
    let clusters = config.size_bytes.div_ceil(cluster_bytes);
    let count = (KINDS.len() as u64).pow(clusters as u32);
    (0..count).map(|number| setup(number, clusters, cluster_bytes, config.size_bytes)).collect()
}

fn setup(mut number: u64, clusters: u64, cluster_bytes: u64, size_bytes: u64) -> Vec<Request> {
    let mut requests = Vec::new();
    for cluster in 0..clusters {
        let kind = KINDS[(number % KINDS.len() as u64) as usize];
        number /= KINDS.len() as u64;
        let offset = cluster * cluster_bytes;
        requests.extend(kind.requests(offset, cluster_bytes.min(size_bytes - offset)));
    }
    requests.push(Request::Flush);
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{PLAIN, UNIT};

    #[test]
    fn every_combination_comes_once() {
        let config = Config { size_bytes: 3 << 9, ..Config::default() }.with(UNIT, "512");
        let mut all = setups(&PLAIN, &config);
        assert_eq!(all.len(), 125);
        assert_eq!(all[0], [Request::Flush]);
        assert!(all.iter().all(|requests| requests.last() == Some(&Request::Flush)));
        all.sort_by_key(|requests| format!("{requests:?}"));
        all.dedup();
        assert_eq!(all.len(), 125);
    }
}
