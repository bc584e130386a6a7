//! A scenario as a Rust test, to be put wherever the suite that it runs in can be used.

use std::fmt::Write as _;

use super::Scenario;
use crate::random::hash;

impl Scenario {
    /// The source of a Rust test that replays this scenario on the target `target_name` and passes when
    /// nothing is found. The Rust expression `suite` is a [`Suite`](crate::Suite) for whoever depends on the
    /// driver's crate and this one. `signature_text` says what the scenario once found; it becomes a comment.
    pub fn to_rust_test(&self, suite: &str, target_name: &str, signature_text: &str) -> String {
        let mut source = format!("//! A finding of {target_name}, replayed.\n//!\n");
        for line in signature_text.lines() {
            // Indented, so that rustdoc takes nothing in it for markup.
            writeln!(source, "//!     {line}").expect("writing to a string");
        }
        let name = test_name(target_name, self);
        let trace = self.to_text();
        let body = format!(
            "
#[test]
fn {name}() {{
    let trace = r#\"
{trace}\"#;
    blk_harness::tests::replay(&{suite}, trace);
}}
"
        );
        source + &body
    }
}

/// A name that differs between scenarios and stays the same for one.
fn test_name(target_name: &str, scenario: &Scenario) -> String {
    let target: String = target_name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    format!("finding_{target}_{:08x}", hash(scenario.to_text().as_bytes()) >> 32)
}
