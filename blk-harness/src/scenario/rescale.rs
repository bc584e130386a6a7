//! The same scenario with other units of allocation: what was at a unit's edge stays there.

use super::{Request, Scenario};
use crate::space::Space;

impl Scenario {
    /// This scenario with another value of the option that decides the unit of allocation; unchanged if the
    /// space has none. Each offset stays in its unit (by number), at the same distance from the unit's
    /// beginning, or from its end if that is nearer.
    #[must_use]
    pub fn rescale(&self, space: &Space, value: u64) -> Self {
        let Some(unit) = space.unit(&self.config) else { return self.clone() };
        let mut scaled = self.clone();
        unit.set(&mut scaled.config, value);
        space.legalize(&mut scaled.config);
        let (old, new) = (space.geometry(&self.config).unit_bytes, space.geometry(&scaled.config).unit_bytes);
        let place = |point: u64| rescale_point(point, old, new);
        scaled.config.size_bytes = place(self.config.size_bytes);
        scaled.config.backing_bytes = place(self.config.backing_bytes);
        for request in &mut scaled.requests {
            *request = request.map_points(place);
        }
        space.legalize(&mut scaled.config);
        scaled
    }
}

impl Request {
    /// This request with its beginning and end, or its size, put elsewhere. `place` must keep the order of
    /// points.
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
