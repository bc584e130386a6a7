//! The same scenario with other clusters: what was at a cluster's edge stays there.

use super::{Request, Scenario};

impl Scenario {
    /// This scenario with clusters of 2^`cluster_bits` bytes. Each offset stays in its cluster (by number), at the same distance
    /// from the cluster's beginning, or from its end if that is nearer.
    ///
    /// # Panics
    /// If `cluster_bits` is not 9 to 21.
    #[must_use]
    pub fn rescale(&self, cluster_bits: u8) -> Self {
        assert!((9..=21).contains(&cluster_bits), "2^{cluster_bits} bytes are no cluster");
        let (old, new) = (self.config.cluster_bytes(), 1 << cluster_bits);
        let place = |point: u64| rescale_point(point, old, new);
        let mut scaled = self.clone();
        scaled.config.cluster_bits = cluster_bits;
        scaled.config.size_bytes = place(self.config.size_bytes);
        scaled.config.backing_bytes = place(self.config.backing_bytes);
        scaled.config.normalize();
        for request in &mut scaled.requests {
            *request = request.map_points(place);
        }
        scaled
    }
}

impl Request {
    /// This request with its beginning and end, or its size, put elsewhere. `place` must keep the order of points.
    pub(crate) fn map_points(&self, place: impl Fn(u64) -> u64) -> Self {
        if let Self::Resize { size } = *self {
            return Self::Resize { size: place(size) };
        }
        let Some((offset, length)) = self.range() else { return *self };
        let start = place(offset);
        let end = place(offset.saturating_add(length));
        assert!(start <= end, "{self} is turned around: from {start} to {end}");
        self.with_range(start, end - start)
    }
}

fn rescale_point(point: u64, old: u64, new: u64) -> u64 {
    let (cluster, from_start) = (point / old, point % old);
    let from_end = old - from_start;
    let within = if from_start <= from_end { from_start.min(new / 2) } else { new - from_end.min(new / 2) };
    cluster.saturating_mul(new).saturating_add(within)
}
