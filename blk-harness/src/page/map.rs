//! Maps of a disk and of its image file, before and after: a bounded number of cells, each with the letter of
//! what lies there.

use blk_core::{Extent, Region, Role};
use blk_page::scrolling;
use maud::{Markup, html};

use crate::finding::{Fate, Pending, Provoked};
use crate::picture::Picture;
use crate::report::{Finding, SECTOR_BYTES};

/// Cells of a map at most.
const CELLS_MAX: u64 = 192;
/// Cells of a map that is not to look empty.
const CELLS_MIN: u64 = 32;
/// Regions that are listed below a map.
const LISTED_MAX: usize = 200;
/// Classes of colours for roles, but those of data and of what is free.
const COLOURS: [&str; 8] = ["r1", "r3", "r2", "r4", "r8", "r6", "r7", "r9"];

/// What has happened to a part.
#[derive(Debug, Clone, Copy)]
struct Mark {
    extent: Extent,
    sign: char,
    word: &'static str,
}

/// How a range of bytes is divided.
#[derive(Debug, Clone, Copy)]
struct Scale {
    start: u64,
    cell_bytes: u64,
    cells: u64,
}

/// Two maps of the same thing.
struct Maps<'a> {
    before: &'a [Region],
    after: &'a [Region],
    marks: Vec<Mark>,
    scale: Scale,
    /// The roles that occur, each with its class.
    roles: Vec<(Role, &'static str)>,
}

pub(super) fn section(picture: &Picture, finding: &Finding) -> Markup {
    let Picture { before, after, requests } = picture;
    let disk = Maps::of(&before.disk, &after.disk, on_disk(finding));
    let file = Maps::of(&before.file, &after.file, on_file(finding));
    let without = if finding.provoked.is_some() { ", without what was provoked" } else { "" };
    html! {
        @if let Some(disk) = disk {
            section aria-labelledby="disk" {
                h2 #disk { "The disk" }
                p { "What the disk says of itself before and after " (made(*requests)) (without) "." }
                (disk.show("The disk"))
            }
        }
        @if let Some(file) = file {
            section aria-labelledby="file" {
                h2 #file { "The image file" }
                p {
                    "What the bytes of the image file are for, before and after " (made(*requests)) (without) "."
                    @if !file.marks.is_empty() { " In the second map, what became of its operations is marked." }
                }
                (file.show("The image file"))
            }
        }
    }
}

/// What was made in between.
fn made(requests: usize) -> String {
    match requests {
        0 => "the change".to_owned(),
        1 => "the first request".to_owned(),
        count => format!("the first {count} requests"),
    }
}

fn on_disk(finding: &Finding) -> Vec<Mark> {
    let sector = |offset: u64| Extent::new(offset - offset % SECTOR_BYTES, SECTOR_BYTES);
    let wrong = finding.difference.as_ref().map(|difference| Mark {
        extent: sector(difference.offset),
        sign: '✗',
        word: "the wrong sector",
    });
    wrong.into_iter().collect()
}

fn on_file(finding: &Finding) -> Vec<Mark> {
    let (pending, failed) = match &finding.provoked {
        None => return Vec::new(),
        Some(Provoked::Crash(crash)) => (&crash.pending, None),
        Some(Provoked::Fault(fault)) => (&fault.pending, Some(fault.extent)),
    };
    let failed = failed.map(|extent| Mark { extent, sign: '!', word: "the operation that failed" });
    let marks = failed.into_iter().chain(pending.iter().flat_map(fates));
    marks.filter(|mark| !mark.extent.is_empty()).collect()
}

fn fates(pending: &Pending) -> Vec<Mark> {
    let all = |sign, word| vec![Mark { extent: pending.extent, sign, word }];
    match &pending.fate {
        Fate::Persisted => all('✓', "persisted in the crash"),
        Fate::Lost => all('✗', "lost in the crash"),
        Fate::Torn(_) => all('~', "torn in the crash: parts are lost"),
    }
}

impl<'a> Maps<'a> {
    /// None where nothing is known.
    fn of(before: &'a [Region], after: &'a [Region], marks: Vec<Mark>) -> Option<Self> {
        let both = || before.iter().chain(after);
        let scale = Scale::of(both().map(|region| region.extent))?;
        let mut roles: Vec<(Role, &'static str)> = Vec::new();
        let mut others = COLOURS.iter().copied().cycle();
        for region in both() {
            if roles.iter().any(|(role, _)| *role == region.role) {
                continue;
            }
            let class = match region.role {
                Role::DATA => "r5",
                role if is_empty(role) => "r0",
                _ => others.next().unwrap_or("r9"),
            };
            roles.push((region.role, class));
        }
        Some(Self { before, after, marks, scale, roles })
    }

    fn show(&self, name: &str) -> Markup {
        let Scale { start, cell_bytes, cells } = self.scale;
        html! {
            p.muted { "A cell is " (cell_bytes) " bytes; there are " (cells) ", from offset " (start) " on." }
            ul.legend {
                @for (role, class) in &self.roles {
                    li { b class=(class) { (role.letter) } (role.name) }
                }
                @for mark in self.kinds_of_marks() {
                    li { b.mark.good[mark.sign == '✓'] { (mark.sign) } (mark.word) }
                }
            }
            @for (when, regions, marks) in [("before", self.before, &[][..]), ("after", self.after, &self.marks)] {
                h3 { (name) " " (when) }
                (self.map(&format!("{name} {when}"), regions, marks))
                (Self::list(&format!("{name} {when}"), regions))
            }
        }
    }

    fn kinds_of_marks(&self) -> Vec<Mark> {
        let mut kinds: Vec<Mark> = Vec::new();
        for mark in &self.marks {
            if kinds.iter().all(|known| known.word != mark.word) {
                kinds.push(*mark);
            }
        }
        kinds
    }

    fn map(&self, name: &str, regions: &[Region], marks: &[Mark]) -> Markup {
        let roles = self.scale.roles(regions);
        let signs = self.scale.signs(marks);
        let summary = format!("Map: {name}, {} regions, listed below", regions.len());
        html! {
            ul.cells role="img" aria-label=(summary) {
                @for (role, sign) in roles.into_iter().zip(signs) {
                    @let class = role.map_or("", |role| self.class(role));
                    li class={ (class) @if sign.is_some() { " mark" } @if sign == Some('✓') { " good" } } {
                        (role.map_or(' ', |role| role.letter))
                        @if let Some(sign) = sign { (sign) }
                    }
                }
            }
        }
    }

    fn class(&self, role: Role) -> &'static str {
        self.roles.iter().find(|(known, _)| *known == role).map_or("", |(_, class)| class)
    }

    fn list(name: &str, regions: &[Region]) -> Markup {
        html! {
            details {
                summary { (name) ", as a list (regions: " (regions.len()) ")" }
                (scrolling(name, &html! {
                    table {
                        thead { tr { th.number scope="col" { "From" } th.number scope="col" { "To" } th scope="col" { "Role" } } }
                        tbody {
                            @for region in regions.iter().take(LISTED_MAX) {
                                tr {
                                    td.number { (region.extent.offset) }
                                    td.number { (region.extent.end()) }
                                    td { (region.role.name) }
                                }
                            }
                        }
                    }
                }))
                @if regions.len() > LISTED_MAX {
                    p.muted { "and " (regions.len() - LISTED_MAX) " more" }
                }
            }
        }
    }
}

/// Whether nothing lies there.
fn is_empty(role: Role) -> bool {
    role.letter == Role::FREE.letter
}

impl Scale {
    /// Cells for these extents: as large as the units that they are made of, if so many are not too many.
    fn of(extents: impl Iterator<Item = Extent> + Clone) -> Option<Self> {
        let start = extents.clone().map(|extent| extent.offset).min()?;
        let end = extents.clone().map(Extent::end).max()?;
        let bytes = (end - start).max(1);
        let unit = extents.map(|extent| extent.offset - start).fold(0, |all, offset| all | offset);
        let unit = if unit == 0 { u64::MAX } else { 1 << unit.trailing_zeros() };
        let smallest = bytes.div_ceil(CELLS_MAX).next_power_of_two().max(SECTOR_BYTES);
        let largest = bytes.div_ceil(CELLS_MIN).next_power_of_two().max(smallest);
        let cell_bytes = unit.clamp(smallest, largest);
        Some(Self { start, cell_bytes, cells: bytes.div_ceil(cell_bytes) })
    }

    /// The cells that an extent touches.
    fn touched(self, extent: Extent) -> std::ops::Range<usize> {
        if extent.is_empty() || extent.end() <= self.start {
            return 0..0;
        }
        let cell = |offset: u64| offset.saturating_sub(self.start) / self.cell_bytes;
        let end = (cell(extent.end() - 1) + 1).min(self.cells);
        cell(extent.offset).min(end) as usize..end as usize
    }

    /// What each cell is for: what tells most of it. Tables tell more than data, and data more than nothing.
    fn roles(self, regions: &[Region]) -> Vec<Option<Role>> {
        let weight = |role: Role| if is_empty(role) { 0 } else { 1 + u8::from(role != Role::DATA) };
        let mut roles: Vec<Option<Role>> = vec![None; self.cells as usize];
        for region in regions {
            for held in &mut roles[self.touched(region.extent)] {
                if held.is_none_or(|held| weight(held) < weight(region.role)) {
                    *held = Some(region.role);
                }
            }
        }
        roles
    }

    /// The sign on each cell: of several, what was lost.
    fn signs(self, marks: &[Mark]) -> Vec<Option<char>> {
        let weight = |sign: char| "✓~✗!".chars().position(|known| known == sign);
        let mut signs: Vec<Option<char>> = vec![None; self.cells as usize];
        for mark in marks {
            for held in &mut signs[self.touched(mark.extent)] {
                if held.is_none_or(|held| weight(held) < weight(mark.sign)) {
                    *held = Some(mark.sign);
                }
            }
        }
        signs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Role = Role { name: "table <b>", letter: '2' };

    fn regions(all: &[(u64, Role)]) -> Vec<Region> {
        let mut regions = Vec::new();
        for (length, role) in all {
            Region::push(&mut regions, *length, *role);
        }
        regions
    }

    #[test]
    fn a_map_has_few_cells_however_large_the_disk_is() {
        let large = regions(&[(512, TABLE), ((1 << 40) - 1024, Role::FREE), (512, Role::DATA)]);
        let maps = Maps::of(
            &large,
            &large,
            vec![Mark { extent: Extent::new((1 << 40) - 512, 512), sign: '✗', word: "lost" }],
        )
        .unwrap();
        assert!(maps.scale.cells <= CELLS_MAX, "{:?}", maps.scale);
        let roles = maps.scale.roles(&large);
        assert_eq!((roles[0], *roles.last().unwrap()), (Some(TABLE), Some(Role::DATA)));
        assert_eq!(maps.scale.signs(&maps.marks).iter().flatten().count(), 1);
        let text = maps.show("disk").into_string();
        assert!(text.len() < 40_000 && text.contains("table &lt;b&gt;"), "{}", text.len());
    }

    #[test]
    fn cells_are_clusters_where_there_are_few_and_a_mark_outside_is_left_out() {
        let small = regions(&[(65536, TABLE), (131_072, Role::DATA), (65536 * 60, Role::FREE)]);
        let maps = Maps::of(&small, &[], Vec::new()).unwrap();
        assert_eq!((maps.scale.cell_bytes, maps.scale.cells), (65536, 63));
        let mark = Mark { extent: Extent::new(1 << 50, 512), sign: '✗', word: "lost" };
        assert!(maps.scale.signs(&[mark]).iter().all(Option::is_none));
        assert!(Maps::of(&[], &[], Vec::new()).is_none());
    }
}
