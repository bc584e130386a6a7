//! Which requests may be in flight together.

use crate::scenario::{Request, Turn};

/// How many of `requests` may be in flight together, on a disk of `size` bytes: up to a reopen, and with one
/// resize at most, whose company lies inside the old and the new size: what is past either may be there or
/// not.
pub(super) fn together(size: u64, requests: &[(Request, Turn)]) -> usize {
    let (mut reached, mut limit) = (0, None);
    for (at, (request, _)) in requests.iter().enumerate() {
        match request {
            Request::Reopen { .. }
            | Request::Snapshot { .. }
            | Request::Amend { .. }
            | Request::Bitmap { .. } => return at,
            Request::Resize { size: new } => {
                let smaller = size.min(*new);
                if limit.is_some() || reached > smaller {
                    return at;
                }
                limit = Some(smaller);
            }
            _ => {
                let end = request.range().map_or(0, |(offset, length)| offset.saturating_add(length));
                reached = reached.max(end);
                if limit.is_some_and(|limit| end > limit) {
                    return at;
                }
            }
        }
    }
    requests.len()
}
