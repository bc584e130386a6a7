//! Whether what an encrypted disk shows lies on the host as it is.

use std::collections::HashSet;

use blk_core::{Disk, Result, Storage};

/// Bytes that are looked for as one: a block of every cipher.
const BLOCK_BYTES: usize = 16;
/// How much of a large disk, and of a long image, is looked at, bytes.
const LOOKED_BYTES_MAX: u64 = 4 << 20;

/// Fails if a block of the disk stands in the image. One that has few different bytes says nothing: tables
/// have such blocks too.
pub(crate) fn is_absent(storage: &dyn Storage, disk: &Disk) -> std::result::Result<(), String> {
    match found(storage, disk) {
        Ok(None) => Ok(()),
        Ok(Some(offset)) => {
            Err(format!("the host has {BLOCK_BYTES} bytes of the disk at {offset} as they are"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Where in the image a block stands that the disk shows somewhere.
fn found(storage: &dyn Storage, disk: &Disk) -> Result<Option<u64>> {
    let (mut plain, mut host) = (bytes_of(disk.size()), bytes_of(storage.len()?));
    disk.read(0, &mut plain)?;
    storage.read_at(0, &mut host)?;
    let shown: HashSet<&[u8; BLOCK_BYTES]> =
        plain.as_chunks().0.iter().filter(|block| tells(block)).collect();
    let index = host.as_chunks().0.iter().position(|block| shown.contains(block));
    Ok(index.map(|index| (index * BLOCK_BYTES) as u64))
}

fn bytes_of(length: u64) -> Vec<u8> {
    vec![0; length.min(LOOKED_BYTES_MAX) as usize]
}

/// Whether a block is unlike those that tables have.
fn tells(block: &[u8; BLOCK_BYTES]) -> bool {
    let different: HashSet<u8> = block.iter().copied().collect();
    different.len() > BLOCK_BYTES / 2
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blk_core::{Access, Format, Options, WriteFlags};

    use super::*;
    use crate::initial::reference_over;
    use crate::qcow2_target::{QUICK, keys};

    /// The oracle is able to see.
    #[test]
    fn plain_text_on_the_host_is_found() {
        for format in ["aes", "luks"] {
            let storage: Arc<dyn Storage> = Arc::new(blk_core::MemoryStorage::new());
            let key = || Options::new().with("encrypt.key-secret", "key");
            QUICK.create_with(&storage, 1 << 20, key().with("encrypt.format", format), &keys()).unwrap();
            let disk = QUICK.open(Arc::clone(&storage), Access::ReadWrite, key(), &keys()).unwrap();
            let reference = reference_over(1 << 20, None).unwrap();
            let text = b"0123456789abcdef".repeat(40);
            for disk in [&reference, &disk] {
                disk.write(4000, &text, WriteFlags::default()).unwrap();
            }
            disk.close().unwrap();
            assert_eq!(is_absent(&*storage, &reference), Ok(()), "{format}");
            let end = storage.len().unwrap();
            storage.write_at(end - 32, &text[..16]).unwrap();
            assert!(is_absent(&*storage, &reference).unwrap_err().contains(&(end - 32).to_string()));
        }
    }
}
