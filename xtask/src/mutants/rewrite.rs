//! Writes many mutants into one file, each in an arm of a match that the body of its function becomes:
//!
//! ```text
//! fn both(a: bool, b: bool) -> bool {
//!     match crate::mutant_switched_on() {
//!         17u32 => { a || b }
//!         _ => { a && b }
//!     }
//! }
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use super::list::{Change, Place, Span};

/// What a crate asks for the number of the mutant that is switched on; 0 for none.
const SWITCH: &str = "crate::mutant_switched_on()";
/// The environment has that number.
pub(super) const VARIABLE: &str = "BLK_MUTANT";

/// The function that a crate with mutants gains.
pub(super) fn switch() -> String {
    format!(
        "\n#[doc(hidden)]\n#[allow(missing_docs, unreachable_pub)]\npub fn mutant_switched_on() -> u32 {{\n    \
         static ON: std::sync::OnceLock<u32> = std::sync::OnceLock::new();\n    \
         *ON.get_or_init(|| std::env::var(\"{VARIABLE}\").ok().and_then(|n| n.parse().ok()).unwrap_or(0))\n}}\n"
    )
}

/// A file with mutants.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// The lines, from 1, of the arms of mutants, by their numbers.
    pub(super) arms: BTreeMap<u32, Range<usize>>,
}

/// Writes these mutants into `text`. Those that cannot be switched have no arm: outside of functions, in
/// functions within others, and where [`body`] says so.
pub(super) fn rewrite(text: &str, changes: &[(u32, &Change)]) -> Rewritten {
    let mut functions: BTreeMap<Span, Vec<(u32, &Change)>> = BTreeMap::new();
    for (number, change) in changes {
        if let Some(function) = change.function {
            functions.entry(function).or_default().push((*number, change));
        }
    }
    let lines = Lines::new(text);
    let mut rewritten = Rewritten::default();
    let mut copied = 0;
    for (function, changes) in functions {
        let whole = lines.range(function);
        let Some(body) = body(text, whole.clone()).filter(|_| whole.start >= copied) else { continue };
        rewritten.text.push_str(&text[copied..body.range.start]);
        rewritten.add_match(text, &lines, &body, &changes);
        copied = body.range.end;
    }
    rewritten.text.push_str(&text[copied..]);
    rewritten
}

impl Rewritten {
    fn add_match(&mut self, text: &str, lines: &Lines, body: &Body, changes: &[(u32, &Change)]) {
        let Body { range: body, boxed } = body;
        let (open, close) = match boxed {
            None => ("{", "}".to_owned()),
            Some(boxed) => ("Box::new({", format!("}}) as {boxed},")),
        };
        self.write(format_args!("\nmatch {SWITCH} {{\n"));
        for (number, change) in changes {
            let span = lines.range(change.span);
            if span.start < body.start || span.end > body.end {
                continue;
            }
            let first = self.line();
            let (before, after) = (&text[body.start..span.start], &text[span.end..body.end]);
            let replacement = &change.replacement;
            self.write(format_args!("{number}u32 => {open}\n{before} {replacement} {after}\n{close}\n"));
            self.arms.insert(*number, first..self.line());
        }
        self.write(format_args!("_ => {open}\n{}\n{close}\n}}\n", &text[body.clone()]));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a string takes anything");
    }

    /// The line that is written next.
    fn line(&self) -> usize {
        self.text.matches('\n').count() + 1
    }
}

/// Where each line of a text begins.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let next = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(next).collect() }
    }

    fn offset(&self, place: Place) -> usize {
        let start = self.starts.get(place.line - 1).copied().unwrap_or(self.text.len());
        let column = self.text[start..].char_indices().nth(place.column - 1);
        column.map_or(self.text.len(), |(at, _)| start + at)
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.offset(span.start)..self.offset(span.end)
    }
}

/// What stands between the braces of a function.
struct Body {
    range: Range<usize>,
    /// The type that the arms of the match become, where each has one of its own.
    boxed: Option<String>,
}

/// The body of a function. `None` for what cannot have a match there: a constant function may not ask, and
/// the arms of one that returns an unnamed type have a type each, which only those of iterators can share.
fn body(text: &str, function: Range<usize>) -> Option<Body> {
    let whole = &text[function.clone()];
    let open = opening_brace(whole)?;
    let header: String = code(&whole[..open]).map(|(_, letter)| letter).collect();
    let is_constant = header.split_whitespace().any(|word| word == "const");
    let range = function.start + open + 1..function.start + whole.len() - 1;
    let returned = header.rsplit_once("->").map_or("", |(_, returned)| returned.trim());
    let boxed = boxed(returned).filter(|_| !text[range.clone()].contains("return "));
    let is_switched = boxed.is_some() || !returned.contains("impl ");
    (whole.ends_with('}') && !is_constant && is_switched).then_some(Body { range, boxed })
}

/// The type of a box of what a function returns, if that is an iterator without a name.
fn boxed(returned: &str) -> Option<String> {
    let bounds = returned.strip_prefix("impl ")?;
    let (bound, others) = bounds.split_once(" + ").unwrap_or((bounds, "use<>"));
    let is_iterator = bound.starts_with("Iterator<") || bound.starts_with("DoubleEndedIterator<");
    // A lifetime is all that a box may have besides.
    let is_alone = others.starts_with('\'') || others.starts_with("use<");
    (is_iterator && is_alone && !bounds.contains(" where ")).then(|| format!("Box<dyn {bound} + '_>"))
}

/// The brace that opens the body of a function: the first that stands in no parentheses or brackets.
fn opening_brace(function: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, letter) in code(function) {
        match letter {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.checked_sub(1)?,
            '{' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// The characters of the header of a function without comments and texts, with their places.
fn code(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut in_comment = false;
    let mut in_text = false;
    text.char_indices().filter(move |(at, letter)| {
        let was_outside = !in_comment && !in_text;
        match letter {
            '\n' => in_comment = false,
            '"' if !in_comment => in_text = !in_text,
            '/' if !in_text && text[*at..].starts_with("//") => in_comment = true,
            _ => {}
        }
        was_outside && !in_comment && !in_text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/// A brace: { and a \"quote.\n#[expect(lint, reason = \"a { b\")]\nfn f(a: bool) -> bool {\n    \
                        !a && g()\n}\n\nconst fn c() -> u8 {\n    1 + 1\n}\n";

    fn span(start: (usize, usize), end: (usize, usize)) -> Span {
        let place = |(line, column)| Place { line, column };
        Span { start: place(start), end: place(end) }
    }

    fn change(at: Span, replacement: &str, function: Option<Span>) -> Change {
        Change { span: at, replacement: replacement.to_owned(), function }
    }

    #[test]
    fn each_mutant_has_an_arm_and_the_rest_stays() {
        let function = Some(span((1, 1), (5, 2)));
        let or = change(span((4, 8), (4, 10)), "||", function);
        let all = change(span((4, 5), (4, 14)), "true", function);
        let rewritten = rewrite(FILE, &[(3, &or), (9, &all)]);
        let expected = "fn f(a: bool) -> bool {\nmatch crate::mutant_switched_on() {\n3u32 => {\n\n    !a  ||  g()\n\n}\n\
                        9u32 => {\n\n     true \n\n}\n_ => {\n\n    !a && g()\n\n}\n}\n}\n";
        let start = rewritten.text.find("fn f").unwrap();
        assert_eq!(&rewritten.text[start..start + expected.len()], expected);
        assert!(rewritten.text.ends_with(&FILE[FILE.find("\n\nconst").unwrap()..]));
        assert_eq!(rewritten.arms, BTreeMap::from([(3, 5..10), (9, 10..15)]));
    }

    #[test]
    fn what_cannot_be_switched_stays_as_it_is() {
        let constant = change(span((8, 7), (8, 8)), "-", Some(span((7, 1), (9, 2))));
        let outside = change(span((7, 1), (7, 6)), "", None);
        let rewritten = rewrite(FILE, &[(1, &constant), (2, &outside)]);
        assert_eq!((rewritten.text.as_str(), rewritten.arms.len()), (FILE, 0));
        let change = change(span((2, 8), (2, 10)), "x", Some(span((1, 1), (3, 2))));
        for unnamed in [
            "fn i() -> impl Fn() {\n    || ()\n}\n",
            "fn i() -> impl Iterator<Item = u8> + Clone {\n    1..2345\n}\n",
            "fn i() -> impl Iterator<Item = u8> {\n    return 1..2\n}\n",
            "fn i() -> Option<impl Iterator<Item = u8>> {\n    Some(1..2)\n}\n",
        ] {
            assert!(rewrite(unnamed, &[(1, &change)]).arms.is_empty(), "{unnamed}");
        }
    }

    #[test]
    fn iterators_without_a_name_share_a_box() {
        let file = "fn i(&self) -> impl Iterator<Item = u8> + use<> {\n    0..=9\n}\n";
        let less = change(span((2, 6), (2, 9)), "..", Some(span((1, 1), (3, 2))));
        let rewritten = rewrite(file, &[(7, &less)]);
        let boxed = "Box<dyn Iterator<Item = u8> + '_>";
        let expected = format!(
            "fn i(&self) -> impl Iterator<Item = u8> + use<> {{\nmatch crate::mutant_switched_on() {{\n\
             7u32 => Box::new({{\n\n    0 .. 9\n\n}}) as {boxed},\n\
             _ => Box::new({{\n\n    0..=9\n\n}}) as {boxed},\n}}\n}}\n"
        );
        assert_eq!((rewritten.text, rewritten.arms), (expected, BTreeMap::from([(7, 3..8)])));
    }
}
