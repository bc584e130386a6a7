//! What is known of the states that have been judged, within bounds.

use std::collections::{HashMap, HashSet};

use crate::judge::Analysis;

/// Bytes of disks that are kept: hundreds of states of the largest disks of scenarios would take gigabytes.
const BYTES_MAX: usize = 256 << 20;

/// States by their hashes. Each is counted once, and analysed again where its analysis had to go.
#[derive(Debug, Default)]
pub(super) struct AnalysisCache {
    seen: HashSet<u64>,
    analyses: HashMap<u64, Analysis>,
    bytes: usize,
}

impl AnalysisCache {
    /// Whether this is the first time that the state is met.
    pub(super) fn meet(&mut self, hash: u64) -> bool {
        self.seen.insert(hash)
    }

    pub(super) fn get(&self, hash: u64) -> Option<&Analysis> {
        self.analyses.get(&hash)
    }

    /// Keeps one that is not kept yet. All others go if there is no room for it.
    pub(super) fn keep(&mut self, hash: u64, analysis: Analysis) {
        let bytes = analysis.content.size as usize;
        if self.bytes + bytes > BYTES_MAX {
            self.analyses.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.analyses.insert(hash, analysis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Content;

    fn analysis(bytes: usize) -> Analysis {
        Analysis { content: Content { size: bytes as u64, ..Content::default() }, ..Analysis::default() }
    }

    #[test]
    fn what_does_not_fit_goes_and_is_counted_once() {
        let mut cache = AnalysisCache::default();
        assert!(cache.meet(1) && cache.meet(2) && !cache.meet(1));
        assert!(cache.get(1).is_none());
        cache.keep(1, analysis(BYTES_MAX / 2));
        cache.keep(2, analysis(BYTES_MAX / 2));
        assert!(cache.get(1).is_some() && cache.get(2).is_some());
        cache.keep(3, analysis(1));
        assert!(cache.get(1).is_none() && cache.get(2).is_none() && cache.get(3).is_some());
        // One that is larger than all the room is kept alone.
        cache.keep(4, analysis(BYTES_MAX + 1));
        assert!(cache.get(3).is_none() && cache.get(4).is_some());
        assert!(!cache.meet(2));
    }
}
