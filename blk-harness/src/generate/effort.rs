//! How long a scenario takes, about, so that a few do not take the time of all others.
//!
//! Of what a fuzzer keeps, one scenario in twenty takes half of the time: compressed writes over thousands of
//! units, floods of small units, tables of wide ones. They are needed now and then, and breed, since they
//! reach much.

use crate::random::Random;
use crate::scenario::bounds::FAR_BYTES_MIN;
use crate::scenario::{Backing, Request, RequestKind, Scenario};
use crate::space::{Geometry, Space};

/// What takes longer than this is made more rarely, by as much as it takes longer. About nanoseconds.
const USUAL: u64 = 300_000;
/// Nothing becomes rarer than by this.
const RARER_MAX: u64 = 64;

/// Making and judging the smallest disk.
const BENCH: u64 = 80_000;
/// A request, apart from what it moves.
const REQUEST: u64 = 2_000;
/// Each opening and each check reads tables as wide as a unit. The least is two openings and a check.
const OPENING: u64 = 15_000;
const OPENINGS_MIN: u64 = 3;
const UNIT_BYTE_OPENED: u64 = 1;
/// A disk that is far has large tables.
const FAR: u64 = 1_600_000;
/// Each unit of the disk, whenever the image is opened or checked.
const UNIT_LOOKED_AT: u64 = 7;
/// A unit of a backing file of the format, which is made first.
const UNIT_BELOW: u64 = 500;

/// About how many nanoseconds a scenario takes when it is run once. Requests that stick out of the disk take
/// none.
fn effort(space: &Space, scenario: &Scenario) -> u64 {
    let config = &scenario.config;
    let geometry = space.geometry(config);
    let unit = geometry.unit_bytes;
    let (mut size, mut largest) = (config.size_bytes, config.size_bytes);
    let (mut openings, mut moved) = (OPENINGS_MIN, 0_u64);
    for request in &scenario.requests {
        match *request {
            Request::Resize { size: new } => (size, largest) = (new, largest.max(new)),
            Request::Reopen { .. } | Request::Check { .. } => openings += 1,
            _ => moved = moved.saturating_add(of_request(request, size, &geometry)),
        }
    }
    let below = match config.backing {
        Backing::None => 0,
        Backing::Raw => config.backing_bytes / 2,
        Backing::Format | Backing::Chain => {
            config.backing_bytes / 2 + config.backing_bytes / unit * UNIT_BELOW
        }
    };
    let is_far = largest > FAR_BYTES_MIN;
    let disk = if is_far { FAR } else { size / 8 + openings * (largest / unit * UNIT_LOOKED_AT) };
    let opened = openings * (OPENING + unit * UNIT_BYTE_OPENED);
    let requests = scenario.requests.len() as u64 * REQUEST;
    [BENCH, requests, opened, disk, below].into_iter().fold(moved, u64::saturating_add)
}

/// What a request of a disk of `size` bytes moves, and the units whose state it changes.
fn of_request(request: &Request, size: u64, geometry: &Geometry) -> u64 {
    let Some((offset, length)) = request.range() else { return 0 };
    let Some(end) = offset.checked_add(length).filter(|end| *end <= size && length > 0) else { return 0 };
    let unit = geometry.unit_bytes;
    let units = end.div_ceil(unit) - offset / unit;
    let (byte, of_unit) = match request.kind() {
        RequestKind::Write => (length / 2, 500),
        RequestKind::WriteCompressed => (length * 6, 17_000),
        RequestKind::WriteZeroes => (0, 250),
        _ => (length / 5, 100),
    };
    byte.saturating_add(units.saturating_mul(of_unit))
}

/// Whether a scenario is to be bred from: the longer it takes, the more rarely.
pub(crate) fn breeds(space: &Space, rng: &mut Random, scenario: &Scenario) -> bool {
    rng.chance(USUAL, effort(space, scenario).clamp(USUAL, USUAL * RARER_MAX))
}

/// Whether a scenario that was made anew is to be run: the longer it takes, the more rarely, but not as
/// rarely as it would breed: what it reaches may be new.
pub(crate) fn is_wanted(space: &Space, rng: &mut Random, scenario: &Scenario) -> bool {
    let effort = effort(space, scenario).clamp(USUAL, USUAL * RARER_MAX);
    rng.chance(USUAL, (USUAL * effort).isqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::PLAIN;

    fn effort_of(text: &str) -> u64 {
        effort(&PLAIN, &Scenario::from_text(&format!("blk-scenario 1\n{text}")).unwrap())
    }

    #[test]
    fn what_moves_more_takes_longer_and_what_is_refused_takes_nothing() {
        let small = "config size-bytes=64k\nwrite 0 4k\n";
        for (longer, least) in [
            ("config size-bytes=1M\nwrite 0 1M\n", 500_000),
            ("config size-bytes=64k\ntruncate 1M\nwrite 0 1M\n", 500_000),
            ("config size-bytes=1M\nwrite -c -P 1 0 64k\n", 300_000),
            ("config size-bytes=5G\n", 1_000_000),
            ("config size-bytes=64k\nwrite 0 4k\nreopen\n", 10_000),
            ("config size-bytes=64k\nwrite 0 4k\ncheck\n", 10_000),
        ] {
            assert!(effort_of(longer) >= effort_of(small) + least, "{longer}: {}", effort_of(longer));
        }
        let refused = "config size-bytes=64k\nwrite 0 1M\n";
        assert!(effort_of(refused) < effort_of(small), "it sticks out");
        let nowhere = "config size-bytes=64k\nwrite 18446744073709551615 1M\n";
        assert_eq!(effort_of(nowhere), effort_of(refused));
    }

    #[test]
    fn what_takes_long_breeds_more_rarely_and_is_made_less_rarely() {
        let mut rng = Random::new(1);
        let mut count = |text: &str| {
            let scenario = Scenario::from_text(&format!("blk-scenario 1\n{text}")).unwrap();
            let bred = (0..2000).filter(|_| breeds(&PLAIN, &mut rng, &scenario)).count();
            (bred, (0..2000).filter(|_| is_wanted(&PLAIN, &mut rng, &scenario)).count())
        };
        assert_eq!(count("config size-bytes=4k cluster_size=4k\nread 0 512\n"), (2000, 2000));
        let (bred, made) = count("config size-bytes=4M\nwrite 0 4M\n");
        assert!(bred > 0 && bred < 400 && made > bred && made < 1200, "{bred} {made}");
    }
}
