//! Requests made of one disk whose content is known.

use blk_core::{Disk, Error};

use super::content::{Content, Predicted, Wrong};
use crate::perform::Performer;
use crate::refusal::may_refuse;
use crate::scenario::Request;

/// What is wrong with a disk that is in use.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// A request failed that must not.
    Failed(Error),
    /// The disk shows other bytes than it should.
    Wrong(Wrong),
}

/// Makes a request, compares what it reads, and takes over what it changes. Returns whether it succeeded; a refusal is no
/// trouble.
pub(crate) fn make(
    performer: &mut Performer,
    disk: &Disk,
    content: &mut Content,
    number: u32,
    request: Request,
    fill_bytes: u64,
) -> Result<bool, Trouble> {
    let predicted = content.predict(number, request, fill_bytes);
    let succeeded = perform(performer, disk, content, number, request, fill_bytes)?;
    settle(disk, content, request, predicted.as_ref(), succeeded)?;
    Ok(succeeded)
}

/// Makes a request and compares what it reads.
pub(crate) fn perform(
    performer: &mut Performer,
    disk: &Disk,
    content: &Content,
    number: u32,
    request: Request,
    fill_bytes: u64,
) -> Result<bool, Trouble> {
    let made = match request {
        Request::Read { offset, length } => return read(disk, content, offset, length),
        _ => performer.perform(disk, number, request, fill_bytes),
    };
    match made {
        Ok(()) => Ok(true),
        Err(error) if may_refuse(request, content.size(), error.kind()) => Ok(false),
        Err(error) => Err(Trouble::Failed(error)),
    }
}

/// Takes over what a request has changed.
pub(crate) fn settle(
    disk: &Disk,
    content: &mut Content,
    request: Request,
    predicted: Option<&Predicted>,
    succeeded: bool,
) -> Result<(), Trouble> {
    if let (Request::Resize { size }, true) = (request, succeeded) {
        content.bytes.resize(size as usize, 0);
    }
    let Some(predicted) = predicted else { return Ok(()) };
    match content.settle(disk, predicted, succeeded) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(wrong)) => Err(Trouble::Wrong(wrong)),
        Err(error) => Err(Trouble::Failed(error)),
    }
}

fn read(disk: &Disk, content: &Content, offset: u64, length: u64) -> Result<bool, Trouble> {
    let end = offset.checked_add(length).filter(|end| *end <= content.size());
    let Some(end) = end else { return Ok(false) };
    let mut found = vec![0xee; length as usize];
    disk.read(offset, &mut found).map_err(Trouble::Failed)?;
    let expected = &content.bytes[offset as usize..end as usize];
    if found == expected {
        return Ok(true);
    }
    Err(Trouble::Wrong(Wrong { offset, expected: expected.to_vec(), found }))
}
