//! For tests: a real browser looks at a page (Debian's packages `chromium` and `chromium-driver`).
//!
//! [`Browser`] speaks the protocol `WebDriver` of the W3C to `chromedriver`, of which it needs six commands;
//! [`look_at`] is what every page has to stand.

mod browser;
mod looks;

pub use browser::Browser;
pub use looks::look_at;
