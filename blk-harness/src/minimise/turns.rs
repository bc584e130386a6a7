//! Fewer turns, and earlier ones.

use super::search::Search;
use crate::scenario::{POINTS_MAX, Scenario, Turn};

/// Beyond this many requests, all ways to remove one and move a turn are too many.
const RETIMED_REQUESTS_MAX: usize = 16;
/// A turn is moved to one of the first points; later ones are rarely right.
const RETIMED_POINTS: u8 = 24;

/// Takes turns away, makes them plainer and earlier; then lanes away.
pub(super) fn simplify(search: &mut Search) {
    search.accepts_change(|scenario| scenario.schedule.clear());
    for index in (0..search.best.schedule.len()).rev() {
        let old = search.best.turn(index);
        if old.is_never() || accepts(search, index, Turn::default()) {
            continue;
        }
        for (is_back, is_again) in [(false, false), (old.is_back(), false), (false, old.is_again())] {
            if accepts(search, index, Turn::new(old.points(), is_back, is_again)) {
                break;
            }
        }
        let plainer = search.best.turn(index);
        for points in 1..plainer.points() {
            if accepts(search, index, Turn::new(points, plainer.is_back(), plainer.is_again())) {
                break;
            }
        }
    }
    for lanes in 0..search.best.config.lanes {
        if search.accepts_change(|scenario| scenario.config.lanes = lanes) {
            break;
        }
    }
}

fn accepts(search: &mut Search, index: usize, turn: Turn) -> bool {
    search.accepts_change(|scenario| scenario.set_turn(index, turn))
}

/// Removes a request or a turn, and moves another turn at the same time: what is gone has had its points.
pub(super) fn remove_retimed(search: &mut Search) {
    let count = search.best.requests.len();
    if count > RETIMED_REQUESTS_MAX {
        return;
    }
    for removed in (0..count).rev() {
        let without_request = |scenario: &mut Scenario| scenario.remove_requests(removed..removed + 1);
        let without_turn = |scenario: &mut Scenario| scenario.set_turn(removed, Turn::default());
        if accepts_retimed(search, &without_request)
            || (!search.best.turn(removed).is_never() && accepts_retimed(search, &without_turn))
        {
            return;
        }
    }
}

fn accepts_retimed(search: &mut Search, remove: &dyn Fn(&mut Scenario)) -> bool {
    let mut smaller = search.best.clone();
    remove(&mut smaller);
    for index in 0..smaller.requests.len() {
        let old = smaller.turn(index);
        if old.is_never() {
            continue;
        }
        for points in (1..=RETIMED_POINTS.min(POINTS_MAX)).filter(|points| *points != old.points()) {
            let turn = Turn::new(points, old.is_back(), old.is_again());
            let mut candidate = smaller.clone();
            candidate.set_turn(index, turn);
            if search.accepts(candidate) {
                return true;
            }
        }
    }
    false
}
