//! What has changed between two lists of lines.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// Lines of one list alone, each in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    removed: Vec<String>,
    added: Vec<String>,
}

impl Difference {
    /// What `new` has and has not, compared with `old`.
    pub(super) fn between(old: &str, new: &str) -> Self {
        let (old_lines, new_lines) = (lines(old), lines(new));
        let only = |text: &str, others: &BTreeSet<&str>| {
            let only = text.lines().filter(|line| !others.contains(line));
            only.map(str::to_owned).collect()
        };
        Self { removed: only(old, &new_lines), added: only(new, &old_lines) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    /// Whether something is gone, or has another form.
    pub(super) fn removes(&self) -> bool {
        !self.removed.is_empty()
    }

    /// As a diff of the file at `path`, without what is the same.
    pub(super) fn render(&self, path: &Path) -> String {
        let mut text = format!("--- {}\n", path.display());
        for (mark, lines) in [('-', &self.removed), ('+', &self.added)] {
            for line in lines {
                writeln!(text, "{mark}{line}").expect("a text takes lines");
            }
        }
        text
    }
}

fn lines(text: &str) -> BTreeSet<&str> {
    text.lines().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "pub fn a::close(&self)\npub fn a::open(u64)\npub struct a::B\n";

    #[test]
    fn a_changed_signature_is_gone_and_there() {
        let difference = Difference::between(OLD, &OLD.replace("open(u64)", "open(u64, bool)"));
        assert!(difference.removes());
        assert_eq!(
            difference.render(Path::new("docs/api/a.txt")),
            "--- docs/api/a.txt\n-pub fn a::open(u64)\n+pub fn a::open(u64, bool)\n"
        );
    }

    #[test]
    fn what_is_added_removes_nothing() {
        let difference = Difference::between(OLD, &format!("{OLD}pub struct a::C\n"));
        assert!(!difference.removes() && !difference.is_empty());
        assert!(Difference::between(OLD, OLD).is_empty());
        assert!(Difference::between(OLD, "").removes());
    }
}
