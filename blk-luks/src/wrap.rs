//! Secrets that are encrypted with another one, as QEMU's `secret` objects have them: AES-256-CBC, padded as
//! PKCS #7 says.

use blk_core::{Error, Result, Secret};
use zeroize::Zeroizing;

use crate::algorithm::Family;
use crate::cipher::block_cipher;

/// Decrypts a secret.
///
/// # Errors
/// [`Error::InvalidOption`] for a key of another length than 32 bytes, and for data that are no whole blocks
/// or not padded: they were encrypted with another key.
pub fn unwrap_secret(key: &Secret, iv: [u8; 16], data: &[u8]) -> Result<Secret> {
    let refused = |name: &'static str, reason: String| Err(Error::invalid_option(name, reason));
    let length = key.expose().len();
    if length != 32 {
        return refused("keyid", format!("the key has {length} bytes, 32 are needed"));
    }
    let cipher = block_cipher(Family::Aes, key.expose())?;
    let (blocks, rest) = data.as_chunks::<16>();
    if blocks.is_empty() || !rest.is_empty() {
        return refused("data", format!("{} bytes are encrypted, whole blocks of 16 are needed", data.len()));
    }
    let mut plain = Zeroizing::new(blocks.to_vec());
    cipher.decrypt(&mut plain);
    for (block, before) in plain.iter_mut().zip([iv].iter().chain(blocks)) {
        block.iter_mut().zip(before).for_each(|(byte, before)| *byte ^= before);
    }
    let bytes = Zeroizing::new(plain.as_flattened().to_vec());
    let padding = usize::from(bytes[bytes.len() - 1]);
    let (text, padded) = bytes.split_at(bytes.len() - padding.min(bytes.len()));
    if !(1..=16).contains(&padding) || padded.iter().any(|byte| usize::from(*byte) != padding) {
        return refused("keyid", "the secret is encrypted with another key".to_owned());
    }
    Ok(Secret::from(text.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl enc -aes-256-cbc -K 00..1f -iv 20..2f`.
    #[test]
    fn what_others_have_encrypted_is_decrypted() {
        let key = Secret::from((0..32).collect::<Vec<u8>>());
        let iv: [u8; 16] = std::array::from_fn(|at| 0x20 + at as u8);
        let data = DATA;
        assert_eq!(unwrap_secret(&key, iv, &data).unwrap().expose(), b"open sesame, please");
        let other = Secret::from(vec![9; 32]);
        assert!(unwrap_secret(&other, iv, &data).is_err());
        for length in [0, 15, 17] {
            assert!(unwrap_secret(&key, iv, &data[..length]).is_err());
        }
        assert!(unwrap_secret(&Secret::from(vec![1; 16]), iv, &data).is_err());
    }

    const DATA: [u8; 32] = [
        0xc7, 0x52, 0xd6, 0xf3, 0xfa, 0x3f, 0x7c, 0xc7, 0xa6, 0x81, 0x3c, 0xc0, 0xef, 0x96, 0x18, 0x4c, 0x82,
        0x50, 0xb7, 0x6c, 0x9b, 0x4d, 0x9a, 0xbf, 0x6d, 0x0e, 0x01, 0xff, 0xd3, 0x12, 0x96, 0x53,
    ];
}
