//! What holds whatever was done, and whatever is written.

use super::*;

/// Whatever happens, each sector may hold something, live and at every time since.
#[test]
fn something_is_always_possible() {
    let mut random = blk_sim::random::Random::new(23);
    for _ in 0..150 {
        let mut bed = Bed::new();
        for step in 1..14_u8 {
            let size = bed.model.size();
            let start = random.below(size.max(1)).min(size);
            let extent = Extent::between(start, start + random.below(size - start + 1));
            match random.below(8) {
                0 => bed.resize(random.below(2 * SIZE)),
                1 => bed.flush(),
                2 => {
                    let now = bed.tick();
                    let sizes = bed.model.sizes_after_crash(now);
                    bed.model.adopt_size(now, random.one_of(&sizes)).unwrap();
                }
                3 => bed.discard(extent),
                4 => {
                    let (one, two) = (bed.begin(extent, step), bed.begin(extent, step + 100));
                    bed.end(two, Ending::Replaced);
                    bed.end(one, random.one_of(&[Ending::MayStay, Ending::Durable, Ending::Replaced]));
                }
                5 => {
                    let write = bed.begin(extent, step);
                    bed.end(write, Ending::Durable);
                }
                _ => bed.write(extent, step),
            }
            // What is not possible is told with what is: never nothing, never a panic.
            for time in (0..=bed.now).step_by(3).chain([bed.now]) {
                for size in bed.model.sizes_after_crash(time) {
                    let found = MemoryStorage::from_bytes(&vec![0xdb; size as usize]);
                    let judged = bed.model.judge_crash((&found, size), time, &[], &Ranges::default());
                    let mismatch = judged.unwrap();
                    assert_eq!(mismatch.is_some(), size > 0, "{size}");
                    assert!(mismatch.is_none_or(|mismatch| !mismatch.possible.is_empty()));
                }
            }
            let look = bed.begin_look(Extent::new(0, bed.model.size()));
            let found = vec![0xdb; look.extent.length as usize];
            assert_eq!(bed.look(look, &found).is_err(), !found.is_empty());
        }
    }
}

/// The first quarter of each unit is stamped, the rest is zero: also of a write that begins or ends within a
/// unit.
#[test]
fn compressed_writes_are_stamped_in_the_first_quarter_of_each_unit() {
    for (offset, length) in [(0, 8192), (4096, 4096), (1024, 4096), (0, 1024), (3000, 6000)] {
        let request = Request::WriteCompressed { offset, length, fill: Fill::Stamp };
        let mut bytes = vec![0xee; length as usize];
        fill(&mut bytes, offset, 9, request, 4096);
        for unit in offset / 4096..(offset + length).div_ceil(4096) {
            let part = Extent::new(unit * 4096, 4096).intersection(Extent::new(offset, length));
            let kept = part.length.div_ceil(4);
            let found = &bytes[(part.offset - offset) as usize..][..part.length as usize];
            let mut expected = vec![0; part.length as usize];
            crate::stamp::fill(&mut expected[..kept as usize], part.offset, 9);
            assert!(found == expected, "{offset} {length}: unit {unit}");
        }
    }
}
