//! What "smaller" means: one total order on scenarios.

use crate::scenario::{Backing, Config, Fill, OnBitmap, Request, RequestKind, Scenario};
use crate::space::{Space, Unit};

/// Compared from the first to the last. Sums of 64-bit numbers need more than 64 bits.
type Cost = [u128; 15];

pub(super) fn cost(space: &Space, scenario: &Scenario) -> Cost {
    let requests = &scenario.requests;
    let sum = |of: fn(&Request) -> u128| requests.iter().map(of).sum::<u128>();
    let size = scenario.config.size_bytes;
    [
        requests.len() as u128,
        scenario.schedule.iter().filter(|turn| !turn.is_never()).count() as u128,
        sum(kind_rank),
        config_rank(space, &scenario.config),
        u128::from(space.unit(&scenario.config).map_or(0, Unit::distance)),
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
        RequestKind::Snapshot => 10,
        RequestKind::Amend => 11,
        RequestKind::Bitmap => 12,
    }
}

/// How far the configuration is from the usual one, apart from the unit of allocation.
fn config_rank(space: &Space, config: &Config) -> u128 {
    let usual = Config::default();
    let options = config.options.iter().filter(|(name, _)| Some(*name) != space.unit).count();
    let differs = [
        config.discard != usual.discard,
        config.control != usual.control,
        config.atom_bytes != usual.atom_bytes,
        config.host_alignment != usual.host_alignment,
        config.probe_flush != usual.probe_flush,
    ];
    let backing = match config.backing {
        Backing::None => 0,
        Backing::Raw => 1,
        Backing::Format => 2,
        Backing::Chain => 3,
    };
    differs.into_iter().map(u128::from).sum::<u128>() + options as u128 + backing
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
        Request::Snapshot { act, slot } => act as u128 + 4 * u128::from(slot),
        Request::Bitmap { act, slot } => {
            let from = if let OnBitmap::Merge(from) = act { from } else { 0 };
            u128::from(act.index()) + 8 * (u128::from(slot) + u128::from(from))
        }
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
