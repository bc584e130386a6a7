//! File names as text, whatever bytes they have.
//!
//! Names of files are bytes, everything else on a command line and in a specification is text. So a name is
//! carried as a text, in which each byte that is no UTF-8 is a character of the last private plane: byte `xx`
//! is U+10FFxx. The way there and back loses nothing: those characters themselves are carried byte for byte.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What stands for byte 0; the bytes that can be meant are 0x80 to 0xff.
const ESCAPES: u32 = 0x0010_ff00;

/// The byte that a character stands for, if it stands for one.
fn escaped_byte(character: char) -> Option<u8> {
    let byte = u32::from(character).checked_sub(ESCAPES)?;
    u8::try_from(byte).ok().filter(|byte| !byte.is_ascii())
}

/// The text that carries a name.
pub fn from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match escaped_byte(character) {
                None => text.push(character),
                Some(_) => escape(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn escape(text: &mut String, bytes: &[u8]) {
    text.extend(bytes.iter().filter_map(|byte| char::from_u32(ESCAPES + u32::from(*byte))));
}

/// The bytes of a name that is carried as text.
pub fn to_bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(|character| escaped_byte(character).is_some()) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match escaped_byte(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// As [`from_bytes`], for a name or an argument of the system.
pub fn from_os(name: &OsStr) -> String {
    from_bytes(name.as_bytes())
}

/// The path that a text carries.
pub fn to_path(text: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(to_bytes(text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_again() {
        let names: [&[u8]; 6] = [
            b"plain",
            b"",
            "\u{e4}\u{1f600}\n".as_bytes(),
            b"\xff\xfe a \x80",
            b"cut \xe2\x82",
            "\u{10ffff}\u{10ff80}\u{10ff7f}".as_bytes(),
        ];
        for name in names {
            assert_eq!(&*to_bytes(&from_bytes(name)), name);
        }
        for byte in 0..=u8::MAX {
            assert_eq!(&*to_bytes(&from_bytes(&[byte, b'a', byte, byte])), [byte, b'a', byte, byte]);
        }
        assert_eq!(from_bytes("\u{e4}".as_bytes()), "\u{e4}");
        assert_eq!(from_bytes(b"a\xff").chars().last(), Some('\u{10ffff}'));
        assert_eq!(to_path(&from_os(OsStr::from_bytes(b"x\xc0/y"))).as_os_str().as_bytes(), b"x\xc0/y");
    }
}
