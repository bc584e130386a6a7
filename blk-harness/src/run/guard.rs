//! Panics of a driver become findings. They print nothing: the finding says what they said, and where.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::report;

thread_local! {
    /// How many guards this thread is in.
    static GUARDS: Cell<usize> = const { Cell::new(0) };
    /// Where the panic was that is on its way to a guard.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What a panic carried, and where it was.
struct Panicked {
    payload: Box<dyn Any + Send>,
    place: Option<String>,
}

/// In a guard, as long as it lives.
struct Guarded;

impl Guarded {
    fn enter() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let outer = take_hook();
            set_hook(Box::new(move |info| {
                if GUARDS.get() == 0 || ends_the_process(info) {
                    PLACE.with_borrow(|place| place.iter().for_each(|place| eprintln!("a panic at {place}")));
                    outer(info);
                } else {
                    note(info);
                }
            }));
        });
        PLACE.take();
        GUARDS.set(GUARDS.get() + 1);
        Self
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        GUARDS.set(GUARDS.get() - 1);
    }
}

/// Whether nothing catches a panic: there will be no finding, and this is the only word about it.
fn ends_the_process(info: &PanicHookInfo<'_>) -> bool {
    /// What std says of a panic while another one unwinds, and where none may.
    const SAID: [&str; 2] =
        ["panic in a destructor during cleanup", "panic in a function that cannot unwind"];
    let said = info.payload_as_str().unwrap_or_default();
    cfg!(panic = "abort") || SAID.contains(&said)
}

fn note(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
    PLACE.with_borrow_mut(|last| *last = place);
}

/// Runs `run`; a panic, which is always a driver's, is what [`panic_finding`] takes, also from another
/// thread.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    let _guarded = Guarded::enter();
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        if payload.is::<Panicked>() {
            return payload;
        }
        Box::new(Panicked { payload, place: PLACE.take() }) as Box<dyn Any + Send>
    })
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
    let panicked = payload.downcast_ref::<Panicked>();
    let (payload, place) =
        panicked.map_or((payload, None), |panicked| (&*panicked.payload, panicked.place.as_deref()));
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    let signature = report::Signature::Panic { message: report::without_numbers(text) };
    let place = place.map_or_else(String::new, |place| format!("\nat {place}"));
    report::oracle_finding(signature, "the driver panicked", &format!("{text}{place}"))
}
