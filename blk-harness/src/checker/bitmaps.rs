//! Requests about dirty bitmaps: what the model is told of them.

use super::{Ended, Flight, Inner};
use crate::model::{ActEnded, BitmapChange, Time};
use crate::scenario::Request;

impl Inner {
    /// Tells the model of a request about a bitmap. Also whether it is possible.
    pub(super) fn begin_bitmap(&mut self, now: Time, request: Request) -> (Option<BitmapChange>, bool) {
        let Request::Bitmap { act, slot } = request else { return (None, true) };
        let Some(act) = act.change() else { return (None, self.model.bitmaps.is_known(slot)) };
        let change = self.model.bitmaps.begin_act(now, act, slot);
        let is_possible = change.is_possible;
        (Some(change), is_possible)
    }

    /// It has ended.
    pub(super) fn end_bitmap(&mut self, flight: &Flight, now: Time, ended: Ended) {
        let Request::Bitmap { slot, .. } = self.records[flight.record].request else { return };
        let Some(change) = &flight.bitmaps else { return };
        let ended = match ended {
            Ended::Done => ActEnded::Done,
            Ended::Refused => ActEnded::Refused,
            Ended::Failed | Ended::InFlight => ActEnded::Failed,
        };
        self.model.bitmaps.end_act(now, change, slot, ended);
    }
}
