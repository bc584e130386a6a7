//! Conversations of NBD out of random bytes: a client's with our server, and a server's with our client.

mod client;
mod server;
mod wire;

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use arbitrary::{Arbitrary, Unstructured};
use blk_harness::fuzzing::{Speaker, stop};
use blk_harness::repro::InputTarget;
use libfuzzer_sys::Corpus;
use serde_json::json;

/// What is exported, bytes.
const SIZE: u64 = 256 << 10;
/// The longest payload that is sent, bytes.
const PAYLOAD_BYTES_MAX: u64 = 64 << 10;

/// What conversations have come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// All of them.
    pub conversations: u64,
    /// Those that have agreed on an export.
    pub agreed: u64,
    /// Requests that were sent.
    pub requests: u64,
    /// Requests that have succeeded.
    pub accepted: u64,
    /// Answers whose bytes, runs or refusal were compared with what is expected.
    pub compared: u64,
}

#[derive(Default)]
struct Session {
    counts: Counts,
    speaker: Speaker,
}

static SESSION: LazyLock<Mutex<Session>> = LazyLock::new(Mutex::default);

/// A side that is under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Our client.
    Client,
    /// Our server.
    Server,
}

impl Side {
    fn target(self) -> &'static str {
        match self {
            Self::Client => "nbd_client",
            Self::Server => "nbd_server",
        }
    }
}

/// Has the conversation that an input says; ends the process with a report if something is found.
pub fn conversation(side: Side, data: &[u8]) -> Corpus {
    let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    session.counts.conversations += 1;
    let judged = judged(side, data, &mut session.counts);
    if session.speaker.is_due() {
        session.say();
    }
    match judged {
        None => Corpus::Reject,
        Some(Ok(())) => Corpus::Keep,
        Some(Err(report)) => stop(side.target(), &report, "the input is a conversation of NBD"),
    }
}

/// Finds once more what a conversation finds, and makes it small.
///
/// # Errors
/// As [`InputTarget::reproduce`].
pub fn reproduce(side: Side, input: &Path, out: &Path) -> anyhow::Result<bool> {
    let judge = |data: &[u8]| judged(side, data, &mut Counts::default())?.err();
    let show = |data: &[u8]| match side {
        Side::Client => format!("{:#?}", read::<client::Said>(data)),
        Side::Server => format!("{:#?}", read::<server::Said>(data)),
    };
    let (name, kind) = (side.target(), "a conversation of NBD");
    InputTarget { name, kind, extension: "conversation", judge: &judge, show: &show }.reproduce(input, out)
}

/// What the conversation that an input says comes to; `None` if it says too little.
fn judged(side: Side, data: &[u8], counts: &mut Counts) -> Option<Result<(), String>> {
    match side {
        Side::Client => read(data).map(|said| client::judge(&said, counts)),
        Side::Server => read(data).map(|said| server::judge(&said, counts)),
    }
}

/// `None` for too few bytes to say anything.
fn read<'a, T: Arbitrary<'a>>(data: &'a [u8]) -> Option<T> {
    T::arbitrary_take_rest(Unstructured::new(data)).ok()
}

impl Session {
    fn say(&mut self) {
        let Counts { conversations, agreed, requests, accepted, compared } = self.counts;
        self.speaker.say(json!({
            "scenarios": conversations,
            "agreed_percent": agreed * 100 / conversations.max(1),
            "requests": requests,
            "accepted": accepted,
            "answers_compared_percent": compared * 100 / requests.max(1),
        }));
    }
}

/// A number as peers say it: mostly one that means something.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Number {
    Small(u8),
    /// Multiples of a sector.
    Sectors(u8),
    /// Anywhere on the disk, and a little behind.
    Inside(u32),
    Usual(u8),
    Any(u64),
}

impl Number {
    fn value(self) -> u64 {
        const USUAL: [u64; 12] = [
            0,
            SIZE - 1,
            SIZE,
            SIZE + 1,
            PAYLOAD_BYTES_MAX,
            (32 << 20) - 1,
            32 << 20,
            (32 << 20) + 1,
            u32::MAX as u64,
            1 << 32,
            1 << 63,
            u64::MAX,
        ];
        match self {
            Self::Small(number) => number.into(),
            Self::Sectors(count) => u64::from(count) * 512,
            Self::Inside(number) => u64::from(number) % (SIZE + 512),
            Self::Usual(index) => USUAL[usize::from(index) % USUAL.len()],
            Self::Any(number) => number,
        }
    }
}

/// What the bytes of a disk are to begin with.
fn first_byte(offset: u64) -> u8 {
    (offset / 512 + offset % 512 / 3 + 1) as u8
}

/// Reads all that a peer says until it ends the connection.
fn hear(mut stream: UnixStream) -> Vec<u8> {
    let mut heard = Vec::new();
    // A connection that is cut ends what is heard.
    let _ = stream.read_to_end(&mut heard);
    let _ = stream.shutdown(Shutdown::Both);
    heard
}
