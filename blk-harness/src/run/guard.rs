//! Panics of a driver become findings. They print nothing: the finding says what they said, and where.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::report;

thread_local! {
    /// How many guards this thread is in.
    static GUARDS: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic in one of them was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// In a guard, as long as it lives.
struct Guarded;

impl Guarded {
    fn enter() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let outer = take_hook();
            set_hook(Box::new(move |info| if GUARDS.get() > 0 { note(info) } else { outer(info) }));
        });
        GUARDS.set(GUARDS.get() + 1);
        Self
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        GUARDS.set(GUARDS.get() - 1);
    }
}

fn note(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
    PLACE.with_borrow_mut(|last| *last = place);
}

/// Runs `run`; a panic, which is always a driver's, is what it carries.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    let _guarded = Guarded::enter();
    catch_unwind(AssertUnwindSafe(run))
}

/// Runs `run`; a panic, which is always a driver's, is a finding.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T, found: impl FnOnce(Box<report::Finding>) -> T) -> T {
    match caught(run) {
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
    let place = PLACE.with_borrow_mut(Option::take);
    let place = place.map_or_else(String::new, |place| format!("\nat {place}"));
    report::oracle_finding(signature, "the driver panicked", &format!("{text}{place}"))
}
