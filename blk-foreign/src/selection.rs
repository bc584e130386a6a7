//! Which driver a program is to test, and how, as words of a command line.

use anyhow::{Context, Result, bail};

use crate::{EngineKind, ForeignDriver, Formats, Plant, description};

/// What words are understood.
const USAGE: &str = "--driver NAME|FILE.toml [--engine content|crash|fault|race] \
                     [--plant wrong-reply=N|wrong-medium=N|lost-syncs=N|early-flushes=N]";

/// A driver, and the engine that it is tested by.
#[derive(Debug)]
pub struct Selection {
    /// The driver.
    pub driver: &'static ForeignDriver,
    /// What is asked of it.
    pub engine: EngineKind,
    /// The same in words.
    words: String,
}

impl Selection {
    /// Reads `--driver NAME`, and `--engine NAME` and `--plant FAULT=NUMBER`, which may be missing.
    ///
    /// # Errors
    /// A word that is not understood; a driver that is not known; a program that it needs and that is
    /// missing, with the package that has it; an engine that does not suit it.
    pub fn parse(words: &[String], formats: Formats) -> Result<Self> {
        let (mut name, mut engine, mut plant) = (None, EngineKind::Content, None);
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, value),
                None => {
                    (word.as_str(), rest.next().with_context(|| format!("{word} has no value"))?.as_str())
                }
            };
            match option {
                "--driver" => name = Some(value),
                "--engine" => engine = EngineKind::parse(value)?,
                "--plant" => plant = Some(Plant::parse(value)?),
                _ => bail!("'{word}' is not understood: {USAGE}"),
            }
        }
        let known =
            || format!("{USAGE}\nknown drivers are {}", crate::names().collect::<Vec<_>>().join(", "));
        let name = name.with_context(|| format!("no driver is named: {}", known()))?;
        let description = description(name)?;
        let driver = match plant {
            None => ForeignDriver::judged_by(description, formats)?,
            Some(plant) => ForeignDriver::planted(description, formats, plant)?,
        };
        engine.suits(*driver)?;
        let plant = plant.map_or_else(String::new, |plant| format!(" --plant {plant}"));
        Ok(Self { driver, engine, words: format!("--driver {name} --engine {}{plant}", engine.name()) })
    }

    /// The words that select the same.
    pub fn words(&self) -> &str {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Selection> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Selection::parse(&words, |_| None)
    }

    #[test]
    fn words_select_a_driver_an_engine_and_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        let text = "name = 'x'\nabout = 'y'\nmedium = { kind = 'nbd' }\nprocess = { argv = ['sh'] }\n";
        std::fs::write(&file, text).unwrap();
        let name = file.to_str().unwrap();
        let plain = parse(&format!("--driver {name}")).unwrap();
        assert_eq!(plain.engine, EngineKind::Content);
        assert_eq!(plain.words(), format!("--driver {name} --engine content"));
        let words = format!("--driver {name} --engine crash --plant lost-syncs=2");
        let planted = parse(&words.replace("--engine ", "--engine=")).unwrap();
        assert_eq!((planted.words(), planted.engine), (words.as_str(), EngineKind::Crash));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("", "known drivers are nbdkit"),
            ("--driver", "no value"),
            ("--drivers x", "'--drivers' is not understood"),
            ("--driver no-such", "no-such"),
            ("--driver nbdkit-memory --engine speed", "content, crash, fault, race"),
            ("--driver nbdkit-memory --plant wrong-reply", "wrong-reply"),
            ("--driver nbdkit-memory --plant rain=1", "rain"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
