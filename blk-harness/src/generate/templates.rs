//! Sequences that cost users of shipped drivers their disks, as public reports tell them. Random requests
//! rarely come in such an order.

mod inside;

use crate::random::Random;

use super::aim::{Aim, LONG_BYTES};
use super::{of_kind, swarm};
use crate::scenario::{Fill, OnSnapshot, Request, RequestKind};

/// A sequence of requests that a scenario may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Writes one range after the other until the disk is full, as far as requests go; closes or goes on;
    /// writes; reads all. A host may run out of space midway.
    FillUp,
    /// Writes, discards, flushes elsewhere, and writes elsewhere what may take the space that was given back;
    /// reads both.
    LateHole,
    /// Writes a unit in each of many tables, more than caches hold, and reads them in another order.
    ManyTables,
    /// Zeroes over what was there before the scenario; reopens; reads, and writes a part.
    ZeroOverBacking,
    /// Copies parts of units around a long write that ends and begins inside of them.
    LongWrite,
    /// Writes to where one table begins, and then over its edge from the table before, which may not be there
    /// yet.
    OverEdge,
    /// Writes, gives back or replaces, flushes, and writes to where other tables are needed: they may lie
    /// where data was.
    TableReuse,
    /// Zeroes more than 4 GiB, on disks that are so large; what was written far inside goes.
    FarZeroes,
    /// Gives units back; grows the disk, also from inside a unit, a little or past its table of tables, and
    /// reads around its old end.
    Growth,
    /// Writes near the beginning, and gives back what lies above it by as much as a number of 31 or 32 bits
    /// holds: a hole whose offset has lost its high bits is punched into what was written.
    FarHole,
    /// Grows the disk until 16 bits do not count its tables, which need a long table of their own; writes to
    /// its end.
    FarGrowth,
    /// Writes, makes a snapshot, changes what it holds in part, goes back to it or deletes it, and reads
    /// both.
    Snapshots,
    /// Writes around what becomes the end, makes the disk smaller, also to the inside of a unit, and larger
    /// again, and reads what came back.
    Shrink,
    /// Writes and zeroes, shares both with a snapshot unless the amendment excludes that, changes them in
    /// part, amends the image, and reads all.
    Amended,
    /// Adds a dirty bitmap, changes the disk, closes or kills, reads the bitmap; ends it, merges it or clears
    /// it.
    Bitmaps,
}

impl Template {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::FillUp,
        Self::LateHole,
        Self::ManyTables,
        Self::ZeroOverBacking,
        Self::LongWrite,
        Self::OverEdge,
        Self::TableReuse,
        Self::FarZeroes,
        Self::Growth,
        Self::FarHole,
        Self::FarGrowth,
        Self::Snapshots,
        Self::Shrink,
        Self::Amended,
        Self::Bitmaps,
    ];

    /// Those that are of use on any disk.
    const USUAL: [Self; 9] = [
        Self::FillUp,
        Self::LateHole,
        Self::ManyTables,
        Self::ZeroOverBacking,
        Self::LongWrite,
        Self::OverEdge,
        Self::TableReuse,
        Self::Growth,
        Self::Shrink,
    ];
}

/// Requests that fill a disk at most.
const FILLING_MAX: u64 = 6;
/// Tables that are written to at most.
const TABLES_MAX: u64 = 12;

/// The requests of `template` on a disk of `space`'s geometry for `config`; within `limits`, a pure function
/// of the seed.
pub fn template(
    space: &crate::space::Space,
    config: &crate::scenario::Config,
    limits: &super::Limits,
    template: Template,
    seed: u64,
) -> Vec<Request> {
    let mut rng = Random::new(seed);
    let mut aim = Aim::new(&mut rng, config, &space.geometry(config), limits);
    let mut requests = Vec::new();
    push_one(&mut rng, &mut aim, template, &mut requests);
    requests
}

/// Adds the requests of one template.
pub(crate) fn push(rng: &mut Random, aim: &mut Aim, requests: &mut Vec<Request>) {
    let template = chosen(rng, aim);
    let template = if aim.takes(template) { template } else { Template::TableReuse };
    push_one(rng, aim, template, requests);
}

/// How many scenarios in how many have a template, on such a disk: of those that few disks are right for,
/// which take long or are rare, most.
pub(super) fn share(aim: &Aim) -> (u64, u64) {
    match () {
        () if aim.can_zero_far() => (3, 4),
        () if aim.is_for_long_writes() => (1, 2),
        () if aim.tables() > 1 => (1, 3),
        () if aim.can_grow_far() => (1, 4),
        () => (1, 5),
    }
}

/// What few disks are right for comes often on those.
fn chosen(rng: &mut Random, aim: &Aim) -> Template {
    if aim.can_zero_far() && rng.chance(2, 3) {
        return rng.one_of(&[Template::FarZeroes, Template::FarHole]);
    }
    if aim.is_for_long_writes() && rng.chance(1, 2) {
        return Template::LongWrite;
    }
    if aim.can_grow_far() && rng.chance(1, 4) {
        return Template::FarGrowth;
    }
    if aim.takes_amendments() && rng.chance(1, 5) {
        return Template::Amended;
    }
    if aim.takes_snapshots() && rng.chance(1, 4) {
        return Template::Snapshots;
    }
    if aim.takes_bitmaps() && rng.chance(1, 4) {
        return Template::Bitmaps;
    }
    if aim.tables() > 1 && rng.chance(1, 2) {
        let many = [Template::ManyTables, Template::OverEdge, Template::TableReuse, Template::TableReuse];
        return rng.one_of(&many);
    }
    rng.one_of(&Template::USUAL)
}

fn push_one(rng: &mut Random, aim: &mut Aim, template: Template, requests: &mut Vec<Request>) {
    let first = requests.len();
    match template {
        Template::FillUp => fill_up(rng, aim, requests),
        Template::LateHole => late_hole(rng, aim, requests),
        Template::ManyTables => many_tables(rng, aim, requests),
        Template::ZeroOverBacking => zero_over_backing(rng, aim, requests),
        Template::LongWrite => long_write(rng, aim, requests),
        Template::OverEdge => over_edge(rng, aim, requests),
        Template::TableReuse => table_reuse(rng, aim, requests),
        Template::FarZeroes => far_zeroes(rng, aim, requests),
        Template::Growth => growth(rng, aim, requests),
        Template::FarHole => far_hole(rng, aim, requests),
        Template::FarGrowth => far_growth(rng, aim, requests),
        Template::Snapshots => inside::snapshots(rng, aim, requests),
        Template::Shrink => shrink(rng, aim, requests),
        Template::Amended => inside::amended(rng, aim, requests),
        Template::Bitmaps => inside::bitmaps(rng, aim, requests),
    }
    requests[first..].iter().for_each(|request| aim.note(request));
}

pub(super) fn write(rng: &mut Random, (offset, length): (u64, u64)) -> Request {
    Request::Write { offset, length, fill: Fill::Stamp, fua: rng.chance(1, 16) }
}

pub(super) fn read((offset, length): (u64, u64)) -> Request {
    Request::Read { offset, length }
}

/// A reopen, with or without a close, a flush, or nothing.
fn push_pause(rng: &mut Random, requests: &mut Vec<Request>) {
    match rng.below(4) {
        0 => requests.push(Request::Reopen { kill: true }),
        1 => requests.push(Request::Reopen { kill: false }),
        2 => requests.push(Request::Flush),
        _ => {}
    }
}

fn fill_up(rng: &mut Random, aim: &Aim, requests: &mut Vec<Request>) {
    let count = 2 + rng.below(FILLING_MAX - 1);
    let step = (aim.size().min(aim.data_bytes_max() * count) / count).max(1);
    for number in 0..count {
        requests.push(write(rng, aim.inside((number * step, step))));
    }
    push_pause(rng, requests);
    for _ in 0..=rng.below(2) {
        let range = aim.hot_range(rng);
        requests.push(write(rng, range));
    }
    requests.push(read(aim.inside((0, aim.size().min(aim.data_bytes_max())))));
}

fn late_hole(rng: &mut Random, aim: &Aim, requests: &mut Vec<Request>) {
    let (here, there) = (aim.hot_range(rng), aim.hot_range(rng));
    requests.push(write(rng, here));
    if rng.chance(1, 2) {
        requests.push(Request::Flush);
    }
    requests.push(Request::Discard { offset: here.0, length: here.1 });
    requests.push(Request::Flush);
    requests.push(write(rng, there));
    requests.extend([read(there), read(here)]);
}

fn many_tables(rng: &mut Random, aim: &Aim, requests: &mut Vec<Request>) {
    let tables = aim.tables().min(2 + rng.below(TABLES_MAX - 1));
    let within = aim.hot_range(rng);
    let nth = |number: u64| aim.inside((number * aim.reach() + within.0 % aim.reach(), within.1));
    for number in 0..tables {
        requests.push(write(rng, nth(number)));
    }
    push_pause(rng, requests);
    // Another order than that of the writes: what is evicted is read again.
    for number in 0..tables {
        requests.push(read(nth((number * 5 + 1) % tables)));
    }
}

fn zero_over_backing(rng: &mut Random, aim: &mut Aim, requests: &mut Vec<Request>) {
    let (offset, length) = aim.hot_range(rng);
    let unmap = rng.chance(1, 2);
    requests.push(Request::WriteZeroes { offset, length, unmap, no_fallback: false, fua: false });
    requests.push(Request::Reopen { kill: rng.chance(1, 2) });
    requests.push(read((offset, length)));
    let part = of_kind(rng, RequestKind::Write, aim);
    let (_, part_length) = part.range().unwrap_or_default();
    let part = aim.inside((offset, part_length.clamp(1, length.max(1))));
    requests.push(write(rng, part));
    requests.push(read((offset, length)));
}

fn long_write(rng: &mut Random, aim: &Aim, requests: &mut Vec<Request>) {
    let (at, unit) = (aim.hot_range(rng).0, aim.unit());
    let at = if aim.size() - at > LONG_BYTES + 2 * unit { at } else { at % unit };
    let kind = rng.below(4);
    // Of two kinds of unit, the copied parts of a long write tell the most.
    let is_long = kind == 1 || kind == 2 || rng.chance(1, 2);
    let long = if is_long { LONG_BYTES / unit } else { 0 };
    let whole = aim.inside((at, unit * (long + 2 + rng.below(3))));
    match kind {
        0 => {
            requests.push(write(rng, whole));
            requests.push(Request::Discard { offset: whole.0, length: whole.1 });
            requests.push(Request::Flush);
        }
        // What is copied in front comes from another kind of unit than what is copied behind.
        1 | 2 if aim.compresses() => {
            let (offset, length) = aim.inside((whole.0, unit));
            let fill = Fill::Byte(1 + rng.below(255) as u8);
            requests.push(Request::WriteCompressed { offset, length, fill });
            let last = aim.inside((whole.0 + whole.1.saturating_sub(1) / unit * unit, unit));
            requests.push(zeroes(rng, last));
        }
        _ => {}
    }
    let head = 512.min(unit / 2) * (1 + rng.below(2));
    let middle = whole.1.saturating_sub(head + 1 + rng.below(unit));
    requests.push(write(rng, aim.inside((whole.0 + head, middle.max(1)))));
    requests.push(read(whole));
}

fn zeroes(rng: &mut Random, (offset, length): (u64, u64)) -> Request {
    Request::WriteZeroes { offset, length, unmap: rng.chance(1, 2), no_fallback: false, fua: false }
}

fn over_edge(rng: &mut Random, aim: &Aim, requests: &mut Vec<Request>) {
    let (unit, reach) = (aim.unit(), aim.reach());
    let edge = if aim.tables() > 1 { (1 + rng.below(aim.tables() - 1)) * reach } else { unit };
    let behind = aim.inside((edge, unit * (1 + rng.below(2))));
    requests.push(write(rng, behind));
    push_pause(rng, requests);
    let before = unit * (1 + rng.below(3));
    let over = aim.inside((edge.saturating_sub(before), before + unit));
    match rng.below(4) {
        0 => requests.push(write(rng, over)),
        1 => requests.push(zeroes(rng, over)),
        2 => requests.push(Request::Status { offset: over.0, length: over.1 }),
        _ => {}
    }
    requests.push(read(over));
}

fn table_reuse(rng: &mut Random, aim: &Aim, requests: &mut Vec<Request>) {
    let (offset, length) = aim.hot_range(rng);
    if aim.compresses() && rng.chance(1, 2) {
        // What is replaced is free after it, and the host keeps its bytes, where it punches what is
        // discarded.
        let fill = swarm::compressed_fill(rng, length);
        requests.push(Request::WriteCompressed { offset, length, fill });
        requests.push(write(rng, (offset, length)));
    } else {
        requests.push(write(rng, (offset, length)));
        if rng.chance(1, 2) {
            requests.push(Request::Flush);
        }
        requests.push(Request::WriteZeroes { offset, length, unmap: true, no_fallback: false, fua: false });
    }
    requests.push(Request::Flush);
    let first = rng.below(aim.tables());
    let nth = |number: u64| aim.inside(((first + number) % aim.tables() * aim.reach(), aim.unit()));
    for number in 0..aim.tables().min(3) {
        requests.push(write(rng, nth(number)));
    }
    for number in 0..aim.tables().min(3) {
        requests.push(read(aim.inside((nth(number).0, 2 * aim.unit()))));
    }
}

fn far_zeroes(rng: &mut Random, aim: &Aim, requests: &mut Vec<Request>) {
    let unit = aim.unit();
    let start = rng.below(4) * unit;
    let inside = aim.inside((start + (1 << 30) + rng.below(8) * unit, unit));
    requests.push(write(rng, inside));
    let length = ((1 << 32) + rng.below(4) * unit).min(aim.size().saturating_sub(start));
    requests.push(zeroes(rng, (start, length)));
    requests.push(read(inside));
}

fn far_hole(rng: &mut Random, aim: &Aim, requests: &mut Vec<Request>) {
    let (low, high) = aim.far_pair(rng);
    requests.push(write(rng, low));
    if rng.chance(1, 2) {
        requests.push(Request::Flush);
    }
    requests.push(match rng.below(4) {
        0 => zeroes(rng, high),
        _ => Request::Discard { offset: high.0, length: high.1 },
    });
    requests.push(Request::Flush);
    requests.push(read(low));
}

fn far_growth(rng: &mut Random, aim: &mut Aim, requests: &mut Vec<Request>) {
    let size = aim.far_grown(rng);
    requests.push(Request::Resize { size });
    aim.note(&Request::Resize { size });
    let unit = aim.unit();
    let last = aim.inside((size.saturating_sub((1 + rng.below(2)) * unit), unit));
    requests.push(write(rng, last));
    push_pause(rng, requests);
    requests.push(read(last));
}

fn growth(rng: &mut Random, aim: &mut Aim, requests: &mut Vec<Request>) {
    let unit = aim.unit();
    // Units that come to be free again: what the disk gains may take them.
    if rng.chance(1, 2) {
        let (offset, length) = aim.hot_range(rng);
        requests.push(write(rng, (offset, length)));
        requests.push(Request::Discard { offset, length });
        requests.push(Request::Flush);
    }
    // The end that grows lies inside a unit.
    if rng.chance(1, 2) {
        let size = aim.resized(aim.size().saturating_add(1 + rng.below(unit)));
        requests.push(Request::Resize { size });
        aim.note(&Request::Resize { size });
    }
    let old_end = aim.size();
    // Past what a unit full of pointers to tables maps, or little.
    let past_tables = (unit / 8).max(1).saturating_mul(aim.reach());
    let more =
        if rng.chance(1, 4) { past_tables } else { (1 + rng.below(4)) * unit - rng.below(2) * (unit / 2) };
    let size = aim.resized(old_end.saturating_add(more));
    requests.push(Request::Resize { size });
    aim.note(&Request::Resize { size });
    let start = old_end.saturating_sub(unit);
    requests.push(read(aim.inside((start, 6 * unit))));
}

fn shrink(rng: &mut Random, aim: &mut Aim, requests: &mut Vec<Request>) {
    let (unit, old) = (aim.unit(), aim.size());
    // An end in the middle of what was written, or between two tables.
    let written = aim.hot_range(rng);
    requests.push(write(rng, written));
    let last = aim.inside((old.saturating_sub(2 * unit), 2 * unit));
    requests.push(write(rng, last));
    if aim.takes_snapshots() && rng.chance(1, 4) {
        requests.push(Request::Snapshot { act: OnSnapshot::Create, slot: 0 });
    }
    push_pause(rng, requests);
    let end = match rng.below(4) {
        0 => written.0 + rng.below(written.1 + 1),
        1 => written.0 + rng.below(unit),
        2 => last.0 + rng.below(unit),
        _ => old.saturating_sub(1) / aim.reach() * aim.reach(),
    };
    let size = aim.resized(end.min(old));
    requests.push(Request::Resize { size });
    aim.note(&Request::Resize { size });
    push_pause(rng, requests);
    let grown = aim.resized(if rng.chance(1, 2) { old } else { size + 1 + rng.below(3 * unit) });
    requests.push(Request::Resize { size: grown });
    aim.note(&Request::Resize { size: grown });
    requests.push(read(aim.inside((size.saturating_sub(unit), 6 * unit))));
    requests.push(read(aim.inside((written.0, 4 * unit))));
}

#[cfg(test)]
mod tests {
    use super::super::{Generator, Limits};
    use super::*;
    use crate::scenario::{Config, Value};
    use crate::space::{PLAIN, UNIT};

    /// What lies 2 or 4 GiB above what was written is given back, and as many tables as 16 bits do not count
    /// are grown to.
    #[test]
    fn far_templates_go_where_numbers_lose_bits() {
        let limits = Limits::sequential();
        let mut config = Config { size_bytes: 5 << 30, ..Config::default() };
        let mut distances = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let requests = template(&PLAIN, &config, &limits, Template::FarHole, seed);
            let given_back =
                |request: &&Request| matches!(request, Request::Discard { .. } | Request::WriteZeroes { .. });
            let (low, _) = requests[0].range().unwrap();
            let (high, length) = requests.iter().find(given_back).and_then(Request::range).unwrap();
            assert!(requests.last().unwrap().range().unwrap().0 == low && length > 0, "{requests:?}");
            distances.insert(high - low);
        }
        assert_eq!(distances.into_iter().collect::<Vec<_>>(), [1 << 31, 1 << 32]);
        config.size_bytes = 64 << 10;
        config.options.set(UNIT, Some(Value::Number(512)));
        let reach = PLAIN.geometry(&config).table_reach_bytes;
        for seed in 0..16 {
            let requests = template(&PLAIN, &config, &limits, Template::FarGrowth, seed);
            let Request::Resize { size } = requests[0] else { panic!("{requests:?}") };
            assert!(size >= reach << 16, "{requests:?}");
            assert!(requests.last().unwrap().range().unwrap().0 + (1 << 20) > size, "{requests:?}");
        }
    }

    /// Scenarios with two resizes in a row, as growth has them.
    fn grown(resizes: bool) -> usize {
        let limits = Limits { resizes, ..Limits::default() };
        let is_resize = |request: &Request| matches!(request, Request::Resize { .. });
        let grows = |requests: &[Request]| requests.windows(2).any(|pair| pair.iter().all(is_resize));
        Generator::new(&PLAIN, 1, limits).take(2000).filter(|scenario| grows(&scenario.requests)).count()
    }

    #[test]
    fn a_disk_that_cannot_resize_is_not_about_growth() {
        let (with, without) = (grown(true), grown(false));
        assert!(with > 10 + without, "{with} scenarios grow, and {without} where nothing can");
    }
}
