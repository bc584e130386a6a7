//! Buffers in several pieces: what is contiguous on a disk need not be so in memory.
//!
//! A vectored request is one request. Where nothing below takes the pieces as they are, they are joined in
//! one buffer first, so that nobody sees it done in part.

use std::io::{IoSlice, IoSliceMut};

use crate::{Error, Result};

/// Bytes in all pieces.
///
/// # Errors
/// [`Error::OutOfRange`] if these are more than 2^64, as pieces that share memory may be.
pub(crate) fn total_bytes(lengths: impl Iterator<Item = usize>) -> Result<u64> {
    let mut total = 0_u64;
    for length in lengths {
        let longer = total.checked_add(length as u64);
        total = longer.ok_or(Error::OutOfRange { offset: 0, length: u64::MAX, size: u64::MAX })?;
    }
    Ok(total)
}

/// Bytes in all pieces of a write.
pub(crate) fn bytes_of(bufs: &[IoSlice<'_>]) -> Result<u64> {
    total_bytes(bufs.iter().map(|buf| buf.len()))
}

/// Bytes in all pieces of a read.
pub(crate) fn bytes_of_mut(bufs: &[IoSliceMut<'_>]) -> Result<u64> {
    total_bytes(bufs.iter().map(|buf| buf.len()))
}

/// All pieces in one.
pub(crate) fn joined(bufs: &[IoSlice<'_>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bufs.iter().map(|buf| buf.len()).sum());
    for buf in bufs {
        bytes.extend_from_slice(buf);
    }
    bytes
}

/// Fills the pieces with `bytes`, which are as many.
pub(crate) fn scatter(bytes: &[u8], bufs: &mut [IoSliceMut<'_>]) {
    let mut rest = bytes;
    for buf in bufs {
        let (part, others) = rest.split_at(buf.len());
        buf.copy_from_slice(part);
        rest = others;
    }
    assert!(rest.is_empty(), "the pieces hold as many bytes as were read");
}

/// Reads into all pieces by one `read` into one buffer.
pub(crate) fn read_joined(
    bufs: &mut [IoSliceMut<'_>],
    read: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<()> {
    if let [buf] = bufs {
        return read(buf);
    }
    let mut bytes = vec![0; bytes_of_mut(bufs)? as usize];
    read(&mut bytes)?;
    scatter(&bytes, bufs);
    Ok(())
}

/// Writes all pieces by one `write` of one buffer.
pub(crate) fn write_joined(bufs: &[IoSlice<'_>], write: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
    if let [buf] = bufs {
        return write(buf);
    }
    bytes_of(bufs)?;
    write(&joined(bufs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_and_filled_in_order() {
        let bufs = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        write_joined(&bufs, |bytes| {
            assert_eq!(bytes, b"abcde");
            Ok(())
        })
        .unwrap();
        let (mut a, mut b) = ([0; 1], [0; 4]);
        let mut bufs = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
        read_joined(&mut bufs, |bytes| {
            bytes.copy_from_slice(b"vwxyz");
            Ok(())
        })
        .unwrap();
        assert_eq!((&a, &b), (b"v", b"wxyz"));
    }

    #[test]
    fn no_pieces_are_a_request_of_nothing_and_too_many_are_refused() {
        write_joined(&[], |bytes| {
            assert!(bytes.is_empty());
            Ok(())
        })
        .unwrap();
        assert!(total_bytes([usize::MAX, 1].into_iter()).is_err());
        assert_eq!(total_bytes([usize::MAX, 0].into_iter()).unwrap(), u64::MAX);
    }
}
