//! Random configurations: small disks of small units mostly, for speed, with every value of every option
//! coming up.

use crate::random::Random;

use super::Limits;
use super::aim::{LONG_BYTES, MANY_UNITS};
use crate::scenario::bounds::{FAR_BYTES_MAX, FAR_BYTES_MIN};
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

/// What hosts demand: mostly nothing, because it is slow.
const HOST_ALIGNMENTS: [u16; 32] = {
    let mut all = [1; 32];
    (all[0], all[1]) = (512, 4096);
    all
};

/// Where far disks end, about, bytes.
const FAR_SIZES: [u64; 8] = [1 << 31, 1 << 32, 1 << 32, 5 << 30, 1 << 33, 1 << 37, 1 << 38, 1 << 40];
/// A far disk needs no more tables: they are in memory, and take time to make.
const FAR_TABLES_MAX: u64 = 1 << 17;

pub(super) fn random(space: &Space, rng: &mut Random, limits: &Limits) -> Config {
    let mut config = Config { options: space.draw(rng), ..Config::default() };
    if space.backing_option.is_some() {
        config.backing = rng.one_of(&BACKINGS);
    }
    // Sizes go around the geometry of what is legal.
    space.legalize(&mut config);
    let geometry = space.geometry(&config);
    // A far disk takes as long as several others.
    let is_far = limits.far && !geometry.is_dense && rng.chance(1, 26);
    config.size_bytes =
        if is_far { far_size(rng, &geometry) } else { size(rng, &geometry, limits.disk_bytes_max) };
    // What a far disk has of its own is far in its file, too.
    if is_far && rng.chance(3, 4) {
        config.backing = Backing::None;
    }
    if config.backing != Backing::None {
        // All of it is written.
        let shown = config.size_bytes.min(limits.disk_bytes_max);
        config.backing_bytes = backing_size(rng, shown, geometry.unit_bytes);
    }
    config.discard = !rng.chance(1, 5);
    config.atom_bytes = if rng.chance(1, 4) { 4096 } else { 512 };
    config.control = if rng.chance(1, 3) { rng.below(u64::from(u32::MAX)) as u32 } else { 0 };
    if limits.lanes_max >= 2 {
        config.lanes = 2 + rng.below(u64::from(limits.lanes_max) - 1) as u8;
    } else if limits.laned_one_in > 0 && rng.chance(1, limits.laned_one_in) {
        config.lanes = 2;
    }
    config.host_alignment = rng.one_of(&HOST_ALIGNMENTS);
    config.probe_flush = if rng.chance(1, 8) { 1 + rng.below(3) as u8 } else { 0 };
    let largest = if is_far { FAR_BYTES_MAX } else { config.size_bytes.max(limits.disk_bytes_max) };
    (space.tune)(&mut config, rng);
    space.legalize(&mut config);
    if config.size_bytes > largest {
        // What it starts from is too large here: another one.
        return random(space, rng, limits);
    }
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
        12 if unit <= 1024 => MANY_UNITS + rng.below(2 * MANY_UNITS),
        11 if unit < LONG_BYTES && rng.chance(1, 2) => LONG_BYTES / unit + 1 + rng.below(4),
        15 if unit <= 1024 => 1 + rng.below(units_max).min(rng.below(units_max)),
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

/// A little more than where 31 or 32 bits, or an index of 16 bits, end.
fn far_size(rng: &mut Random, geometry: &Geometry) -> u64 {
    let tables_max = geometry.table_reach_bytes.saturating_mul(FAR_TABLES_MAX);
    let size = rng.one_of(&FAR_SIZES).min(tables_max) + rng.below(16) * geometry.unit_bytes;
    let size = if rng.chance(1, 8) { size - rng.below(geometry.unit_bytes) } else { size };
    geometry.align_down(size.max(FAR_BYTES_MIN + geometry.alignment_bytes))
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
