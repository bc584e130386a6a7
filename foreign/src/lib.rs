//! Disk-image drivers that others have written, as drivers under test of `blk-harness`.
//!
//! | driver | crate | written over the harness's storage by |
//! |---|---|---|
//! | [`imago`] | `imago` 0.2.6 | its trait `Storage` |
//! | [`qcow2_rs`] | `qcow2-rs` 0.1.6 | its trait `Qcow2IoOps` |
//!
//! Both are asynchronous libraries. [`drive`] polls their futures on the thread, or the task of the
//! scheduler, that makes the request, so that every engine of the harness works: what is in flight together
//! is scheduled, and what waits for ever is found.
//!
//! What they have left is judged by their own reopen, and by the check of `blk-qcow2` ([`image`]). What is
//! known of them already is data ([`known`]): it is counted, and runs go on past it.

pub mod drive;
mod error;
pub mod image;
pub mod imago;
pub mod known;
pub mod qcow2_rs;
pub mod testing;
