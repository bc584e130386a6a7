//! A lane: makes one request after the other, and says what came of it.

use blk_core::{Disk, Error, Extent, Result, WriteFlags};

use super::court::{Answer, Begun, Court};
use crate::perform::Performer;
use crate::scenario::{Request, Turn};
use crate::verify::UNREAD;

/// Pieces that a map asks for at most.
const PIECES_MAX: usize = 1 << 16;

/// Makes requests as lane number `lane`, until there are no more. `begins` hears of each before it is made.
pub(super) fn drive(court: &Court, disk: &Disk, lane: usize, begins: impl Fn(u32, Turn)) {
    let mut performer = Performer::default();
    while let Some(begun) = court.begin(lane) {
        begins(begun.number, begun.turn);
        let answered = make(disk, &begun, &mut performer);
        court.end(lane, answered);
    }
}

fn make(disk: &Disk, begun: &Begun, performer: &mut Performer) -> Result<Answer> {
    match begun.request {
        Request::Read { offset, length }
        | Request::Status { offset, length }
        | Request::Write { offset, length, .. }
        | Request::WriteCompressed { offset, length, .. }
            if !begun.is_inside =>
        {
            // Nothing is allocated for what does not fit.
            Err(Error::OutOfRange { offset, length, size: disk.size() })
        }
        Request::Read { offset, length } => {
            let mut bytes = vec![UNREAD; length as usize];
            disk.read(offset, &mut bytes)?;
            Ok(Answer::Bytes(bytes))
        }
        Request::Status { offset, length } => zeroes(disk, Extent::new(offset, length)).map(Answer::Zeroes),
        Request::Write { offset, fua, .. } => {
            write(disk, begun, offset, WriteFlags { fua, compressed: false })
        }
        Request::WriteCompressed { offset, .. } => {
            write(disk, begun, offset, WriteFlags { fua: false, compressed: true })
        }
        Request::Check { .. } if disk.as_check().is_none() => Ok(Answer::Done),
        Request::Check { repair } => disk.check(repair.mode()).map(Answer::Checked),
        // What moves no data needs no cluster size.
        request => performer.perform(disk, begun.number, request, 0).map(|()| Answer::Done),
    }
}

fn write(disk: &Disk, begun: &Begun, offset: u64, flags: WriteFlags) -> Result<Answer> {
    let data = begun.data.as_ref().expect("a write on the disk has data");
    disk.write(offset, data, flags).map(|()| Answer::Done)
}

/// What a map of `extent` claims to read as zeroes.
fn zeroes(disk: &Disk, extent: Extent) -> Result<Vec<Extent>> {
    let mut zeroes = Vec::new();
    let mut rest = extent;
    for _ in 0..PIECES_MAX {
        let status = disk.block_status(rest)?;
        let piece = Extent::new(rest.offset, status.length);
        if status.zero {
            zeroes.push(piece);
        }
        if piece.end() >= rest.end() {
            break;
        }
        rest = Extent::between(piece.end(), rest.end());
    }
    Ok(zeroes)
}
