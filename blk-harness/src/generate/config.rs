//! Random configurations: small disks of small units mostly, for speed, with every value of every option coming up.

use crate::random::Random;

use super::Limits;
use crate::scenario::{Backing, Config};
use crate::space::{Geometry, Space};

const BACKINGS: [Backing; 8] = [
    Backing::None,
    Backing::None,
    Backing::None,
    Backing::None,
    Backing::Raw,
    Backing::Raw,
    Backing::Format,
    Backing::Chain,
];

pub(super) fn random(space: &Space, rng: &mut Random, limits: &Limits) -> Config {
    let mut config = Config { options: space.draw(rng), ..Config::default() };
    if space.has_backing {
        config.backing = rng.one_of(&BACKINGS);
    }
    // Sizes go around the geometry of what is legal.
    space.legalize(&mut config);
    let geometry = space.geometry(&config);
    config.size_bytes = size(rng, &geometry, limits.disk_bytes_max);
    if config.backing != Backing::None {
        config.backing_bytes = backing_size(rng, config.size_bytes, geometry.unit_bytes);
    }
    config.discard = !rng.chance(1, 5);
    config.atom_bytes = if rng.chance(1, 4) { 4096 } else { 512 };
    config.control = if rng.chance(1, 3) { rng.below(u64::from(u32::MAX)) as u32 } else { 0 };
    if limits.lanes_max >= 2 {
        config.lanes = 2 + rng.below(u64::from(limits.lanes_max) - 1) as u8;
    }
    (space.tune)(&mut config, rng);
    space.legalize(&mut config);
    config
}

/// The size of the disk, in bytes: most have a few units, some need several tables, an eighth have odd tails.
fn size(rng: &mut Random, geometry: &Geometry, disk_bytes_max: u64) -> u64 {
    let (unit, reach) = (geometry.unit_bytes, geometry.table_reach_bytes);
    let units_max = (disk_bytes_max / unit).max(1);
    // Large units get fewer, since all of the disk is compared at the end.
    let few = if unit < 1 << 14 { 64 } else { 16 };
    let table = reach / unit;
    // One table fits, two do not: the second one begins at least.
    let outgrows = table > units_max / 2 && table <= units_max && table > few;
    let units = match rng.below(16) {
        13 | 14 if outgrows => return table_and_more(rng, geometry),
        0..=3 => 1 + rng.below(4),
        4..=8 => 1 + rng.below(few / 4),
        13 if 2 * table <= units_max => table + rng.below(3 * table),
        14 if unit <= 1024 => table + rng.below(3 * table),
        // Small units again: enough of them for several tables, even of tables.
        12 if unit <= 1024 => units_max - rng.below(units_max / 2 + 1),
        15 if unit <= 1024 => 1 + rng.below(units_max),
        _ => 1 + rng.below(few),
    };
    let size = units.min(units_max) * unit;
    let size = match rng.below(32) {
        0..=2 => size - rng.below(unit.div_ceil(512)) * 512.min(unit),
        3 => size - rng.below(unit),
        4 => rng.below(1025),
        _ => size,
    };
    geometry.align_down(size)
}

/// A little, or up to a whole table more than one table reaches, bytes.
fn table_and_more(rng: &mut Random, geometry: &Geometry) -> u64 {
    let (unit, reach) = (geometry.unit_bytes, geometry.table_reach_bytes);
    let more = if rng.chance(1, 2) { rng.below(8) * unit } else { rng.below(reach + 1) };
    geometry.align_down(reach + more / unit * unit)
}

/// The size of the backing file, in bytes: the same, shorter or longer, also by parts of a unit or sector.
fn backing_size(rng: &mut Random, size: u64, unit: u64) -> u64 {
    match rng.below(8) {
        0..=2 => size,
        3 => rng.below(size + 1),
        4 => rng.below(size / 512 + 1) * 512,
        5 => size.saturating_sub(rng.below(2 * unit)),
        6 => size + rng.below((2 * unit).div_ceil(512)) * 512,
        _ => size + rng.below(2 * unit),
    }
}
