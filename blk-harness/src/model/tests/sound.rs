//! What is asserted of a model after every change, and what it takes.

use super::*;

type Damage = fn(&mut Model);

/// What is asserted after every change is asserted of each part.
#[test]
fn a_model_that_is_not_sound_is_told() {
    let sound = || {
        let mut bed = Bed::new();
        bed.write(sectors(0, 2), 1);
        bed.write(sectors(1, 2), 2);
        bed
    };
    assert!(sound().model.is_sound());
    let damages: [(&str, Damage); 11] = [
        ("there are no pieces", |model| model.pieces.clear()),
        ("the disk does not begin with a piece", |model| model.pieces[0].start = 1),
        ("a piece begins twice", |model| model.pieces[2].start = model.pieces[1].start),
        ("pieces are out of order", |model| model.pieces.swap(1, 2)),
        ("a piece may hold nothing", |model| model.pieces[1].entries.clear()),
        ("a piece shows nothing", |model| model.pieces[0].entries.iter_mut().for_each(|e| e.supersede(9))),
        ("a request completes before it is issued", |model| model.pieces[1].entries[1].issued = 3),
        ("a value ends before it begins", |model| {
            let old = &mut model.pieces[1].entries[0];
            (old.issued, old.completed) = (5, 9);
        }),
        ("what is there is gone", |model| model.pieces[0].entries[1].gone = 9),
        ("what is gone was there for longer", |model| model.pieces[1].entries[0].gone = 1),
        ("nothing is open, and a piece has two values", |model| {
            let entry = Entry { issued: 9, completed: 9, ..model.pieces[0].entries[1] };
            model.pieces[0].entries.push(entry);
        }),
    ];
    for (what, damage) in damages {
        let mut bed = sound();
        damage(&mut bed.model);
        assert!(!bed.model.is_sound(), "{what}: {:?}", bed.model.pieces);
        bed.model.is_unsettled = true;
        assert_eq!(bed.model.is_sound(), what.starts_with("nothing is open"), "{what}");
    }
    let mut bed = sound();
    bed.model.pieces[1].entries[0] = Entry { value: 0, issued: 7, completed: 7, superseded: 7, gone: 7 };
    assert!(bed.model.is_sound(), "all of it may happen at once");
}

/// What a copy takes: 8 bytes for each page of the newest content, and what is kept of requests.
#[test]
fn the_memory_of_a_copy_is_told() {
    let of_size = |size| Model::new(Arc::default(), size, 512, true).bytes_about();
    let fixed = (size_of::<Piece>() + size_of::<Value>()) as u64;
    assert_eq!((of_size(0), of_size(4096), of_size(1 << 20)), (fixed, fixed + 8, fixed + 2048));
    assert_eq!(of_size(1 << 40), of_size(1 << 30), "much of a large disk is never written");
    let mut bed = Bed::new();
    let one = bed.model.bytes_about();
    let flying = bed.begin(sectors(0, 1), 1);
    let two = bed.model.bytes_about();
    assert_eq!(two, one + (size_of::<Write>() + size_of::<Value>() + size_of::<Piece>()) as u64);
    bed.end(flying, Ending::MayStay);
    bed.discard(sectors(0, 1));
    let spilled: usize = bed.model.pieces[0].entries.capacity() * size_of::<Entry>();
    assert!(bed.model.pieces[0].entries.spilled() && !bed.model.pieces[1].entries.spilled());
    assert_eq!(bed.model.bytes_about(), two + (size_of::<Value>() + spilled - size_of::<Write>()) as u64);
}
