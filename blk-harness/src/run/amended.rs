//! Which amendments an image knows.

use super::Run;
use crate::scenario::Request;

/// A request that does nothing. A flush would be followed by a look at what the storage is told after it.
const NOTHING: Request = Request::Read { offset: 0, length: 0 };

impl Run<'_> {
    /// The request, or one that does nothing in place of an amendment that images like this do not know.
    pub(super) fn possible(&self, request: Request) -> Request {
        let Request::Amend { option } = request else { return request };
        let is_known = self.images.geometry.amendments.iter().any(|known| known.option() == option);
        if is_known { request } else { NOTHING }
    }
}
