//! The commands: what they are called, what they take, what they need.

mod arguments;
mod breaks;
mod control;
mod image;
mod read;
mod reopen;
mod space;
mod write;
mod zones;

use super::refusal::{Done, Refusal};
use super::session::Session;

/// What must be open before a command is looked at closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing.
    Nothing,
    /// An image.
    Image,
    /// An image that may be written.
    Writable,
}

/// A command.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its name.
    pub(crate) name: &'static str,
    /// A shorter one.
    short: Option<&'static str>,
    /// Options and operands; `None` where there are none.
    synopsis: Option<&'static str>,
    /// What it does, in a few words.
    summary: &'static str,
    /// What else there is to say.
    help: &'static str,
    /// The least number of words behind the name, options counted.
    words_min: usize,
    /// The greatest, if there is one.
    words_max: Option<usize>,
    /// What must be open.
    pub(crate) needs: Needs,
    /// Does it.
    pub(crate) run: fn(&mut Session, &Call<'_>) -> Done,
}

/// A command with the words behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The command.
    pub(crate) command: &'static Command,
    /// The name that it was called by.
    pub(crate) name: &'a str,
    /// The words behind the name.
    pub(crate) words: &'a [String],
}

impl Command {
    /// The line that tells how it is used, under one of its names.
    pub(crate) fn usage(&self, name: &str) -> String {
        match self.synopsis {
            Some(synopsis) => format!("{name} {synopsis} -- {}\n", self.summary),
            None => format!("{name} -- {}\n", self.summary),
        }
    }
}

impl Call<'_> {
    /// Refuses too few or too many words.
    pub(crate) fn check_count(&self) -> Done {
        let (count, min, max) = (self.words.len(), self.command.words_min, self.command.words_max);
        if count >= min && max.is_none_or(|max| count <= max) {
            return Ok(());
        }
        let expected = match max {
            None => format!("at least {min}"),
            Some(max) if max == min => min.to_string(),
            Some(max) => format!("between {min} and {max}"),
        };
        let name = self.name;
        Err(Refusal::Complaint(format!(
            "bad argument count {count} to {name}, expected {expected} arguments"
        )))
    }
}

/// All commands, by name.
fn all() -> impl Iterator<Item = &'static Command> {
    let mut all: Vec<_> = [
        breaks::COMMANDS,
        control::COMMANDS,
        image::COMMANDS,
        read::COMMANDS,
        reopen::COMMANDS,
        space::COMMANDS,
        write::COMMANDS,
        zones::COMMANDS,
    ]
    .into_iter()
    .flatten()
    .collect();
    all.sort_by_key(|command| command.name);
    all.into_iter()
}

/// The command of that name.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    all().find(|command| command.name == name || command.short == Some(name))
}

/// The name of a command that may be meant by a word that is none.
pub(crate) fn nearest(word: &str) -> Option<&'static str> {
    crate::suggest::nearest(word, all().map(|command| command.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_belongs_to_one_command() {
        let mut names: Vec<_> =
            all().flat_map(|command| std::iter::once(command.name).chain(command.short)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in names {
            assert!(find(name).is_some_and(|command| command.name == name || command.short == Some(name)));
        }
        assert!(find("nosuch").is_none());
    }

    #[test]
    fn usage_shows_the_name_that_is_asked_for() {
        let quit = find("q").unwrap();
        assert!(quit.usage("q").starts_with("q -- "));
        assert!(find("read").unwrap().usage("read").starts_with("read [-abCqrv] [-P pattern"));
    }
}
