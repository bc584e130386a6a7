//! The description of one option.

use std::fmt;

use super::TypedValue;
use crate::{parse_integer, parse_size};

/// One option of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionSpec {
    /// Its name, as on a command line.
    pub name: &'static str,
    /// Which values it takes.
    pub kind: OptionKind,
    /// What it does, in one line.
    pub help: &'static str,
    /// The value where none is given, in its canonical form.
    pub default: Option<&'static str>,
    /// Whether programs show the default when they tell what they make.
    pub shows_default: bool,
    /// Other words for values, and the values that they stand for.
    pub aliases: &'static [(&'static str, &'static str)],
    /// What it cannot be together with.
    pub conflicts: &'static [Conflict],
    /// Who takes it.
    pub support: Support,
    /// Whether it decides what the disk shows: an image's name alone, without it, would be another disk.
    pub selects_content: bool,
    /// How often generators choose a value of their own for it, relative to other options; 0 leaves it alone.
    pub weight: u8,
}

/// Which values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// On or off.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A size in bytes, as [`parse_size`] reads it.
    Size(Range),
    /// A whole number, as [`parse_integer`] reads it.
    Number(Range),
    /// Anything.
    Text,
}

/// The numbers that are legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
    /// Which of those between.
    pub step: Step,
}

/// Which numbers of a range are legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Multiples of this, at least 1.
    Multiple(u64),
    /// Powers of two.
    PowerOfTwo,
}

/// Who takes an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// The driver.
    Built,
    /// Nobody yet: other programs know it. Switching it off, or 0, is the same as not giving it; all else is
    /// refused by name.
    NotBuilt,
    /// It is an argument of its own where the option stands in a list: the size of a new disk.
    Argument,
}

/// What an option cannot be together with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// What the option is.
    pub when: Condition,
    /// The other option.
    pub other: &'static str,
    /// What the other one is.
    pub and: Condition,
    /// Why both cannot be.
    pub reason: &'static str,
}

/// What is the case with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It has this value, given or by default.
    Is(&'static str),
    /// It has another value than this, given or by default.
    IsNot(&'static str),
    /// A value is given.
    Given,
    /// No value is given.
    Missing,
}

impl Range {
    /// Every number.
    pub const ANY: Self = Self::from_to(0, u64::MAX);

    /// All numbers from `min` to `max`.
    pub const fn from_to(min: u64, max: u64) -> Self {
        Self { min, max, step: Step::Multiple(1) }
    }

    /// Multiples of `unit` from `min` to `max`.
    pub const fn multiples(unit: u64, min: u64, max: u64) -> Self {
        Self { min, max, step: Step::Multiple(unit) }
    }

    /// Powers of two from `min` to `max`.
    pub const fn powers_of_two(min: u64, max: u64) -> Self {
        Self { min, max, step: Step::PowerOfTwo }
    }

    /// Whether `number` is one of them.
    pub const fn contains(&self, number: u64) -> bool {
        let in_step = match self.step {
            Step::Multiple(unit) => number.is_multiple_of(unit),
            Step::PowerOfTwo => number.is_power_of_two(),
        };
        self.min <= number && number <= self.max && in_step
    }
}

impl fmt::Display for Range {
    /// `a power of two from 512 to 2097152`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Step::Multiple(1) => f.write_str("a number")?,
            Step::Multiple(unit) => write!(f, "a multiple of {unit}")?,
            Step::PowerOfTwo => f.write_str("a power of two")?,
        }
        match (self.min, self.max) {
            (0, u64::MAX) => Ok(()),
            (min, u64::MAX) => write!(f, " from {min} on"),
            (min, max) => write!(f, " from {min} to {max}"),
        }
    }
}

/// Reads a switch: `on`, `yes`, `true`, `y`, or `off`, `no`, `false`, `n`.
pub fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "on" | "yes" | "true" | "y" => Some(true),
        "off" | "no" | "false" | "n" => Some(false),
        _ => None,
    }
}

impl OptionSpec {
    /// An option that the driver takes, which has no default.
    pub const fn new(name: &'static str, kind: OptionKind, help: &'static str) -> Self {
        Self {
            name,
            kind,
            help,
            default: None,
            shows_default: false,
            aliases: &[],
            conflicts: &[],
            support: Support::Built,
            selects_content: false,
            weight: 1,
        }
    }

    /// The size of a new disk, which is an argument of [`crate::Format::create`]: its place in the list, and
    /// which sizes there are.
    pub const fn disk_size(range: Range) -> Self {
        let size = Self::new("size", OptionKind::Size(range), "Virtual disk size");
        Self { support: Support::Argument, weight: 0, ..size }
    }

    /// One that other programs know, and that is refused here by name.
    pub const fn not_built(name: &'static str, kind: OptionKind, help: &'static str) -> Self {
        Self { support: Support::NotBuilt, weight: 0, ..Self::new(name, kind, help) }
    }

    /// The same with a default.
    #[must_use]
    pub const fn with_default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// The same with a default that programs show.
    #[must_use]
    pub const fn with_shown_default(self, default: &'static str) -> Self {
        Self { default: Some(default), shows_default: true, ..self }
    }

    /// The same with other words for values.
    #[must_use]
    pub const fn with_aliases(self, aliases: &'static [(&'static str, &'static str)]) -> Self {
        Self { aliases, ..self }
    }

    /// The same with what contradicts it.
    #[must_use]
    pub const fn with_conflicts(self, conflicts: &'static [Conflict]) -> Self {
        Self { conflicts, ..self }
    }

    /// The same with how often generators choose it.
    #[must_use]
    pub const fn with_weight(self, weight: u8) -> Self {
        Self { weight, ..self }
    }

    /// The same, deciding what the disk shows.
    #[must_use]
    pub const fn that_selects_content(self) -> Self {
        Self { selects_content: true, ..self }
    }

    /// Reads a value as far as it has a form: a number, a size, a switch. Whether it is legal is another
    /// question.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&self, text: &str) -> Result<TypedValue, String> {
        match self.kind {
            OptionKind::Switch => match parse_switch(text) {
                Some(is_on) => Ok(TypedValue::Switch(is_on)),
                None => Err(format!("'{text}' is neither on nor off")),
            },
            OptionKind::Size(_) => match parse_size(text) {
                Ok(size) => Ok(TypedValue::Number(size)),
                Err(error) => Err(format!("'{text}' {error}")),
            },
            OptionKind::Number(_) => {
                let number = parse_integer(text).and_then(|number| u64::try_from(number).ok());
                number.map(TypedValue::Number).ok_or_else(|| format!("'{text}' is not a whole number"))
            }
            OptionKind::Choice(_) | OptionKind::Text => Ok(TypedValue::Text(self.canonical(text).to_owned())),
        }
    }

    /// Reads a value, which has to be legal.
    ///
    /// # Errors
    /// What is wrong with it, and what is legal.
    pub fn parse(&self, text: &str) -> Result<TypedValue, String> {
        let value = self.read(text)?;
        match (self.kind, &value) {
            (OptionKind::Choice(words), TypedValue::Text(word)) => {
                match words.iter().find(|legal| *legal == word) {
                    Some(word) => Ok(TypedValue::Word(word)),
                    None => Err(format!("'{text}' is {}", none_of(words))),
                }
            }
            (OptionKind::Size(range) | OptionKind::Number(range), TypedValue::Number(number))
                if !range.contains(*number) =>
            {
                Err(format!("{number} is not {range}"))
            }
            _ => Ok(value),
        }
    }

    /// The value that a word stands for.
    fn canonical<'a>(&self, text: &'a str) -> &'a str {
        self.aliases.iter().find(|(alias, _)| *alias == text).map_or(text, |(_, value)| value)
    }

    /// Legal values: all of a switch and of a choice, and of a number the least, the greatest and some
    /// between; none of a text.
    pub fn samples(&self) -> Vec<String> {
        match self.kind {
            OptionKind::Switch => vec!["on".to_owned(), "off".to_owned()],
            OptionKind::Choice(words) => words.iter().map(|word| (*word).to_owned()).collect(),
            OptionKind::Size(range) | OptionKind::Number(range) => {
                let powers = (0..u64::BITS).map(|bit| 1 << bit);
                let mut numbers: Vec<u64> = powers.chain([range.min, range.max]).collect();
                numbers.retain(|number| range.contains(*number));
                numbers.sort_unstable();
                numbers.dedup();
                numbers.iter().map(u64::to_string).collect()
            }
            OptionKind::Text => Vec::new(),
        }
    }
}

fn none_of(words: &[&str]) -> String {
    match words {
        [first, second] => format!("neither {first} nor {second}"),
        _ => format!("none of {}", words.join(", ")),
    }
}
