//! What a storage has stored, read piece by piece.

use crate::{Error, Result, Storage};

/// Reads everything but holes, in pieces of up to `piece_bytes`, and hands each with its offset to `each`.
///
/// # Errors
/// [`Error::NoSpace`] where more than `bytes_max` bytes are stored; those of the storage, and of `each`.
pub fn read_data(
    from: &dyn Storage,
    piece_bytes: u64,
    bytes_max: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    assert!(piece_bytes > 0, "pieces of no bytes");
    let (mut at, mut read) = (0, 0);
    while let Some(run) = from.run_at(at)? {
        let end = at + run.length;
        while run.data && at < end {
            let mut piece = vec![0; (end - at).min(piece_bytes) as usize];
            read += piece.len() as u64;
            if read > bytes_max {
                let what = format!("the image stores more than {bytes_max} bytes");
                return Err(Error::NoSpace { what: what.into() });
            }
            from.read_at(at, &mut piece)?;
            each(at, &piece)?;
            at += piece.len() as u64;
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, MemoryStorage};

    #[test]
    fn holes_are_left_out_and_pieces_are_bounded() {
        let storage = MemoryStorage::new();
        storage.set_len(1 << 30).unwrap();
        storage.write_at(0, &[1; 10]).unwrap();
        storage.write_at(1 << 29, &vec![2; 70_000]).unwrap();
        let mut copy = vec![0; 70_000];
        let mut read = 0;
        read_data(&storage, 1000, 1 << 20, |at, piece| {
            assert!(!piece.is_empty() && piece.len() <= 1000);
            if let Some(at) = at.checked_sub(1 << 29).filter(|at| *at < 70_000) {
                let length = piece.len().min(70_000 - at as usize);
                copy[at as usize..][..length].copy_from_slice(&piece[..length]);
            }
            read += piece.len() as u64;
            Ok(())
        })
        .unwrap();
        assert!(copy.iter().all(|byte| *byte == 2) && read < 1 << 20, "{read} bytes");
        let error = read_data(&storage, 1000, 4096, |_, _| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
    }
}
