//! A smaller disk, and units of allocation of the usual size.

use std::collections::BTreeSet;

use super::search::Search;
use crate::scenario::{Request, Scenario};

pub(super) fn simplify(search: &mut Search) {
    usual_unit(search);
    let candidate = compacted(&search.best, search.unit_bytes());
    search.accepts(candidate);
    close_gaps(search);
    shrink_disk(search);
}

/// Units towards the usual size; requests go with their units, or, failing that, stay where they are.
fn usual_unit(search: &mut Search) {
    let Some(old) = search.unit() else { return };
    for doublings in 0..old.distance() {
        let value = if old.value > old.usual { old.usual << doublings } else { old.usual >> doublings };
        let candidate = search.best.rescale(search.space, value);
        if search.accepts(candidate) {
            return;
        }
        let space = search.space;
        let stay = search.accepts_change(|scenario| {
            old.set(&mut scenario.config, value);
            space.legalize(&mut scenario.config);
        });
        if stay {
            return;
        }
    }
}

/// Closes gaps: of the clusters between those where a range begins or ends, one is left.
fn compacted(scenario: &Scenario, cluster: u64) -> Scenario {
    // Cluster boundaries that are kept. A point inside of a cluster keeps both of that cluster's.
    let mut kept = BTreeSet::from([0]);
    for point in points(scenario) {
        kept.insert(point / cluster);
        kept.insert(point.div_ceil(cluster));
    }
    let kept: Vec<u64> = kept.into_iter().collect();
    let place = |point: u64| match kept.binary_search(&(point / cluster)) {
        Ok(rank) => rank as u64 * cluster + point % cluster,
        Err(_) => unreachable!("every point's boundary is kept"),
    };
    let mut small = scenario.clone();
    small.config.size_bytes = place(scenario.config.size_bytes);
    small.config.backing_bytes = place(scenario.config.backing_bytes);
    for request in &mut small.requests {
        *request = request.map_points(place);
    }
    small
}

/// Where the disk, the one below, and each range begin and end.
fn points(scenario: &Scenario) -> impl Iterator<Item = u64> {
    let ends = scenario.requests.iter().flat_map(|request| match (request, request.range()) {
        (_, Some((offset, length))) => [offset, offset.saturating_add(length)],
        (Request::Resize { size }, _) => [*size; 2],
        _ => [0; 2],
    });
    ends.chain([scenario.config.size_bytes, scenario.config.backing_bytes])
}

/// Moves everything from some offset on down together, towards what lies before: what overlaps goes on to
/// overlap.
fn close_gaps(search: &mut Search) {
    let mut before = 0;
    while !search.is_over()
        && let Some(start) = next_start(&search.best, before)
    {
        let mut start = start;
        for unit in [search.unit_bytes(), 512, 1] {
            let all = search.best.requests.clone();
            search.lower(start - before, unit, |scenario, gap| {
                for (request, old) in scenario.requests.iter_mut().zip(&all) {
                    let Some((offset, length)) = old.range().filter(|range| range.0 >= start) else {
                        continue;
                    };
                    *request = old.with_range(offset - start + before + gap, length);
                }
            });
            start = next_start(&search.best, before).unwrap_or(before);
        }
        before = before.max(start);
    }
}

/// The first offset of a request behind `before`.
fn next_start(scenario: &Scenario, before: u64) -> Option<u64> {
    let offsets = scenario.requests.iter().filter_map(|request| request.range().map(|range| range.0));
    offsets.filter(|&offset| offset > before).min()
}

/// The smallest disk: first what the requests reach, then less by halves.
fn shrink_disk(search: &mut Search) {
    let end = search.best.requests.iter().filter_map(Request::range);
    let reached = end.map(|(offset, length)| offset.saturating_add(length)).max().unwrap_or(0);
    let cluster = search.unit_bytes();
    for size in
        [reached.checked_next_multiple_of(cluster), reached.checked_next_multiple_of(512), Some(reached)]
    {
        let Some(size) = size.filter(|&size| size > 0) else { continue };
        resize(search, size);
    }
    for unit in [cluster, 512] {
        let size = search.best.config.size_bytes / unit * unit;
        resize(search, size);
        search.lower(search.best.config.size_bytes, unit, set_size);
    }
}

fn resize(search: &mut Search, size: u64) {
    search.accepts_change(|scenario| set_size(scenario, size));
}

/// A backing file of the same size stays of the same size.
fn set_size(scenario: &mut Scenario, size: u64) {
    if scenario.config.backing_bytes == scenario.config.size_bytes {
        scenario.config.backing_bytes = size;
    }
    scenario.config.size_bytes = size;
}
