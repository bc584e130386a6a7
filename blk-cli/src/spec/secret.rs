//! Secrets of a command line, as QEMU's object `secret` has them: text or a file, as they are or in base64,
//! and perhaps encrypted with another secret.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::{Error, Result, Secret, name};
use blk_luks::unwrap_secret;
use zeroize::Zeroizing;

use super::objects::Objects;
use super::options::NodeOptions;

/// The largest file with a secret, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Room for what a file has that does not know its length, such as a pipe, bytes.
const SPARE_BYTES: u64 = 4096;
/// How many secrets may be encrypted with one another in a row.
const DEPTH_MAX: usize = 8;

/// A secret.
#[derive(Debug, Clone)]
pub(super) struct SecretObject {
    given: Given,
    is_base64: bool,
    /// The secret that it is encrypted with, and the vector.
    wrapped: Option<(String, [u8; 16])>,
}

/// What was given on the command line.
#[derive(Debug, Clone)]
enum Given {
    Data(Secret),
    /// The file's name, and what was read from it. It is read once, as a pipe can be, when it is needed: a
    /// server that goes on in the background is another process than the one that reads the command line.
    File(String, Arc<Mutex<Option<Secret>>>),
}

impl Given {
    /// A file has to be there.
    fn file(name: String) -> Result<Self> {
        match std::fs::metadata(name::to_path(&name)) {
            Ok(_) => Ok(Self::File(name, Arc::default())),
            Err(error) => Err(Error::Unresolved { name, reason: error.to_string() }),
        }
    }

    fn read(&self) -> Result<Secret> {
        let (name, content) = match self {
            Self::Data(data) => return Ok(data.clone()),
            Self::File(name, content) => (name, content),
        };
        let mut content = content.lock();
        if let Some(content) = &*content {
            return Ok(content.clone());
        }
        Ok(content.insert(read(name)?).clone())
    }
}

impl SecretObject {
    /// Takes its options. The file that they name is not read yet.
    pub(super) fn take(options: &mut NodeOptions) -> Result<Self> {
        let data = options.take_text("data").map(|text| Secret::from(name::to_bytes(&text).into_owned()));
        let file = options.take_text("file");
        let is_base64 = options.take_choice("format", &[("raw", false), ("base64", true)])?.unwrap_or(false);
        let (keyid, iv) = (options.take_text("keyid"), options.take_text("iv"));
        options.take_switch("loaded")?;
        let given = match (data, file) {
            (Some(_), Some(_)) => return Err(options.bad("data", "'file' and 'data' exclude each other")),
            (None, None) => return Err(options.bad("data", "either 'file' or 'data' is needed")),
            (Some(data), None) => Given::Data(data),
            (None, Some(file)) => Given::file(file)?,
        };
        let wrapped = match (keyid, iv) {
            (None, _) => None,
            (Some(_), None) => return Err(options.bad("iv", "it is needed to decrypt the secret")),
            (Some(keyid), Some(iv)) => {
                let iv = decode("iv", iv.as_bytes())?;
                let bytes = iv.expose().len();
                let iv = <[u8; 16]>::try_from(iv.expose());
                let iv = iv.map_err(|_| options.bad("iv", format!("it has {bytes} bytes, 16 are needed")))?;
                Some((keyid, iv))
            }
        };
        Ok(Self { given, is_base64, wrapped })
    }

    /// The secret itself; `objects` has those that it is encrypted with.
    pub(super) fn reveal(&self, objects: &Objects, depth: usize) -> Result<Secret> {
        let given = self.given.read()?;
        let given = if self.is_base64 { decode("data", given.expose())? } else { given };
        let Some((keyid, iv)) = &self.wrapped else { return Ok(given) };
        if depth >= DEPTH_MAX {
            let reason = format!("more than {DEPTH_MAX} secrets are encrypted with one another");
            return Err(Error::invalid_option("keyid", reason));
        }
        unwrap_secret(&objects.secret_at(keyid, depth + 1)?, *iv, given.expose())
    }
}

fn read(file: &str) -> Result<Secret> {
    let failed = |reason: String| Error::Unresolved { name: file.to_owned(), reason };
    let opened = File::open(name::to_path(file)).map_err(|error| failed(error.to_string()))?;
    let length = opened.metadata().map_or(0, |metadata| metadata.len()).min(FILE_BYTES_MAX);
    // With room to spare, so that nothing of it is left where the vector was before it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity((length + SPARE_BYTES) as usize));
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(format!("a secret has at most {FILE_BYTES_MAX} bytes")));
    }
    Ok(Secret::from(std::mem::take(&mut *bytes)))
}

/// Reads base64, RFC 4648: padded, with line ends anywhere.
fn decode(option: &'static str, text: &[u8]) -> Result<Secret> {
    let refused = || Error::invalid_option(option, "it is no base64");
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    digits.extend(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()));
    let padding = digits.iter().rev().take_while(|digit| **digit == b'=').count();
    if !digits.len().is_multiple_of(4) || padding > 2 {
        return Err(refused());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 4 * 3));
    let (mut bits, mut count) = (0_u32, 0);
    for digit in &digits[..digits.len() - padding] {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(refused()),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Ok(Secret::from(std::mem::take(&mut *bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Object;

    fn objects(texts: &[&str]) -> Objects {
        texts.iter().map(|text| Object::parse(text).unwrap()).collect::<Vec<_>>().into()
    }

    #[test]
    fn base64_is_read() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9v\nYg==", "foob")]
        {
            assert_eq!(decode("data", text.as_bytes()).unwrap().expose(), bytes.as_bytes());
        }
        for text in ["Z", "Zg", "Zg=", "====", "Z*==", "Zg==Zg==", "Zm9v="] {
            assert!(decode("data", text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_found_in_every_form() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from a file").unwrap();
        let of_file = format!("secret,id=f,file={}", file.path().display());
        let all = objects(&["secret,id=a,data=x,,y", "secret,id=b,data=Zm9v,format=base64", &of_file]);
        for (id, secret) in [("a", "x,y"), ("b", "foo"), ("f", "from a file")] {
            assert_eq!(all.secret(id).unwrap().expose(), secret.as_bytes());
        }
        assert!(!format!("{all:?}").contains("x,y"), "{all:?}");
        assert!(all.secret("c").unwrap_err().to_string().contains("'c'"));
    }

    /// A pipe gives its content once.
    #[test]
    fn a_file_is_read_when_it_is_needed_and_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of_file = format!("secret,id=f,file={}", file.path().display());
        let all = objects(&[&of_file]);
        std::fs::write(file.path(), "now").unwrap();
        let same = all.clone();
        assert_eq!(all.secret("f").unwrap().expose(), b"now");
        drop(file);
        assert_eq!(same.secret("f").unwrap().expose(), b"now");
        let large = tempfile::NamedTempFile::new().unwrap();
        large.as_file().set_len(FILE_BYTES_MAX + 1).unwrap();
        let all = objects(&[&format!("secret,id=f,file={}", large.path().display())]);
        assert!(all.secret("f").unwrap_err().to_string().contains("at most 1048576 bytes"));
    }

    #[test]
    fn a_secret_is_encrypted_with_another_one() {
        let all = objects(&[
            "secret,id=master,data=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,format=base64",
            concat!(
                "secret,id=s,keyid=master,format=base64,iv=ICEiIyQlJicoKSorLC0uLw==,",
                "data=x1LW8/o/fMemgTzA75YYTIJQt2ybTZq/bQ4B/9MSllM="
            ),
            "secret,id=loop,keyid=loop,format=base64,iv=ICEiIyQlJicoKSorLC0uLw==,data=Zm9v",
            "secret,id=bad,keyid=nobody,format=base64,iv=ICEiIyQlJicoKSorLC0uLw==,data=Zm9v",
        ]);
        assert_eq!(all.secret("s").unwrap().expose(), b"open sesame, please");
        assert!(all.secret("loop").unwrap_err().to_string().contains("more than 8"));
        assert!(all.secret("bad").unwrap_err().to_string().contains("'nobody'"));
    }

    #[test]
    fn options_that_contradict_are_refused() {
        for (text, said) in [
            ("secret,id=a", "either 'file' or 'data'"),
            ("secret,id=a,data=x,file=y", "exclude each other"),
            ("secret,id=a,file=/nowhere/at/all", "/nowhere/at/all"),
            ("secret,id=a,data=x,format=hex", "'hex'"),
            ("secret,id=a,data=x,keyid=b", "'iv'"),
            ("secret,id=a,data=x,keyid=b,iv=Zg==", "16 are needed"),
            ("secret,id=a,data=x,keyid=b,iv=*", "no base64"),
            ("secret,id=a,data=x,colour=red", "an option of 'secret' is unknown"),
        ] {
            let reason = Object::parse(text).unwrap_err();
            assert!(reason.contains(said), "{text}: {reason}");
        }
    }
}
