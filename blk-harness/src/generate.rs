//! Scenarios out of numbers: seeded random ones without end, and all short ones.
//!
//! Where corruption hides decides what is made. Many requests go to few clusters, so that each of them
//! changes its kind again and again; ranges begin and end at clusters' edges, at the reach of a table and at
//! the end of the disk, or one byte beside; what was written is read. Where these edges are is said by the
//! geometry of the [`Space`] under test. Each scenario leaves out some kinds of requests and has more of
//! others (swarm testing): a scenario without flushes or with discards everywhere goes where an even mixture
//! never does.
//!
//! Numbers come from [`crate::random`]. A scenario is a pure function of seed, index and limits, within one
//! version of this crate; what is to be kept is kept as text.

mod aim;
mod config;
mod effort;
mod exhaustive;
mod held;
mod kinds;
mod swarm;
mod templates;
mod turns;

use crate::random::Random;

pub(crate) use effort::{breeds, is_wanted};
pub use exhaustive::{Exhaustive, alphabet, exhaustive};
pub use kinds::setups;

use crate::scenario::{Config, Repair, Request, RequestKind, Scenario};
use crate::space::{Geometry, Space};
pub(crate) use aim::Aim;
pub use aim::MANY_UNITS;
pub(crate) use swarm::Swarm;
pub(crate) use templates::push as push_template;
pub use templates::{Template, template};
pub(crate) use turns::turn;

/// Requests of a scenario with lanes among many without, at most.
const FAILING_LANED_MAX: usize = 14;

/// What generated scenarios stay within.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Fewest requests of a scenario.
    pub requests_min: usize,
    /// Most requests of a scenario; not less than the fewest.
    pub requests_max: usize,
    /// Largest disk, in bytes, at creation and after a resize. A disk of one unit may be larger, and one that
    /// a single table would fill is up to twice as large, so that it needs two.
    pub disk_bytes_max: u64,
    /// Largest read or write, in bytes. What is compressed as one may be larger, and, from 1 MiB on, a write
    /// that fills a disk.
    pub data_bytes_max: u64,
    /// Some disks are larger than 1 GiB, up to some TiB, and some requests longer than 4 GiB: for engines
    /// that compare only what requests have touched of so large a disk.
    pub far: bool,
    /// Most lanes of a scenario, which has two at least; below two, no scenario has lanes.
    pub lanes_max: u8,
    /// Where scenarios have no lanes, one in so many has two all the same; 0 for none.
    pub laned_one_in: u64,
    /// Whether scenarios may be about a disk that grows: not for drivers that cannot resize.
    pub resizes: bool,
    /// The configuration of every scenario; `None` makes a new one for each.
    pub config: Option<Config>,
}

impl Default for Limits {
    /// 1 to 40 requests, half of the scenarios at most 20; disks up to 4 MiB, requests up to 1 MiB; all
    /// configurations.
    fn default() -> Self {
        Self {
            requests_min: 1,
            requests_max: 40,
            disk_bytes_max: 4 << 20,
            data_bytes_max: 1 << 20,
            far: false,
            lanes_max: 0,
            laned_one_in: 0,
            resizes: true,
            config: None,
        }
    }
}

impl Limits {
    /// For requests one after the other: as the default, and far disks.
    pub fn sequential() -> Self {
        Self { far: true, ..Self::default() }
    }

    /// For faults: as the default, and one scenario in four has requests in flight together.
    pub fn failing() -> Self {
        Self { laned_one_in: 4, ..Self::default() }
    }

    /// For requests in flight together: 2 to 4 lanes, 2 to 14 requests of up to 64 KiB, disks up to 64 KiB:
    /// few clusters, so that what one request frees is soon another's.
    pub fn racing() -> Self {
        Self {
            requests_min: 2,
            requests_max: 14,
            disk_bytes_max: 64 << 10,
            data_bytes_max: 64 << 10,
            far: false,
            lanes_max: 4,
            laned_one_in: 0,
            resizes: true,
            config: None,
        }
    }
}

/// Random scenarios, one after the other, without end.
#[derive(Debug, Clone)]
pub struct Generator {
    space: &'static Space,
    seed: u64,
    index: u64,
    limits: Limits,
}

impl Generator {
    /// The scenarios of `seed` for drivers of `space`, from the first.
    ///
    /// # Panics
    /// If the limits leave no scenario: fewer requests at most than at least.
    pub fn new(space: &'static Space, seed: u64, limits: Limits) -> Self {
        assert!(limits.requests_min <= limits.requests_max, "limits leave no scenario: {limits:?}");
        Self { space, seed, index: 0, limits }
    }

    /// Goes on with scenario number `index`, from 0.
    #[must_use]
    pub fn starting_at(mut self, index: u64) -> Self {
        self.index = index;
        self
    }

    /// The number of the scenario that comes next.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Makes the next scenario in place of `scenario`, whose memory is used again.
    pub fn next_into(&mut self, scenario: &mut Scenario) {
        let mut rng = Random::new(mix(self.seed, self.index));
        self.index = self.index.checked_add(1).expect("fewer than 2^64 scenarios");
        scenario.config = match &self.limits.config {
            Some(config) => config.clone(),
            None => config::random(self.space, &mut rng, &self.limits),
        };
        let geometry = self.space.geometry(&scenario.config);
        let is_racing = scenario.config.lanes >= 2;
        // Where few scenarios have lanes, these are to meet in what they do; and each fault is one more run.
        let is_failing = is_racing && self.limits.laned_one_in > 0;
        let most = self.limits.requests_max.min(if is_failing { FAILING_LANED_MAX } else { usize::MAX });
        let count = self.request_count(&mut rng).min(most);
        scenario.requests.clear();
        scenario.requests.reserve(count);
        let swarm = if is_racing { Swarm::random_racing(&mut rng) } else { Swarm::random(&mut rng) };
        let swarm = swarm.on(&geometry);
        let mut aim = Aim::new(&mut rng, &scenario.config, &geometry, &self.limits);
        let (templates, of) = templates::share(&aim);
        let template_at =
            if rng.chance(templates, of) { rng.below(count.max(1) as u64) as usize } else { count };
        let holds = is_racing && rng.chance(1, if is_failing { 2 } else { 4 });
        let mut held = None;
        while scenario.requests.len() < count {
            if holds && held.is_none() {
                held = Some(held::push(&mut rng, &mut aim, is_failing, &mut scenario.requests));
                scenario.requests.truncate(most);
            } else if scenario.requests.len() == template_at {
                // All of it: what it is there for shows at its end.
                templates::push(&mut rng, &mut aim, &mut scenario.requests);
                scenario.requests.truncate(most);
            } else {
                scenario.requests.push(request(&mut rng, &swarm, &mut aim));
            }
        }
        scenario.schedule.clear();
        match held {
            Some((at, turn)) if at < scenario.requests.len() => scenario.set_turn(at, turn),
            _ if is_racing => turns::fill(&mut rng, scenario),
            _ => {}
        }
    }

    fn request_count(&self, rng: &mut Random) -> usize {
        let span = (self.limits.requests_max - self.limits.requests_min) as u64 + 1;
        self.limits.requests_min + rng.below(span) as usize
    }
}

impl Iterator for Generator {
    type Item = Scenario;

    /// Always another one.
    fn next(&mut self) -> Option<Scenario> {
        let mut scenario = Scenario::default();
        self.next_into(&mut scenario);
        Some(scenario)
    }
}

/// A request of a kind that `swarm` chooses, at a place that `aim` chooses.
pub(crate) fn request(rng: &mut Random, swarm: &Swarm, aim: &mut Aim) -> Request {
    let kind = if aim.wants_reading_back(rng) { RequestKind::Read } else { swarm.kind(rng) };
    let request = of_kind(rng, kind, aim);
    aim.note(&request);
    request
}

/// A request of this kind, at a place that `aim` chooses.
pub(crate) fn of_kind(rng: &mut Random, kind: RequestKind, aim: &mut Aim) -> Request {
    let (offset, length) = aim.range(rng, kind);
    match kind {
        RequestKind::Read => Request::Read { offset, length },
        RequestKind::Write => {
            Request::Write { offset, length, fill: swarm::fill(rng), fua: rng.chance(1, 16) }
        }
        RequestKind::WriteCompressed => {
            Request::WriteCompressed { offset, length, fill: swarm::compressed_fill(rng, length) }
        }
        RequestKind::WriteZeroes => {
            let bits = rng.below(256);
            let (unmap, no_fallback, fua) = (bits & 1 == 1, bits & 0x0e == 0, bits & 0xf0 == 0);
            Request::WriteZeroes { offset, length, unmap, no_fallback, fua }
        }
        RequestKind::Discard => Request::Discard { offset, length },
        RequestKind::Flush => Request::Flush,
        RequestKind::Status => Request::Status { offset, length },
        RequestKind::Resize => Request::Resize { size: aim.new_size(rng) },
        RequestKind::Reopen => Request::Reopen { kill: rng.chance(1, 2) },
        RequestKind::Check => {
            Request::Check { repair: rng.one_of(&[Repair::None, Repair::None, Repair::Leaks, Repair::All]) }
        }
        RequestKind::Snapshot => aim.snapshot(rng),
        RequestKind::Amend => aim.amendment(rng),
        RequestKind::Bitmap => aim.bitmap(rng),
    }
}

/// A configuration as `limits` allow.
pub(crate) fn random_config(space: &Space, rng: &mut Random, limits: &Limits) -> Config {
    config::random(space, rng, limits)
}

/// A range, brought to the alignment but for a share that is meant to be refused.
pub(crate) fn aligned(rng: &mut Random, geometry: &Geometry, size: u64, range: (u64, u64)) -> (u64, u64) {
    if geometry.alignment_bytes == 1 || rng.chance(1, 24) {
        return range;
    }
    let (offset, length) = geometry.align(range);
    // What stuck out of the disk goes on to.
    let fits = range.0.checked_add(range.1).is_some_and(|end| end <= size);
    let end = geometry.align_down(size);
    if fits && offset <= end { (offset, length.min(end - offset)) } else { (offset, length) }
}

/// A seed for one scenario. Neighbouring indices give unrelated numbers because `seed_from_u64` hashes what
/// it gets.
fn mix(seed: u64, index: u64) -> u64 {
    seed.rotate_left(32).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ index
}
