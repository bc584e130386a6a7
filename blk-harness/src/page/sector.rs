//! The sector that is wrong, on both sides, byte by byte.

use std::collections::BTreeMap;

use blk_page::scrolling;
use maud::{Markup, html};

use crate::finding::{Difference, Side, Source};
use crate::report::SECTOR_BYTES;

/// Sides that are shown: what is found, and so many of what may be there.
const EXPECTED_MAX: usize = 4;
const ROW_BYTES: u64 = 16;

/// A byte of a side: its value, and the number of its source.
type Bytes = BTreeMap<u64, (u8, usize)>;

/// Whoever wrote something of what is shown, numbered as they come.
#[derive(Default)]
struct Sources(Vec<String>);

impl Sources {
    fn number(&mut self, source: &Source) -> usize {
        let text = source.to_string();
        self.0.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        })
    }
}

/// What a source is called in a row.
fn letter(number: usize) -> String {
    let letter = char::from(b'a' + (number % 26) as u8);
    if number < 26 { letter.to_string() } else { format!("{letter}{}", number / 26) }
}

/// The class that colours what a source wrote.
fn colour(number: usize) -> String {
    format!("r{}", [5, 2, 4, 3, 6, 7, 8, 1, 9][number % 9])
}

pub(super) fn section(difference: &Difference) -> Markup {
    let sector = difference.offset / SECTOR_BYTES;
    let mut sources = Sources::default();
    let found = bytes_of(&difference.found, &mut sources);
    let expected: Vec<Bytes> =
        difference.expected.iter().take(EXPECTED_MAX).map(|side| bytes_of(side, &mut sources)).collect();
    let titles = std::iter::once("What has to be there").chain(std::iter::repeat("Or"));
    html! {
        section aria-labelledby="sector" {
            h2 #sector { "The wrong sector" }
            p {
                "Sector " (sector) ", from offset " (sector * SECTOR_BYTES) " of the disk. The first wrong byte is at offset "
                (difference.offset) "."
                @if let Some(compared) = difference.compared {
                    " Of " (compared.bytes) " bytes that were compared, " (compared.differing_bytes) " differ; sectors with differences: "
                    (compared.differing_sectors) "."
                }
            }
            ul.legend {
                @for (number, source) in sources.0.iter().enumerate() {
                    li { b class=(colour(number)) { (letter(number)) } (source) }
                }
            }
            div.sides {
                @for (title, (side, bytes)) in titles.zip(difference.expected.iter().zip(&expected)) {
                    (dump(title, side, bytes, &found))
                }
                (dump("What is there", &difference.found, &found, expected.first().unwrap_or(&Bytes::new())))
            }
            @if difference.expected.len() > EXPECTED_MAX {
                p.muted { (difference.expected.len() - EXPECTED_MAX) " more values would be right." }
            }
        }
    }
}

fn bytes_of(side: &Side, sources: &mut Sources) -> Bytes {
    let mut bytes = Bytes::new();
    for piece in &side.sector {
        let number = sources.number(&piece.source);
        bytes.extend((piece.offset..).zip(piece.bytes.iter().map(|byte| (*byte, number))));
    }
    bytes
}

fn dump(title: &str, side: &Side, bytes: &Bytes, other: &Bytes) -> Markup {
    let differs =
        |at: u64| bytes.get(&at).map(|byte| byte.0) != other.get(&at).map(|byte| byte.0) && !other.is_empty();
    let first = bytes.keys().next().map_or(0, |first| first / ROW_BYTES * ROW_BYTES);
    let end = bytes.keys().next_back().map_or(0, |last| last + 1);
    html! {
        div {
            h3 { (title) }
            p { (side.source) }
            @if bytes.is_empty() {
                p.muted { "There are no bytes." }
            } @else {
                (scrolling(title, &html! {
                    div.bytes {
                        @for row in (first..end).step_by(ROW_BYTES as usize) {
                            (row_of(row, bytes, &differs))
                        }
                    }
                }))
            }
        }
    }
}

fn row_of(row: u64, bytes: &Bytes, differs: &dyn Fn(u64) -> bool) -> Markup {
    let mut writers: Vec<usize> = bytes.range(row..row + ROW_BYTES).map(|(_, (_, number))| *number).collect();
    writers.dedup();
    let names: Vec<String> = writers.into_iter().map(letter).collect();
    html! {
        (format!("{row:010x} "))
        @for at in row..row + ROW_BYTES {
            " "
            @match bytes.get(&at) {
                None => "  ",
                Some((byte, number)) => {
                    span class={ (colour(*number)) @if differs(at) { " differs" } } { (format!("{byte:02x}")) }
                }
            }
        }
        "  " (names.join(" ")) "\n"
    }
}
