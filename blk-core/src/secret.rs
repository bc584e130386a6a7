//! Secrets: bytes that appear nowhere but where they are used.

use std::fmt;

use zeroize::Zeroizing;

/// A passphrase or a key. It cannot be shown, is compared with nothing, and is overwritten when it is
/// dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes, for the code that needs them. Copies of them are nobody's to overwrite.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The vector's memory becomes the secret's, so that no copy is left.
impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// Neither the bytes nor how many there are.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        let secret = Secret::from(b"open sesame".to_vec());
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "Secret(..) Some(\n    Secret(..),\n)");
        assert_eq!(secret.expose(), b"open sesame");
    }
}
