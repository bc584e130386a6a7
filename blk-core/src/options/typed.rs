//! Options after they were read by a list.

use std::collections::BTreeMap;
use std::fmt;

use super::{Condition, Conflict, OptionKind, OptionSpec, Options, Support};
use crate::{Error, Result};

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedValue {
    /// Of a switch.
    Switch(bool),
    /// Of a size or a number.
    Number(u64),
    /// Of a choice, a word of its list.
    Word(&'static str),
    /// Of a text.
    Text(String),
}

impl fmt::Display for TypedValue {
    /// In the canonical form, which reads as the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(true) => f.write_str("on"),
            Self::Switch(false) => f.write_str("off"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Options with legal values that do not contradict each other. Each value is the one that was given, or the
/// default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedOptions {
    specs: &'static [OptionSpec],
    given: BTreeMap<&'static str, TypedValue>,
}

impl TypedOptions {
    /// Reads options by a list; up to `support` they are taken.
    pub(super) fn read(
        mut options: Options,
        format: &str,
        specs: &'static [OptionSpec],
        support: Support,
    ) -> Result<Self> {
        let mut given = BTreeMap::new();
        for spec in specs.iter().filter(|spec| spec.support != Support::Argument) {
            let Some(text) = options.take(spec.name) else { continue };
            let value = spec.parse(&text).map_err(|reason| Error::invalid_option(spec.name, reason))?;
            if spec.support == Support::NotBuilt && support == Support::Built {
                refuse_not_built(format, spec, &value)?;
            } else {
                given.insert(spec.name, value);
            }
        }
        options.finish(format)?;
        let typed = Self { specs, given };
        if support == Support::Built {
            specs.iter().try_for_each(|spec| typed.check_conflicts(spec.name))?;
        }
        Ok(typed)
    }

    /// Checks that nothing contradicts an option.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] says what contradicts it, and why.
    ///
    /// # Panics
    /// If the list has no option of that name.
    pub fn check_conflicts(&self, name: &str) -> Result<()> {
        let spec = self.spec(name);
        let holds = |conflict: &&Conflict| {
            self.holds(spec.name, conflict.when) && self.holds(conflict.other, conflict.and)
        };
        match spec.conflicts.iter().find(holds) {
            None => Ok(()),
            Some(conflict) => Err(self.contradiction(spec, conflict)),
        }
    }

    fn holds(&self, name: &str, condition: Condition) -> bool {
        let is = |value: &str| self.value(name).is_some_and(|own| own.to_string() == value);
        match condition {
            Condition::Is(value) => is(value),
            Condition::IsNot(value) => !is(value),
            Condition::Given => self.is_given(name),
            Condition::Missing => !self.is_given(name),
        }
    }

    fn contradiction(&self, spec: &OptionSpec, conflict: &Conflict) -> Error {
        let value = |name| self.value(name).map_or_else(String::new, |value| value.to_string());
        let (own, other, reason) = (value(spec.name), conflict.other, conflict.reason);
        let text = match conflict.and {
            Condition::Missing => format!("'{own}' needs {other}: {reason}"),
            _ => format!("'{own}' contradicts {other}={}: {reason}", value(other)),
        };
        Error::invalid_option(spec.name, text)
    }

    /// Whether a value is given.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The value of an option, given or by default.
    ///
    /// # Panics
    /// If the list has no option of that name.
    pub fn value(&self, name: &str) -> Option<TypedValue> {
        let spec = self.spec(name);
        let default = || spec.default.map(|text| spec.parse(text).expect("defaults are legal"));
        self.given.get(name).cloned().or_else(default)
    }

    /// The value of a switch.
    ///
    /// # Panics
    /// If the list has no switch of that name.
    pub fn switch(&self, name: &str) -> Option<bool> {
        assert!(matches!(self.spec(name).kind, OptionKind::Switch), "'{name}' is a switch");
        self.value(name)
            .and_then(|value| if let TypedValue::Switch(is_on) = value { Some(is_on) } else { None })
    }

    /// The value of a size, in bytes, or of a number.
    ///
    /// # Panics
    /// If the list has no size or number of that name.
    pub fn number(&self, name: &str) -> Option<u64> {
        let kind = self.spec(name).kind;
        assert!(matches!(kind, OptionKind::Size(_) | OptionKind::Number(_)), "'{name}' is a number");
        self.value(name)
            .and_then(|value| if let TypedValue::Number(number) = value { Some(number) } else { None })
    }

    /// The word that was chosen.
    ///
    /// # Panics
    /// If the list has no choice of that name.
    pub fn choice(&self, name: &str) -> Option<&'static str> {
        assert!(matches!(self.spec(name).kind, OptionKind::Choice(_)), "'{name}' is a choice");
        self.value(name).and_then(|value| if let TypedValue::Word(word) = value { Some(word) } else { None })
    }

    /// The value of a text.
    ///
    /// # Panics
    /// If the list has no text of that name.
    pub fn text(&self, name: &str) -> Option<String> {
        assert!(matches!(self.spec(name).kind, OptionKind::Text), "'{name}' is a text");
        self.value(name).map(|value| value.to_string())
    }

    fn spec(&self, name: &str) -> &'static OptionSpec {
        let found = self.specs.iter().find(|spec| spec.name == name);
        found.unwrap_or_else(|| panic!("the list of options has '{name}'"))
    }
}

/// What is off, or 0, is as if it were not given.
fn refuse_not_built(format: &str, spec: &OptionSpec, value: &TypedValue) -> Result<()> {
    match value {
        TypedValue::Switch(false) | TypedValue::Number(0) => Ok(()),
        _ => Err(Error::unsupported(format!("{format} option '{}'", spec.name))),
    }
}
