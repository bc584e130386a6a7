//! Which parts of a disk that is too large to be compared whole are compared: those where requests have been.

use blk_core::Extent;

use crate::scenario::Request;

/// What is compared on either side of a place where a request starts, ends, or puts the end of the disk, in
/// bytes.
const AROUND_BYTES: u64 = 64 << 10;
/// A request up to this size is compared whole, in bytes.
const REQUEST_BYTES: u64 = 4 << 20;
/// Parts that are compared: with [`REQUEST_BYTES`] it bounds the bytes.
const PARTS_MAX: usize = 1 << 10;

/// The parts of a disk of `size` bytes that `requests` and their surroundings touch, in order, apart from one
/// another. Of very many requests, the last ones count.
pub(crate) fn touched(requests: &[Request], size: u64) -> Vec<Extent> {
    let mut parts: Vec<Extent> =
        requests.iter().rev().flat_map(|request| parts_of(*request)).take(PARTS_MAX).collect();
    parts.extend([around(0), around(size)]);
    apart(parts)
}

/// The same parts in order, those that meet as one.
pub(crate) fn apart(mut parts: Vec<Extent>) -> Vec<Extent> {
    parts.sort_unstable_by_key(|part| part.offset);
    let mut apart: Vec<Extent> = Vec::with_capacity(parts.len());
    for part in parts {
        match apart.last_mut() {
            Some(last) if part.offset <= last.end() => {
                *last = Extent::between(last.offset, last.end().max(part.end()));
            }
            _ => apart.push(part),
        }
    }
    apart
}

fn parts_of(request: Request) -> impl Iterator<Item = Extent> {
    let (first, second) = match (request, request.range()) {
        (Request::Resize { size }, _) => (Some(around(size)), None),
        (_, Some((offset, length))) => {
            let end = offset.saturating_add(length);
            if length <= REQUEST_BYTES {
                let start = around(offset).offset;
                (Some(Extent::between(start, around(end).end())), None)
            } else {
                (Some(around(offset)), Some(around(end)))
            }
        }
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

fn around(at: u64) -> Extent {
    Extent::between(at.saturating_sub(AROUND_BYTES), at.saturating_add(AROUND_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const AROUND: u64 = AROUND_BYTES;

    #[test]
    fn parts_are_in_order_and_apart() {
        let requests = [
            Request::Discard { offset: 50 * MIB, length: 20 * MIB },
            Request::Read { offset: 10 * MIB, length: 512 },
            Request::Flush,
            Request::Read { offset: 10 * MIB + AROUND, length: MIB },
            Request::Resize { size: u64::MAX },
        ];
        let expected = [
            (0, AROUND),
            (10 * MIB - AROUND, 11 * MIB + 2 * AROUND),
            (50 * MIB - AROUND, 50 * MIB + AROUND),
            (70 * MIB - AROUND, 70 * MIB + AROUND),
            (100 * MIB - AROUND, 100 * MIB + AROUND),
            (u64::MAX - AROUND, u64::MAX),
        ];
        assert_eq!(touched(&requests, 100 * MIB), expected.map(|(start, end)| Extent::between(start, end)));
    }

    #[test]
    fn the_last_of_very_many_requests_count() {
        let requests: Vec<Request> =
            (0..5000).map(|index| Request::Read { offset: index * MIB, length: 512 }).collect();
        let parts = touched(&requests, 6000 * MIB);
        assert_eq!(parts.len(), PARTS_MAX + 2);
        assert!(parts.iter().any(|part| part.range().contains(&(4999 * MIB))));
    }
}
