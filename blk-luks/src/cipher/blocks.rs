//! Block ciphers behind one interface: many blocks a call, so that the call costs nothing.

use aes::{Aes128, Aes192, Aes256};
use blk_core::{Error, Result};
use cipher::array::Array;
use cipher::consts::U16;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use serpent::Serpent;
use twofish::Twofish;

use crate::algorithm::Family;

/// What a cipher takes at once.
pub(crate) type Block = [u8; 16];

/// A block cipher with its key.
pub(crate) trait Blocks: Send + Sync {
    /// Encrypts each block by itself.
    fn encrypt(&self, blocks: &mut [Block]);

    /// Decrypts each block by itself.
    fn decrypt(&self, blocks: &mut [Block]);
}

impl<C> Blocks for C
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn encrypt(&self, blocks: &mut [Block]) {
        self.encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }

    fn decrypt(&self, blocks: &mut [Block]) {
        self.decrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }
}

/// A cipher of the family with this key, whose length says which.
pub(crate) fn block_cipher(family: Family, key: &[u8]) -> Result<Box<dyn Blocks>> {
    let boxed: Option<Box<dyn Blocks>> = match (family, key.len()) {
        (Family::Aes, 16) => Aes128::new_from_slice(key).ok().map(|cipher| Box::new(cipher) as _),
        (Family::Aes, 24) => Aes192::new_from_slice(key).ok().map(|cipher| Box::new(cipher) as _),
        (Family::Aes, 32) => Aes256::new_from_slice(key).ok().map(|cipher| Box::new(cipher) as _),
        (Family::Serpent, 16 | 24 | 32) => {
            Serpent::new_from_slice(key).ok().map(|cipher| Box::new(cipher) as _)
        }
        (Family::Twofish, 16 | 24 | 32) => {
            Twofish::new_from_slice(key).ok().map(|cipher| Box::new(cipher) as _)
        }
        _ => None,
    };
    let what = || format!("a key of {} bytes for {}", key.len(), family.name());
    boxed.ok_or_else(|| Error::unsupported(what()))
}
