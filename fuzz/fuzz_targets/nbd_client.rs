//! Conversations of NBD that our client has. Nothing may panic, hang or grow without bound, and what it says
//! or takes for said is right.
#![no_main]

use blk_fuzz::nbd::{Side, conversation, reproduce};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: blk_harness::fuzzing::begin_with(|input, out| reproduce(Side::Client, input, out)), |data: &[u8]| -> Corpus {
    conversation(Side::Client, data)
});
