//! Whole transfers out of system calls that may do less than they were asked for.
//!
//! A read or a write of a file may be interrupted by a signal, or may move fewer bytes than asked: near the
//! end of the file, when the file system runs full, over the network, or because one call moves 2 GiB at
//! most. Here it goes on until all is done.

use std::io::{self, IoSlice, IoSliceMut};

use crate::{Error, Result};

/// Reads until `buf` is full; what lies past the end of the file is zero. `read` is one system call: it reads
/// from an offset and says how much, 0 at the end.
pub(super) fn read_all(
    offset: u64,
    buf: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match read(&mut buf[done..], offset + done as u64) {
            Ok(0) => {
                buf[done..].fill(0);
                break;
            }
            Ok(count) => {
                assert!(count <= buf.len() - done, "a read moves no more than it was asked for");
                done += count;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", offset + done as u64, error)),
        }
    }
    Ok(())
}

/// Writes all of `buf`. `write` is one system call: it writes to an offset and says how much. One that writes
/// nothing would do so for ever: that is an error.
pub(super) fn write_all(
    offset: u64,
    buf: &[u8],
    mut write: impl FnMut(&[u8], u64) -> io::Result<usize>,
) -> Result<()> {
    let mut done = 0;
    while done < buf.len() {
        let at = offset + done as u64;
        match write(&buf[done..], at) {
            Ok(0) => return Err(Error::io("write", at, io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                assert!(count <= buf.len() - done, "a write moves no more than it was asked for");
                done += count;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("write", at, error)),
        }
    }
    Ok(())
}

/// As [`read_all`], into the pieces of `bufs` in order. One call takes as many pieces as the system lets it.
pub(super) fn read_all_vectored(
    offset: u64,
    mut bufs: &mut [IoSliceMut<'_>],
    mut read: impl FnMut(&mut [IoSliceMut<'_>], u64) -> io::Result<usize>,
) -> Result<()> {
    let mut at = offset;
    // Empty pieces at the front would make a call that moves nothing.
    IoSliceMut::advance_slices(&mut bufs, 0);
    while !bufs.is_empty() {
        match read(bufs, at) {
            Ok(0) => {
                for buf in bufs.iter_mut() {
                    buf.fill(0);
                }
                break;
            }
            Ok(count) => {
                at += count as u64;
                IoSliceMut::advance_slices(&mut bufs, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", at, error)),
        }
    }
    Ok(())
}

/// As [`write_all`], of the pieces of `bufs` in order.
pub(super) fn write_all_vectored(
    offset: u64,
    bufs: &[IoSlice<'_>],
    mut write: impl FnMut(&[IoSlice<'_>], u64) -> io::Result<usize>,
) -> Result<()> {
    let mut own = bufs.to_vec();
    let mut rest = &mut own[..];
    let mut at = offset;
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match write(rest, at) {
            Ok(0) => return Err(Error::io("write", at, io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                at += count as u64;
                IoSlice::advance_slices(&mut rest, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("write", at, error)),
        }
    }
    Ok(())
}

/// Makes a call that moves no bytes again as long as signals interrupt it.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answered => return answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EINTR: i32 = 4;
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;

    /// What one system call answers.
    #[derive(Clone, Copy)]
    enum Answer {
        /// At most so many bytes are moved.
        Moves(usize),
        Fails(i32),
    }

    use Answer::{Fails, Moves};

    /// A file whose system calls answer in turn; the last answer is given from then on.
    struct Calls {
        file: Vec<u8>,
        answers: Vec<Answer>,
        made: usize,
    }

    impl Calls {
        fn new(file: &[u8], answers: &[Answer]) -> Self {
            Self { file: file.to_vec(), answers: answers.to_vec(), made: 0 }
        }

        fn answer(&mut self) -> io::Result<usize> {
            let answer = self.answers[self.made.min(self.answers.len() - 1)];
            self.made += 1;
            match answer {
                Moves(most) => Ok(most),
                Fails(errno) => Err(io::Error::from_raw_os_error(errno)),
            }
        }

        fn read(&mut self, buf: &mut [u8], at: u64) -> io::Result<usize> {
            let most = self.answer()?;
            let rest = self.file.get(at as usize..).unwrap_or_default();
            let count = most.min(buf.len()).min(rest.len());
            buf[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn write(&mut self, buf: &[u8], at: u64) -> io::Result<usize> {
            let count = self.answer()?.min(buf.len());
            let end = at as usize + count;
            self.file.resize(self.file.len().max(end), 0);
            self.file[at as usize..end].copy_from_slice(&buf[..count]);
            Ok(count)
        }
    }

    fn read(answers: &[Answer]) -> (Result<()>, [u8; 8], usize) {
        let mut calls = Calls::new(b"0123456789", answers);
        let mut buf = [0xee; 8];
        let result = read_all(4, &mut buf, |part, at| calls.read(part, at));
        (result, buf, calls.made)
    }

    fn write(answers: &[Answer]) -> (Result<()>, Vec<u8>, usize) {
        let mut calls = Calls::new(b"0123456789", answers);
        let result = write_all(4, b"abcdefgh", |part, at| calls.write(part, at));
        (result, calls.file, calls.made)
    }

    #[test]
    fn short_and_interrupted_reads_go_on_where_they_stopped() {
        for answers in [
            &[Moves(100)][..],
            &[Moves(1)],
            &[Fails(EINTR), Moves(3), Fails(EINTR), Fails(EINTR), Moves(2), Moves(100)],
        ] {
            let (result, buf, _) = read(answers);
            result.unwrap();
            assert_eq!(&buf, b"456789\0\0", "past the end there are zeroes");
        }
        assert_eq!(read(&[Moves(100)]).2, 2, "the end is where a call reads nothing");
    }

    #[test]
    fn the_end_of_the_file_may_come_in_the_middle_of_a_read() {
        // Somebody cuts the file short between two calls.
        let (result, buf, _) = read(&[Moves(3), Moves(0)]);
        result.unwrap();
        assert_eq!(&buf, b"456\0\0\0\0\0");
    }

    #[test]
    fn short_and_interrupted_writes_go_on_where_they_stopped() {
        for answers in
            [&[Moves(100)][..], &[Moves(1)], &[Fails(EINTR), Moves(3), Fails(EINTR), Moves(2), Moves(100)]]
        {
            let (result, file, _) = write(answers);
            result.unwrap();
            assert_eq!(file, b"0123abcdefgh");
        }
    }

    #[test]
    fn what_fails_after_a_part_fails_and_says_where() {
        let (result, _, _) = read(&[Moves(3), Fails(EIO)]);
        assert!(matches!(result, Err(Error::Io { operation: "read", offset: 7, .. })), "{result:?}");
        let (result, file, _) = write(&[Moves(3), Fails(EINTR), Fails(EIO)]);
        assert!(matches!(result, Err(Error::Io { operation: "write", offset: 7, .. })), "{result:?}");
        assert_eq!(file, b"0123abc789", "what was written before stays");
        let (result, _, _) = write(&[Moves(3), Fails(ENOSPC)]);
        assert!(matches!(result, Err(Error::NoSpace { .. })), "{result:?}");
    }

    #[test]
    fn a_write_of_nothing_is_an_error_and_no_endless_loop() {
        let (result, _, made) = write(&[Moves(3), Moves(0)]);
        assert!(matches!(result, Err(Error::Io { operation: "write", offset: 7, .. })), "{result:?}");
        assert_eq!(made, 2);
    }

    #[test]
    fn other_calls_are_made_again_when_interrupted_and_only_then() {
        let mut calls = Calls::new(b"", &[Fails(EINTR), Fails(EINTR), Moves(1)]);
        uninterrupted(|| calls.answer()).unwrap();
        assert_eq!(calls.made, 3);
        let mut calls = Calls::new(b"", &[Fails(EINTR), Fails(EIO), Moves(1)]);
        assert_eq!(uninterrupted(|| calls.answer()).unwrap_err().raw_os_error(), Some(EIO));
        assert_eq!(calls.made, 2, "a sync that fails must not be tried again: the second would succeed");
    }
}
