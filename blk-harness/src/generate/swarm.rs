//! Which kinds of requests a scenario has, and what they write.

use crate::random::Random;

use crate::scenario::{Fill, RequestKind};
use crate::space::Geometry;

/// How often each kind comes when all are even, in the order of [`RequestKind::ALL`].
const USUAL: [u16; RequestKind::ALL.len()] = [20, 32, 8, 14, 12, 4, 5, 2, 2, 1, 4, 2, 5];

/// How often each kind comes in scenarios whose requests race: more discards, and flushes that let freed
/// clusters be found.
const RACING: [u16; RequestKind::ALL.len()] = [14, 34, 4, 12, 18, 16, 6, 1, 1, 1, 2, 1, 2];

/// The mixture of one scenario: some kinds are missing, some come three times as often.
#[derive(Debug, Clone)]
pub(crate) struct Swarm {
    /// How often each kind comes.
    weights: [u16; RequestKind::ALL.len()],
    /// Sums of the weights up to each kind.
    sums: [u16; RequestKind::ALL.len()],
    /// Whether a compressed write can be one; where not, it is a plain one.
    compresses: bool,
}

impl Swarm {
    /// Each kind is left out with probability 1/4 and tripled with probability 1/4. Something is always
    /// written.
    pub(crate) fn random(rng: &mut Random) -> Self {
        Self::random_of(rng, USUAL)
    }

    /// As [`Swarm::random`], for requests in flight together.
    pub(crate) fn random_racing(rng: &mut Random) -> Self {
        Self::random_of(rng, RACING)
    }

    fn random_of(rng: &mut Random, usual: [u16; RequestKind::ALL.len()]) -> Self {
        let mut dice = rng.bits();
        let mut weights = usual;
        for weight in &mut weights {
            *weight *= [0, 1, 1, 3][(dice & 3) as usize];
            dice >>= 2;
        }
        let (write, compressed) = (RequestKind::Write.index(), RequestKind::WriteCompressed.index());
        if weights[write] == 0 && weights[compressed] == 0 {
            weights[write] = usual[write];
        }
        Self::of(weights)
    }

    /// The even mixture.
    pub(crate) fn usual() -> Self {
        Self::of(USUAL)
    }

    fn of(weights: [u16; RequestKind::ALL.len()]) -> Self {
        let mut sum = 0;
        let sums = weights.map(|weight| {
            sum += weight;
            sum
        });
        Self { weights, sums, compresses: true }
    }

    /// The same for disks of this geometry.
    pub(crate) fn on(self, geometry: &Geometry) -> Self {
        let mut weights = self.weights;
        // What images do not have is left out.
        let has = [(RequestKind::Snapshot, geometry.snapshots), (RequestKind::Bitmap, geometry.bitmaps)];
        let has = has.into_iter().chain([(RequestKind::Amend, !geometry.amendments.is_empty())]);
        for (kind, _) in has.filter(|(_, has)| !has) {
            weights[kind.index()] = 0;
        }
        Self { compresses: geometry.compressed_unit_bytes.is_some(), ..Self::of(weights) }
    }

    /// A kind, as often as its weight says.
    pub(crate) fn kind(&self, rng: &mut Random) -> RequestKind {
        let total = self.sums[self.sums.len() - 1];
        let dice = rng.below(u64::from(total)) as u16;
        match RequestKind::ALL[self.sums.iter().filter(|&&sum| sum <= dice).count()] {
            RequestKind::WriteCompressed if !self.compresses => RequestKind::Write,
            kind => kind,
        }
    }
}

/// From here on, compressing stamps takes longer than all else that a request does. Bytes.
const COMPRESSED_BYTES: u64 = 4 << 10;

/// What a compressed write of so many bytes writes.
pub(crate) fn compressed_fill(rng: &mut Random, length: u64) -> Fill {
    if length > COMPRESSED_BYTES && rng.chance(7, 8) { Fill::Byte(rng.below(256) as u8) } else { fill(rng) }
}

/// What a write writes: nearly always stamps, which tell more; sometimes one byte, zero among them.
pub(crate) fn fill(rng: &mut Random) -> Fill {
    if !rng.chance(1, 10) {
        return Fill::Stamp;
    }
    match rng.below(4) {
        0 => Fill::Byte(0),
        1 => Fill::Byte(0xff),
        _ => Fill::Byte(rng.below(256) as u8),
    }
}
