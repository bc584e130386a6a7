//! What "smaller" means: one total order on scenarios.

use crate::scenario::{Backing, Config, Fill, Request, RequestKind, Scenario};

/// Compared from the first to the last. Sums of 64-bit numbers need more than 64 bits.
type Cost = [u128; 15];

pub(super) fn cost(scenario: &Scenario) -> Cost {
    let requests = &scenario.requests;
    let sum = |of: fn(&Request) -> u128| requests.iter().map(of).sum::<u128>();
    let size = scenario.config.size_bytes;
    [
        requests.len() as u128,
        scenario.schedule.iter().filter(|turn| !turn.is_never()).count() as u128,
        sum(kind_rank),
        config_rank(&scenario.config),
        u128::from(scenario.config.cluster_bits.abs_diff(Config::default().cluster_bits)),
        sum(misalignment) + u128::from(!size.is_multiple_of(512)),
        u128::from(size),
        u128::from(scenario.config.backing != Backing::None && scenario.config.backing_bytes != size),
        u128::from(scenario.config.backing_bytes),
        sum(|request| request.range().map_or(0, |(_, length)| u128::from(length)) + resize(request)),
        sum(|request| request.range().map_or(0, |(offset, _)| u128::from(offset))),
        sum(flags),
        sum(|request| fill_rank(fill(request))),
        u128::from(scenario.config.lanes),
        scenario.schedule.iter().map(|turn| u128::from(turn.byte())).sum(),
    ]
}

/// The plainer, the lower.
pub(super) fn kind_rank(request: &Request) -> u128 {
    match request.kind() {
        RequestKind::Read => 0,
        RequestKind::Flush => 1,
        RequestKind::Write => 2,
        RequestKind::Status => 3,
        RequestKind::WriteZeroes => 4,
        RequestKind::Discard => 5,
        RequestKind::WriteCompressed => 6,
        RequestKind::Reopen => 7,
        RequestKind::Check => 8,
        RequestKind::Resize => 9,
    }
}

/// How far the configuration is from the default, apart from geometry.
fn config_rank(config: &Config) -> u128 {
    let usual = Config::default();
    let differs = [
        config.version != usual.version,
        config.refcount_order != usual.refcount_order,
        config.compression != usual.compression,
        config.l2_cache_entries != usual.l2_cache_entries,
        config.l2_slice_bytes != usual.l2_slice_bytes,
        config.refcount_cache_entries != usual.refcount_cache_entries,
        config.preallocate != usual.preallocate,
        config.discard != usual.discard,
        config.lazy_refcounts != usual.lazy_refcounts,
        config.control != usual.control,
        config.atom_bytes != usual.atom_bytes,
    ];
    let backing = match config.backing {
        Backing::None => 0,
        Backing::Raw => 1,
        Backing::Format => 2,
        Backing::Chain => 3,
    };
    differs.into_iter().map(u128::from).sum::<u128>() + backing
}

fn misalignment(request: &Request) -> u128 {
    let odd = |number: u64| u128::from(!number.is_multiple_of(512));
    match *request {
        Request::Resize { size } => odd(size),
        _ => request.range().map_or(0, |(offset, length)| odd(offset) + odd(length)),
    }
}

fn resize(request: &Request) -> u128 {
    match *request {
        Request::Resize { size } => u128::from(size),
        _ => 0,
    }
}

fn flags(request: &Request) -> u128 {
    match *request {
        Request::Write { fua, .. } => u128::from(fua),
        Request::WriteZeroes { unmap, no_fallback, fua, .. } => {
            u128::from(unmap) + u128::from(no_fallback) + u128::from(fua)
        }
        Request::Reopen { kill } => u128::from(kill),
        Request::Check { repair } => repair as u128,
        _ => 0,
    }
}

fn fill(request: &Request) -> Fill {
    match *request {
        Request::Write { fill, .. } | Request::WriteCompressed { fill, .. } => fill,
        _ => Fill::Stamp,
    }
}

fn fill_rank(fill: Fill) -> u128 {
    match fill {
        Fill::Stamp => 0,
        Fill::Byte(byte) => 1 + u128::from(byte),
    }
}
