//! What a target is told: words behind `--`, such as `--driver NAME`, which libFuzzer would not understand.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::project::Project;

/// The words, with spaces in between: `blk_harness::fuzzing` has the same name.
const ARGUMENTS: &str = "BLK_ARGUMENTS";
/// What the name of the file ends with that has the arguments with which an artifact was found.
pub(crate) const EXTENSION: &str = "arguments";
/// What begins the line of a trace that has them.
const OF_TRACE: &str = "arguments: ";

/// Words behind `--`: those for the target, and those for libFuzzer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// `--NAME VALUE` and `--NAME=VALUE`.
    pub(crate) of_target: Vec<String>,
    /// `-NAME=VALUE` and all else.
    pub(crate) of_libfuzzer: Vec<String>,
}

impl Arguments {
    /// Tells the words apart.
    pub(crate) fn split(words: &[String]) -> Result<Self> {
        let mut told = Self::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if !word.starts_with("--") {
                told.of_libfuzzer.push(word.clone());
                continue;
            }
            told.of_target.push(word.clone());
            if !word.contains('=') {
                let Some(value) = rest.next() else { bail!("{word} has no value") };
                told.of_target.push(value.clone());
            }
        }
        if let Some(word) = told.of_target.iter().find(|word| word.contains(char::is_whitespace)) {
            bail!("'{word}' has a space: arguments of a target have none");
        }
        Ok(told)
    }

    /// As [`Arguments::split`]; where there are no words for the target, it is told what the project says.
    pub(crate) fn of(project: &Project, target: &str, words: &[String]) -> Result<Self> {
        let told = Self::split(words)?;
        if !told.of_target.is_empty() {
            return Ok(told);
        }
        Ok(Self { of_target: Self::split(&project.arguments(target))?.of_target, ..told })
    }

    /// All words.
    pub(crate) fn words(&self) -> Vec<String> {
        [self.of_target.as_slice(), &self.of_libfuzzer].concat()
    }

    /// Tells a process what is for the target.
    pub(crate) fn tell(&self, command: &mut Command) {
        if !self.of_target.is_empty() {
            command.env(ARGUMENTS, self.of_target.join(" "));
        }
    }

    /// What a folder that is for these arguments alone has at the end of its name.
    pub(crate) fn suffix(&self) -> String {
        let words = self.of_target.iter().filter(|word| !word.starts_with("--") || word.contains('='));
        let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-");
        words.fold(String::new(), |suffix, word| format!("{suffix}-{}", plain(word.trim_start_matches('-'))))
    }

    /// Writes down with which arguments an artifact was found.
    pub(crate) fn write_beside(&self, artifact: &Path) -> Result<()> {
        if !self.of_target.is_empty() {
            std::fs::write(beside(artifact), self.of_target.join(" ") + "\n")?;
        }
        Ok(())
    }

    /// The arguments of an input: `words` if there are any, or those that stand beside the artifact or in the
    /// trace, or those that the project says.
    pub(crate) fn of_input(project: &Project, target: &str, input: &Path, words: &[String]) -> Result<Self> {
        if !words.is_empty() {
            return Self::of(project, target, words);
        }
        let noted = std::fs::read_to_string(beside(input)).ok().or_else(|| in_trace(input));
        let noted = noted.unwrap_or_default();
        Self::of(project, target, &noted.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    /// The line of a trace that says them, and nothing where there are none.
    pub(crate) fn line_of_trace(&self) -> String {
        if self.of_target.is_empty() {
            return String::new();
        }
        format!("# {OF_TRACE}{}\n", self.of_target.join(" "))
    }
}

fn beside(artifact: &Path) -> std::path::PathBuf {
    let mut name = artifact.as_os_str().to_owned();
    name.push(".");
    name.push(EXTENSION);
    name.into()
}

fn in_trace(input: &Path) -> Option<String> {
    let bytes = std::fs::read(input).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().map(|line| line.trim_start_matches('#').trim());
    lines.find_map(|line| line.strip_prefix(OF_TRACE)).map(str::to_owned)
}

/// Reads a word of a command line. One that names a file of the folder in which the command was given names
/// it from everywhere: the program leaves that folder.
pub(crate) fn word(text: &str) -> std::io::Result<String> {
    let (option, value) = match text.split_once('=') {
        Some((option, value)) if option.starts_with("--") => (format!("{option}="), value),
        _ => (String::new(), text),
    };
    if value.starts_with('-') || !Path::new(value).is_file() {
        return Ok(text.to_owned());
    }
    Ok(format!("{option}{}", std::path::absolute(value)?.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::tests::project;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_for_the_target_are_told_from_those_for_libfuzzer() {
        let project = project("[package.metadata.blk.arguments]\nmine = ['--driver', 'usual']\n");
        let split = |target: &str, text: &str| Arguments::of(&project, target, &words(text));
        let told = split("mine", "-runs=5 --driver a/b.toml -seed=1 --engine=crash").unwrap();
        assert_eq!(told.of_libfuzzer, ["-runs=5", "-seed=1"]);
        assert_eq!(told.of_target, ["--driver", "a/b.toml", "--engine=crash"]);
        assert_eq!(told.suffix(), "-a-b-toml-engine-crash");
        assert_eq!(split("mine", "-runs=5").unwrap().of_target, ["--driver", "usual"]);
        assert_eq!(
            split("other", "-runs=5").unwrap(),
            Arguments { of_target: Vec::new(), of_libfuzzer: vec!["-runs=5".to_owned()] }
        );
        assert!(split("mine", "--driver").unwrap_err().to_string().contains("--driver"));
    }

    #[test]
    fn an_input_knows_its_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let (artifact, trace) = (folder.path().join("crash-1"), folder.path().join("a.trace"));
        let project = project("[package.metadata.blk.arguments]\nmine = ['--driver', 'usual']\n");
        let of = |input: &Path, words: &[String]| {
            Arguments::of_input(&project, "mine", input, words).unwrap().of_target.join(" ")
        };
        std::fs::write(&artifact, b"\x01").unwrap();
        assert_eq!(of(&artifact, &[]), "--driver usual");
        Arguments { of_target: words("--driver x"), ..Arguments::default() }.write_beside(&artifact).unwrap();
        assert_eq!(of(&artifact, &[]), "--driver x");
        assert_eq!(of(&artifact, &words("--driver y")), "--driver y");
        std::fs::write(&trace, "blk-scenario 1\n# target: mine\n# arguments: --driver z\nflush\n").unwrap();
        assert_eq!(of(&trace, &[]), "--driver z");
    }

    #[test]
    fn files_are_named_from_everywhere() {
        assert_eq!(word("no-such-file").unwrap(), "no-such-file");
        assert_eq!(word("-runs=1").unwrap(), "-runs=1");
        let full = std::path::absolute("Cargo.toml").unwrap();
        assert_eq!(word("Cargo.toml").unwrap(), full.to_str().unwrap());
        assert_eq!(word("--driver=Cargo.toml").unwrap(), format!("--driver={}", full.display()));
    }
}
