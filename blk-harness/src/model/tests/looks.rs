//! What a look settles.

use super::*;

/// A look that began before a write had completed may show what was there before, and says nothing about what
/// is there now.
#[test]
fn a_look_that_something_disturbs_settles_nothing() {
    let mut bed = Bed::new();
    bed.write(sectors(0, 1), 1);
    let look = bed.begin_look(sectors(0, 1));
    bed.write(sectors(0, 1), 2);
    assert_eq!(bed.look(look, &[1; 512]), Ok(()));
    assert_eq!(bed.possible(sectors(0, 1), &[1, 2]), [2]);
    assert_eq!(bed.model.compare(0, &[2; 512]).unwrap(), None);
    // In flight over it: old or new, and after it has failed still either.
    let flying = bed.begin(sectors(0, 1), 3);
    let look = bed.begin_look(sectors(0, 1));
    assert_eq!(bed.look(look, &[2; 512]), Ok(()));
    bed.end(flying, Ending::MayStay);
    assert_eq!(bed.model.unsettled(), [sectors(0, 1)]);
    assert_eq!(bed.possible(sectors(0, 1), &[1, 3]), [3]);
    assert!(bed.model.unsettled().is_empty());
    let look = bed.begin_look(sectors(0, 1));
    let flying = bed.begin(sectors(0, 1), 4);
    assert_eq!(bed.look(look, &[4; 512]), Ok(()), "it may have happened");
    bed.end(flying, Ending::Replaced);
    assert_eq!(bed.possible(sectors(0, 1), &[3, 4]), [4]);
}

/// What completes at the time of a look has completed before it.
#[test]
fn a_look_shows_what_was_there_when_it_was_issued() {
    let mut bed = Bed::new();
    bed.write(sectors(0, 1), 1);
    let look = Look::begin(bed.now, sectors(0, 1));
    assert!(!bed.model.may_be_zero(look, sectors(0, 1)).unwrap());
    assert!(bed.look(look, &[0xaa; 512]).is_err(), "it was superseded");
    assert_eq!(bed.look(look, &[1; 512]), Ok(()));
    bed.discard(sectors(0, 1));
    let look = Look::begin(bed.now, sectors(0, 1));
    assert_eq!(bed.look(look, &[0; 512]), Ok(()));
    assert!(bed.model.unsettled().is_empty(), "nothing was in flight with it");
}

#[test]
fn a_look_that_settles_nothing_leaves_the_pieces_as_they_are() {
    let mut bed = Bed::new();
    bed.discard(sectors(0, 8));
    bed.write(sectors(0, 8), 0);
    bed.discard(sectors(0, 8));
    assert_eq!(bed.model.pieces.len(), 1);
    let look = bed.begin_look(sectors(2, 1));
    assert_eq!(bed.look(look, &[0; 512]), Ok(()));
    assert_eq!(bed.model.pieces.len(), 1, "zeroes either way");
    assert!(!bed.model.is_settled());
}
