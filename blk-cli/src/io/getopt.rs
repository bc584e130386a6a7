//! Options of a command: letters behind a hyphen, between the operands or before them.

use super::refusal::Refusal;

/// The words behind a command's name, taken apart one option at a time, so that what is wrong with an earlier
/// one is said first. What is left are the operands.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    /// The command, as it was typed.
    command: &'a str,
    /// The letters it knows; a colon behind one means that it takes a value.
    letters: &'a str,
    rest: std::slice::Iter<'a, String>,
    /// What is left of a word of several letters.
    cluster: &'a str,
    operands: Vec<&'a str>,
}

impl<'a> Words<'a> {
    /// Takes `words` apart by `letters`.
    pub(crate) fn new(command: &'a str, words: &'a [String], letters: &'a str) -> Self {
        Self { command, letters, rest: words.iter(), cluster: "", operands: Vec::new() }
    }

    /// The next option and its value, which is empty for an option that takes none.
    pub(crate) fn option(&mut self) -> Result<Option<(char, &'a str)>, Refusal> {
        let mut letters = self.cluster.chars();
        let Some(letter) = letters.next() else { return self.next_word() };
        self.cluster = letters.as_str();
        match self.takes_value(letter) {
            None => Err(self.wrong(&format!("invalid option -- '{letter}'"))),
            Some(false) => Ok(Some((letter, ""))),
            Some(true) if self.cluster.is_empty() => match self.rest.next() {
                Some(value) => Ok(Some((letter, value.as_str()))),
                None => Err(self.wrong(&format!("option requires an argument -- '{letter}'"))),
            },
            Some(true) => Ok(Some((letter, std::mem::take(&mut self.cluster)))),
        }
    }

    fn next_word(&mut self) -> Result<Option<(char, &'a str)>, Refusal> {
        while let Some(word) = self.rest.next() {
            match word.strip_prefix('-') {
                Some("-") => self.operands.extend(self.rest.by_ref().map(String::as_str)),
                Some(cluster) if !cluster.is_empty() => {
                    self.cluster = cluster;
                    return self.option();
                }
                _ => self.operands.push(word),
            }
        }
        Ok(None)
    }

    fn takes_value(&self, letter: char) -> Option<bool> {
        if letter == ':' {
            return None;
        }
        let (_, behind) = self.letters.split_once(letter)?;
        Some(behind.starts_with(':'))
    }

    fn wrong(&self, what: &str) -> Refusal {
        Refusal::Misspelt(format!("{}: {what}", self.command))
    }

    /// The words that are no options, in order; complete once [`Words::option`] has answered `None`.
    pub(crate) fn operands(self) -> Vec<&'a str> {
        self.operands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options with their values, and operands.
    type Apart = (Vec<(char, String)>, Vec<String>);

    fn take_apart(line: &str, letters: &str) -> Result<Apart, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut words = Words::new("read", &words, letters);
        let mut options = Vec::new();
        loop {
            match words.option() {
                Ok(Some((letter, value))) => options.push((letter, value.to_owned())),
                Ok(None) => break,
                Err(Refusal::Misspelt(what)) => return Err(what),
                Err(other) => return Err(format!("{other:?}")),
            }
        }
        Ok((options, words.operands().into_iter().map(str::to_owned).collect()))
    }

    #[test]
    fn options_may_stand_anywhere() {
        let (options, operands) = take_apart("0 -P 1 512 -q", "P:q").unwrap();
        assert_eq!(options, [('P', "1".to_owned()), ('q', String::new())]);
        assert_eq!(operands, ["0", "512"]);
    }

    #[test]
    fn letters_may_share_a_word_and_a_value_follows_its_letter() {
        let (options, operands) = take_apart("-qvP0xab -P 2 x", "P:qv").unwrap();
        let letters: String = options.iter().map(|(letter, _)| *letter).collect();
        assert_eq!(letters, "qvPP");
        assert_eq!(options[2].1, "0xab");
        assert_eq!(options[3].1, "2");
        assert_eq!(operands, ["x"]);
    }

    #[test]
    fn behind_two_hyphens_there_are_no_options() {
        let (options, operands) = take_apart("-q -- -v - -1", "qv").unwrap();
        assert_eq!(options.len(), 1);
        assert_eq!(operands, ["-v", "-", "-1"]);
        assert_eq!(take_apart("- 5", "q").unwrap().1, ["-", "5"]);
    }

    #[test]
    fn what_is_unknown_or_lacks_its_value_is_named() {
        assert_eq!(take_apart("-1 5", "q"), Err("read: invalid option -- '1'".to_owned()));
        assert_eq!(take_apart("--foo", "q"), Err("read: invalid option -- '-'".to_owned()));
        assert_eq!(take_apart("-:", "P:"), Err("read: invalid option -- ':'".to_owned()));
        assert_eq!(take_apart("0 -P", "P:"), Err("read: option requires an argument -- 'P'".to_owned()));
    }
}
