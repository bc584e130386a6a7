//! Fewer requests, and plainer ones.

use super::cost::kind_rank;
use super::search::Search;
use crate::scenario::{Fill, OnBitmap, Repair, Request, Scenario};

/// Beyond this many requests, all pairs are too many.
const PAIRS_REQUESTS_MAX: usize = 16;
/// Up to this many requests, all that follows takes no time.
const SHORT_REQUESTS: usize = 256;

/// Drops what comes after request number `index`.
pub(super) fn drop_after(search: &mut Search, index: usize) {
    search.accepts_change(|scenario| keep_first(scenario, index.saturating_add(1)));
}

fn keep_first(scenario: &mut Scenario, count: usize) {
    scenario.requests.truncate(count);
    scenario.trim_schedule();
}

/// Brings a scenario of very many requests down in few tries: each of those takes long. What is tried are the
/// last requests alone, those near the last, and those without one kind.
pub(super) fn shorten_long(search: &mut Search) {
    let mut last = SHORT_REQUESTS;
    while last < search.best.requests.len() {
        if search.accepts_change(|scenario| {
            let rest = scenario.requests.len() - last;
            scenario.remove_requests(0..rest);
        }) {
            break;
        }
        last *= 4;
    }
    if search.best.requests.len() <= SHORT_REQUESTS {
        return;
    }
    let cluster = search.unit_bytes();
    let near = search.best.requests.iter().rev().find_map(Request::range).map(|(offset, length)| {
        (offset.saturating_sub(cluster), offset.saturating_add(length).saturating_add(cluster))
    });
    if let Some((start, end)) = near {
        let is_near = |request: &Request| {
            request.range().is_none_or(|(at, length)| at < end && at.saturating_add(length) > start)
        };
        keep_only(search, |request| is_near(request) && request.range().is_some());
        keep_only(search, is_near);
    }
    let mut kinds: Vec<_> = search.best.requests.iter().map(kind_rank).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        keep_only(search, |request| kind_rank(request) != kind);
    }
}

/// Drops all requests that are not wanted, but for the last.
fn keep_only(search: &mut Search, is_wanted: impl Fn(&Request) -> bool) {
    let last = search.best.requests.len().saturating_sub(1);
    search.accepts_change(|scenario| {
        let all = scenario.turns().enumerate();
        let kept = all.filter(|(index, (request, _))| *index == last || is_wanted(request));
        let kept = kept.map(|(_, turn)| turn).collect();
        scenario.set_turns(kept);
    });
}

/// Looks for the shortest beginning that fails, by halving. It is found if longer beginnings fail as well, as
/// they nearly always do.
pub(super) fn shortest_prefix(search: &mut Search) {
    let count = search.best.requests.len();
    // Where the last request is needed, no beginning fails.
    if count > SHORT_REQUESTS && !search.accepts_change(|scenario| keep_first(scenario, count - 1)) {
        return;
    }
    let mut passes = 0;
    while passes < search.best.requests.len() {
        let middle = passes + (search.best.requests.len() - passes) / 2;
        if !search.accepts_change(|scenario| keep_first(scenario, middle)) {
            passes = middle + 1;
        }
    }
}

/// Delta debugging: removes runs of requests, long ones first, from the end; until no single one can be
/// removed.
pub(super) fn remove(search: &mut Search) {
    let mut run = search.best.requests.len().div_ceil(2);
    while run > 0 && !search.is_over() {
        let mut end = search.best.requests.len();
        let mut removed = false;
        while end > 0 && !search.is_stopped() {
            let start = end.saturating_sub(run);
            removed |= search.accepts_change(|scenario| scenario.remove_requests(start..end));
            end = start;
        }
        if !removed || run > 1 {
            run /= 2;
        }
    }
}

/// Removes two requests that only make sense together.
pub(super) fn remove_pairs(search: &mut Search) {
    let count = search.best.requests.len();
    if count > PAIRS_REQUESTS_MAX {
        return;
    }
    for second in (1..count).rev() {
        for first in (0..second).rev() {
            let removed = search.accepts_change(|scenario| {
                scenario.remove_requests(second..second + 1);
                scenario.remove_requests(first..first + 1);
            });
            if removed {
                return;
            }
        }
    }
}

/// Makes each request plainer, from the last: its kind, its length, its place, its flags.
pub(super) fn simplify(search: &mut Search) {
    for index in (0..search.best.requests.len()).rev() {
        if search.is_over() {
            return;
        }
        for plainer in plainer_kinds(&search.best.requests[index]) {
            if search.accepts_request(index, plainer) {
                break;
            }
        }
        align(search, index);
        shorten(search, index);
        move_down(search, index);
        share_range(search, index);
        for plainer in plainer_flags(&search.best.requests[index]) {
            // Each of them alone, on top of those that went before.
            let request = plainer(search.best.requests[index]);
            search.accepts_request(index, request);
        }
    }
}

/// The same range with other kinds of requests, the plainest first.
fn plainer_kinds(request: &Request) -> Vec<Request> {
    let Some((offset, length)) = request.range() else { return vec![Request::Flush] };
    let fill = Fill::Stamp;
    let all = [
        Request::Read { offset, length },
        Request::Write { offset, length, fill, fua: false },
        Request::WriteZeroes { offset, length, unmap: false, no_fallback: false, fua: false },
        Request::WriteZeroes { offset, length, unmap: true, no_fallback: false, fua: false },
        Request::Discard { offset, length },
    ];
    all.into_iter().filter(|other| kind_rank(other) < kind_rank(request)).collect()
}

/// Moves both ends of a range to sectors, outwards and inwards.
fn align(search: &mut Search, index: usize) {
    let request = search.best.requests[index];
    if let Request::Resize { size } = request {
        for size in [size / 512 * 512, size.checked_next_multiple_of(512).unwrap_or(size)] {
            search.accepts_request(index, Request::Resize { size });
        }
    }
    let Some((offset, length)) = request.range() else { return };
    let Some(end) = offset.checked_add(length) else { return };
    let (start_down, start_up) = (offset / 512 * 512, offset.checked_next_multiple_of(512).unwrap_or(offset));
    let (end_down, end_up) = (end / 512 * 512, end.checked_next_multiple_of(512).unwrap_or(end));
    let length_up = length.checked_next_multiple_of(512).unwrap_or(length);
    for (start, end) in [
        (start_down, start_down.saturating_add(512)),
        (start_down, end_up),
        (start_up, end_up),
        (start_down, end_down),
        (start_up, end_down),
        // One of the two at least.
        (offset, offset.saturating_add(length / 512 * 512)),
        (offset, offset.saturating_add(length_up)),
        (start_down, end),
    ] {
        if start < end && search.accepts_request(index, request.with_range(start, end - start)) {
            return;
        }
    }
}

/// Cuts a range from its end, then from its beginning; by clusters, sectors, bytes.
fn shorten(search: &mut Search, index: usize) {
    let cluster = search.unit_bytes();
    for unit in [cluster, 512, 1] {
        let request = search.best.requests[index];
        if let Request::Resize { size } = request {
            search.lower(size, unit, |scenario, size| scenario.requests[index] = Request::Resize { size });
        }
        let Some((offset, length)) = request.range() else { continue };
        search.lower(length, unit, |scenario, length| {
            scenario.requests[index] = request.with_range(offset, length);
        });
        let request = search.best.requests[index];
        let Some((offset, length)) = request.range() else { continue };
        let Some(end) = offset.checked_add(length) else { continue };
        search.lower(length, unit, |scenario, length| {
            scenario.requests[index] = request.with_range(end - length, length);
        });
    }
}

/// Puts a request where another one is: two equal ranges are easier to read than two that overlap.
fn share_range(search: &mut Search, index: usize) {
    for other in 0..search.best.requests.len() {
        if search.is_stopped() {
            return;
        }
        if let Some((offset, length)) = search.best.requests[other].range() {
            let moved = search.best.requests[index].with_range(offset, length);
            search.accepts_request(index, moved);
        }
    }
}

/// Cuts all requests of the same range together, where none can be cut alone.
pub(super) fn shorten_together(search: &mut Search) {
    for index in 0..search.best.requests.len() {
        if search.is_over() {
            return;
        }
        let cluster = search.unit_bytes();
        for unit in [cluster, 512, 1] {
            let all = search.best.requests.clone();
            let Some((offset, length)) = all[index].range() else { continue };
            let shares = |request: &Request| request.range() == Some((offset, length));
            if all.iter().filter(|request| shares(request)).count() < 2 {
                continue;
            }
            search.lower(length, unit, |scenario, length| {
                for (request, old) in scenario.requests.iter_mut().zip(&all).filter(|(_, old)| shares(old)) {
                    *request = old.with_range(offset, length);
                }
            });
        }
    }
}

fn move_down(search: &mut Search, index: usize) {
    let cluster = search.unit_bytes();
    let Some((offset, length)) = search.best.requests[index].range() else { return };
    let to_cluster = search.best.requests[index].with_range(offset / cluster * cluster, length);
    search.accepts_request(index, to_cluster);
    for unit in [cluster, 512, 1] {
        let request = search.best.requests[index];
        let Some((offset, length)) = request.range() else { continue };
        search.lower(offset, unit, |scenario, offset| {
            scenario.requests[index] = request.with_range(offset, length);
        });
    }
}

/// What takes one flag away each.
fn plainer_flags(request: &Request) -> Vec<fn(Request) -> Request> {
    match request {
        Request::Write { .. } | Request::WriteCompressed { .. } => {
            vec![without_fua, with_stamps, with_small_byte]
        }
        Request::WriteZeroes { .. } => vec![without_fua, without_unmap, without_no_fallback],
        Request::Reopen { .. } => vec![|_| Request::Reopen { kill: false }],
        Request::Check { .. } => {
            vec![|_| Request::Check { repair: Repair::None }, |_| Request::Check { repair: Repair::Leaks }]
        }
        // Not the act, nor the option of an amendment: that is another request.
        Request::Snapshot { .. } => vec![|request| match request {
            Request::Snapshot { act, .. } => Request::Snapshot { act, slot: 0 },
            other => other,
        }],
        Request::Bitmap { .. } => vec![
            |request| match request {
                Request::Bitmap { act, .. } => Request::Bitmap { act, slot: 0 },
                other => other,
            },
            |request| match request {
                Request::Bitmap { act: OnBitmap::Merge(_), slot } => {
                    Request::Bitmap { act: OnBitmap::Merge(0), slot }
                }
                other => other,
            },
        ],
        _ => Vec::new(),
    }
}

fn without_fua(mut request: Request) -> Request {
    if let Request::Write { fua, .. } | Request::WriteZeroes { fua, .. } = &mut request {
        *fua = false;
    }
    request
}

fn without_unmap(mut request: Request) -> Request {
    if let Request::WriteZeroes { unmap, .. } = &mut request {
        *unmap = false;
    }
    request
}

fn without_no_fallback(mut request: Request) -> Request {
    if let Request::WriteZeroes { no_fallback, .. } = &mut request {
        *no_fallback = false;
    }
    request
}

fn with_stamps(request: Request) -> Request {
    with_fill(request, Fill::Stamp)
}

fn with_small_byte(request: Request) -> Request {
    with_fill(request, Fill::Byte(1))
}

fn with_fill(mut request: Request, new: Fill) -> Request {
    if let Request::Write { fill, .. } | Request::WriteCompressed { fill, .. } = &mut request {
        *fill = new;
    }
    request
}
