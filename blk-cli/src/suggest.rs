//! "Did you mean": what is near to a word that nobody knows.

use clap::error::{ContextKind, ContextValue};

/// From this likeness on, one word may be meant by another; 1 is the same word.
const LIKENESS_MIN: f64 = 0.75;

/// The known word that is most like `word`, if one is.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &&str| strsim::jaro_winkler(word, other);
    let best = known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= LIKENESS_MIN).then_some(best)
}

/// A message with the word that may have been meant.
pub(crate) fn with_nearest(message: String, meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("{message}; did you mean '{meant}'?"),
        None => message,
    }
}

/// What is wrong with a command line, in one line, with what may have been meant.
pub(crate) fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line).to_owned();
    let suggested =
        [ContextKind::SuggestedArg, ContextKind::SuggestedValue, ContextKind::SuggestedSubcommand];
    let meant = suggested.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(meant) => Some(meant.clone()),
        ContextValue::Strings(all) => all.first().cloned(),
        _ => None,
    });
    with_nearest(line, meant.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["create", "commit", "convert", "check", "compare"];
        for (word, meant) in
            [("creat", Some("create")), ("covnert", Some("convert")), ("chekc", Some("check")), ("xyz", None)]
        {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
