//! How wide lines may be: comments and documents too. Code is rustfmt's business, and what stands in a string
//! is data.

use std::path::Path;

const COLUMNS_MAX: usize = 110;

/// What lines begin with that are not filled with the words of the line before.
const ITEMS: [&str; 8] = ["- ", "* ", "| ", "#", "```", "> ", "<", "["];

/// Lines of a file that are too wide, as messages.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let mut state = State::new(path);
    let wide = text.lines().enumerate().filter(|(_, line)| state.is_prose(line) && is_wide(line));
    wide.map(|(index, line)| {
        format!("{path}:{}: {} columns, allowed are {COLUMNS_MAX}", index + 1, line.chars().count())
    })
    .collect()
}

/// The same file with its paragraphs filled anew from each line that is too wide. What cannot be broken
/// stays.
pub(super) fn fix(path: &str, text: &str) -> String {
    let mut state = State::new(path);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut index = 0;
    while index < lines.len() {
        if state.is_prose(&lines[index]) && !state.is_fenced && is_wide(&lines[index]) {
            break_line(path, &mut lines, index);
        }
        index += 1;
    }
    let mut fixed = lines.join("\n");
    if text.ends_with('\n') {
        fixed.push('\n');
    }
    fixed
}

/// Wide lines whose words cannot be parted, such as long addresses, are not too wide.
fn is_wide(line: &str) -> bool {
    line.chars().count() > COLUMNS_MAX && break_at(line).is_some()
}

/// Where a wide line is broken: at its last space within the columns that has words on both sides.
fn break_at(line: &str) -> Option<usize> {
    let start = line.len() - content(line).len();
    let within = line.char_indices().take(COLUMNS_MAX + 1).map(|(at, _)| at);
    let spaces = within.filter(|at| *at > start && line[*at..].starts_with(' '));
    // A word that would begin an item of a list stays where it is.
    spaces.filter(|at| !is_item(line[at + 1..].trim_start())).last()
}

/// The words of a line behind its comment mark.
fn content(line: &str) -> &str {
    let line = line.trim_start();
    let marks = ["//! ", "/// ", "// ", "# "];
    marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).trim_start()
}

fn is_item(content: &str) -> bool {
    let digits = content.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let is_numbered = digits.len() < content.len() && digits.starts_with(". ");
    is_numbered || ITEMS.iter().any(|item| content.starts_with(item))
}

/// Moves the end of a line to the next one, or to one of its own where the next belongs to another paragraph.
fn break_line(path: &str, lines: &mut Vec<String>, index: usize) {
    let line = lines[index].clone();
    let Some(at) = break_at(&line) else { return };
    let is_document = Path::new(path).extension().is_some_and(|extension| extension == "md");
    let prefix = prefix(&line, is_document);
    let rest = line[at..].trim_start().to_owned();
    line[..at].trim_end().clone_into(&mut lines[index]);
    let next = lines.get(index + 1).and_then(|next| next.strip_prefix(&prefix));
    match next.filter(|words| !words.is_empty() && !words.starts_with(' ') && !is_item(words)) {
        Some(words) => lines[index + 1] = format!("{prefix}{rest} {words}"),
        None => lines.insert(index + 1, format!("{prefix}{rest}")),
    }
}

/// What the next line of the same paragraph begins with.
fn prefix(line: &str, is_document: bool) -> String {
    let indent = &line[..line.len() - line.trim_start().len()];
    let rest = line.trim_start();
    let marks: &[&str] = if is_document { &[""] } else { &["//! ", "/// ", "// ", "# "] };
    let mark = marks.iter().find(|mark| rest.starts_with(**mark)).unwrap_or(&"");
    let words = &rest[mark.len()..];
    let inner = words.len() - words.trim_start().len();
    let words = words.trim_start();
    let item = if words.starts_with("- ") || words.starts_with("* ") { 2 } else { 0 };
    format!("{indent}{mark}{}", " ".repeat(inner + item))
}

/// What is known at a line of a file.
struct State {
    is_document: bool,
    mark: &'static [&'static str],
    is_fenced: bool,
}

impl State {
    fn new(path: &str) -> Self {
        let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
        let mark: &[&str] = match extension {
            Some("rs") => &["//"],
            Some("toml") => &["#"],
            _ => &[],
        };
        Self { is_document: extension == Some("md"), mark, is_fenced: false }
    }

    /// Whether a line is a comment or part of a document, no row of a table and no code. Lines are asked
    /// about in their order.
    fn is_prose(&mut self, line: &str) -> bool {
        let trimmed = line.trim_start();
        let is_comment = self.mark.iter().any(|mark| trimmed.starts_with(mark));
        if !is_comment && !self.is_document {
            self.is_fenced = false;
            return false;
        }
        let words = content(line);
        if words.starts_with("```") {
            self.is_fenced = !self.is_fenced;
            return false;
        }
        let is_indented = self.is_document && line.starts_with("    ");
        !self.is_fenced && !is_indented && !words.starts_with('|')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(count: usize) -> String {
        "word ".repeat(count).trim_end().to_owned()
    }

    #[test]
    fn wide_prose_is_noticed_and_code_tables_and_addresses_are_not() {
        let wide = words(30);
        for (path, line) in
            [("a.rs", "    /// "), ("a.rs", "//! "), ("a.rs", "// "), ("a.toml", "# "), ("a.md", "")]
        {
            let text = format!("{line}{wide}\n");
            assert_eq!(check(path, &text).len(), 1, "{path} {line}");
            let fixed = fix(path, &text);
            assert_eq!(check(path, &fixed), [""; 0], "{fixed}");
            assert!(
                fixed.lines().count() == 2 && fixed.lines().all(|part| part.starts_with(line)),
                "{fixed}"
            );
        }
        for text in [format!("let a = \"{wide}\";"), format!("//! ```\n//! {wide}\n//! ```")] {
            assert_eq!(check("a.rs", &text), [""; 0]);
            assert_eq!(fix("a.rs", &text), text);
        }
        assert_eq!(check("a.md", &format!("| {wide} |\n```\n{wide}\n```\n    {wide}\n")), [""; 0]);
        assert_eq!(check("a.md", &"x".repeat(200)), [""; 0]);
    }

    #[test]
    fn what_is_too_much_goes_on_to_the_next_line_of_the_paragraph_alone() {
        let text = format!("/// {}\n/// tail.\n///\n/// next\nfn f() {{}}\n", words(22));
        let fixed = fix("a.rs", &text);
        assert_eq!(fixed.lines().nth(1), Some("/// word tail."));
        assert_eq!(fixed.lines().skip(2).collect::<Vec<_>>(), ["///", "/// next", "fn f() {}"]);
        let list = format!("- {}\n- other\n", words(22));
        assert_eq!(fix("a.md", &list).lines().skip(1).collect::<Vec<_>>(), ["  word", "- other"]);
        let indented = format!("//!   {}\n//! other\n", words(22));
        assert_eq!(fix("a.rs", &indented).lines().nth(1), Some("//!   word"));
    }
}
