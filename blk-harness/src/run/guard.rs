//! Panics of a driver become findings.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::report;

/// Runs `run`; a panic, which is always a driver's, is a finding.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T, found: impl FnOnce(Box<report::Finding>) -> T) -> T {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(payload) => found(Box::new(panic_finding(payload.as_ref()))),
    }
}

/// The finding for a panic, from what it carries.
pub(crate) fn panic_finding(payload: &(dyn Any + Send)) -> report::Finding {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    let signature = report::Signature::Panic { message: report::without_numbers(text) };
    report::oracle_finding(signature, "the driver panicked", text)
}
