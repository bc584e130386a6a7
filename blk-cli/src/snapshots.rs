//! Words for snapshots inside an image: which one is opened in place of the disk.

use blk_core::Options;

/// What a list of options for one begins with.
const OPTIONS: &str = "snapshot.";

/// The options of an open for the snapshot that `text` names: by its ID or name, or by both as
/// `snapshot.id=1,snapshot.name=a`.
///
/// # Errors
/// What is no such option.
pub(crate) fn selection(text: &str) -> Result<Options, String> {
    if !text.starts_with(OPTIONS) {
        return Ok(Options::new().with("snapshot", text));
    }
    let mut options = Options::new();
    for option in text.split(',') {
        match option.split_once('=') {
            Some((name @ ("snapshot.id" | "snapshot.name"), value)) => options.set(name, value),
            _ => return Err(format!("'{option}' is neither snapshot.id=ID nor snapshot.name=NAME")),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_an_id_or_a_name_and_options_say_which() {
        assert_eq!(selection("1").unwrap(), Options::new().with("snapshot", "1"));
        assert_eq!(selection("a,b=c").unwrap(), Options::new().with("snapshot", "a,b=c"));
        let both = Options::new().with("snapshot.id", "1").with("snapshot.name", "a");
        assert_eq!(selection("snapshot.id=1,snapshot.name=a").unwrap(), both);
        for wrong in ["snapshot.date=1", "snapshot.id", "snapshot.id=1,name=a"] {
            let error = selection(wrong).unwrap_err();
            assert!(error.contains("is neither"), "{error}");
        }
    }
}
