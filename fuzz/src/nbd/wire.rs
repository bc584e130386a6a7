//! The protocol once more, from its document and not from the code under test.

pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
pub(super) const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
pub(super) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub(super) const CHUNK_MAGIC: u32 = 0x668e_33ef;
pub(super) const EXTENDED_CHUNK_MAGIC: u32 = 0x6e8a_278c;
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

pub(super) const ACK: u32 = 1;
pub(super) const INFO: u32 = 3;
pub(super) const META_CONTEXT: u32 = 4;
pub(super) const REFUSED: u32 = 1 << 31;

pub(super) const GO: u32 = 7;
pub(super) const STRUCTURED: u32 = 8;
pub(super) const SET_CONTEXT: u32 = 10;
pub(super) const EXTENDED: u32 = 11;

pub(super) const READ: u16 = 0;
pub(super) const WRITE: u16 = 1;
pub(super) const DISCONNECT: u16 = 2;
pub(super) const FLUSH: u16 = 3;
pub(super) const TRIM: u16 = 4;
pub(super) const CACHE: u16 = 5;
pub(super) const WRITE_ZEROES: u16 = 6;
pub(super) const BLOCK_STATUS: u16 = 7;

pub(super) const FUA: u16 = 1;
pub(super) const NO_HOLE: u16 = 1 << 1;
pub(super) const DF: u16 = 1 << 2;
pub(super) const REQ_ONE: u16 = 1 << 3;
pub(super) const FAST_ZERO: u16 = 1 << 4;
pub(super) const PAYLOAD_LENGTH: u16 = 1 << 5;

pub(super) const DONE: u16 = 1;
pub(super) const NONE: u16 = 0;
pub(super) const OFFSET_DATA: u16 = 1;
pub(super) const OFFSET_HOLE: u16 = 2;
pub(super) const STATUS: u16 = 5;
pub(super) const STATUS_EXTENDED: u16 = 6;
pub(super) const ERROR: u16 = 0x8001;

/// How requests and replies are headed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, arbitrary::Arbitrary)]
pub(super) enum Form {
    Simple,
    Structured,
    Extended,
}

/// What is left of bytes that were heard.
pub(super) struct Heard<'a>(pub(super) &'a [u8]);

impl<'a> Heard<'a> {
    pub(super) fn take(&mut self, bytes: u64) -> Result<&'a [u8], String> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or_else(|| format!("{bytes} bytes are to follow, {} do", self.0.len()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N as u64)?.try_into().expect("so many were taken"))
    }

    pub(super) fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_be_bytes)
    }
}

pub(super) fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u32;
    [b"IHAVEOPT", &number.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
}

pub(super) fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let magic = OPTION_REPLY_MAGIC.to_be_bytes();
    let length = data.len() as u32;
    [&magic[..], &option.to_be_bytes(), &kind.to_be_bytes(), &length.to_be_bytes(), data].concat()
}
