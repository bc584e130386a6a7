//! One option of a driver under test, as scenarios choose it.

use std::fmt;

use crate::random::Random;
use crate::scenario::Value;

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `on` or `off`.
    Switch,
    /// One of these words. Words are only ever added, at the end: bytes name them by their place.
    Choice(&'static [&'static str]),
    /// A power of two.
    PowerOfTwo {
        /// Smallest, a power of two.
        min: u64,
        /// Largest, a power of two.
        max: u64,
    },
    /// A number.
    Number {
        /// Largest.
        max: u64,
    },
}

/// One option of a format.
#[derive(Debug)]
pub struct Knob {
    /// Its name, as the driver takes it.
    pub name: &'static str,
    /// The values that it takes.
    pub kind: Kind,
    /// The value that it has where none is given; `None` where that is the driver's own choice.
    pub usual: Option<Value>,
    /// What scenarios draw, each with its weight; `None` gives no value. Empty: all values of the kind,
    /// evenly.
    pub drawn: &'static [(u32, Option<Value>)],
}

/// Where all numbers are drawn evenly, these are: small ones are what makes caches overflow.
const NUMBERS_DRAWN_MAX: u64 = 15;

impl Knob {
    /// Whether the option can have this value.
    pub fn takes(&self, value: &Value) -> bool {
        match (self.kind, value) {
            (Kind::Switch, Value::Switch(_)) => true,
            (Kind::Choice(words), _) => words.iter().any(|word| is_said(word, value)),
            (Kind::PowerOfTwo { min, max }, Value::Number(number)) => {
                number.is_power_of_two() && (min..=max).contains(number)
            }
            (Kind::Number { max }, Value::Number(number)) => *number <= max,
            _ => false,
        }
    }

    /// A value, as often as its weight says; `None` for the usual one, or the driver's own choice.
    pub(crate) fn draw(&self, rng: &mut Random) -> Option<Value> {
        if self.drawn.is_empty() {
            return Some(self.value_at(rng.below(self.count().min(NUMBERS_DRAWN_MAX + 1))));
        }
        let total: u64 = self.drawn.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut dice = rng.below(total);
        let drawn = self.drawn.iter().find(|(weight, _)| {
            let is_hit = dice < u64::from(*weight);
            dice = dice.saturating_sub(u64::from(*weight));
            is_hit
        });
        drawn.expect("the dice lies below the sum").1.clone()
    }

    /// The number that stands for a value in the bytes form: 0 for the usual one, else its place among all,
    /// from 1. A value that the option does not take, and one beyond 32 bits, is 0 too.
    pub(crate) fn code(&self, value: Option<&Value>) -> u32 {
        let place = match (self.kind, value) {
            (_, Some(value)) if !self.takes(value) => return 0,
            (Kind::Switch, Some(Value::Switch(is_on))) => u64::from(*is_on),
            (Kind::Choice(words), Some(value)) => {
                let place = words.iter().position(|word| is_said(word, value));
                place.expect("the option takes it") as u64
            }
            (Kind::PowerOfTwo { min, .. }, Some(Value::Number(number))) => {
                u64::from(number.ilog2() - min.ilog2())
            }
            (Kind::Number { .. }, Some(Value::Number(number))) => *number,
            _ => return 0,
        };
        u32::try_from(place.saturating_add(1)).unwrap_or(0)
    }

    /// The value that a number stands for. Numbers beyond the last value stand for one of the first, or of
    /// small ones.
    pub(crate) fn value_of(&self, code: u32) -> Option<Value> {
        let place = u64::from(code.checked_sub(1)?);
        let count = self.count();
        Some(self.value_at(match self.kind {
            _ if place < count => place,
            Kind::Switch | Kind::Choice(_) => place % count,
            Kind::PowerOfTwo { .. } => (place % count).min((place >> 8) % count),
            Kind::Number { .. } => place % count.min(NUMBERS_DRAWN_MAX + 1),
        }))
    }

    /// How many values there are.
    fn count(&self) -> u64 {
        match self.kind {
            Kind::Switch => 2,
            Kind::Choice(words) => words.len() as u64,
            Kind::PowerOfTwo { min, max } => u64::from(max.ilog2() - min.ilog2()) + 1,
            Kind::Number { max } => max.saturating_add(1),
        }
    }

    /// Value number `place`, from 0.
    fn value_at(&self, place: u64) -> Value {
        match self.kind {
            Kind::Switch => Value::Switch(place != 0),
            Kind::Choice(words) => choice(words[place as usize]),
            Kind::PowerOfTwo { min, .. } => Value::Number(min << place),
            Kind::Number { .. } => Value::Number(place),
        }
    }
}

/// The value of a choice; it may be one that reads as a switch or a number, such as `off`.
fn choice(word: &'static str) -> Value {
    match Value::parse(word) {
        Some(other @ (Value::Switch(_) | Value::Number(_))) => other,
        _ => Value::name(word),
    }
}

/// Whether a choice has this value.
fn is_said(word: &'static str, value: &Value) -> bool {
    match value {
        Value::Name(name) => name == word,
        _ => choice(word) == *value,
    }
}

/// What it takes, as `NAME=VALUES`.
impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name)?;
        match self.kind {
            Kind::Switch => write!(f, "on|off"),
            Kind::Choice(words) => write!(f, "{}", words.join("|")),
            Kind::PowerOfTwo { min, max } => write!(f, "{min} to {max}, a power of two"),
            Kind::Number { max } => write!(f, "0 to {max}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knob(kind: Kind) -> Knob {
        Knob { name: "x", kind, usual: None, drawn: &[] }
    }

    #[test]
    fn every_value_has_a_code_and_every_code_a_value() {
        let kinds = [
            Kind::Switch,
            Kind::Choice(&["off", "metadata", "0.10", "16"]),
            Kind::PowerOfTwo { min: 512, max: 2 << 20 },
            Kind::Number { max: 1000 },
        ];
        for kind in kinds {
            let knob = knob(kind);
            assert_eq!(knob.value_of(0), None);
            for code in 1..=knob.count() as u32 {
                let value = knob.value_of(code).unwrap();
                assert!(knob.takes(&value), "{value} of {knob}");
                assert_eq!(knob.code(Some(&value)), code, "{value} of {knob}");
            }
            for code in [knob.count() as u32 + 1, 12_345, 0x8000_0000, u32::MAX] {
                assert!(knob.takes(&knob.value_of(code).unwrap()), "{code} of {knob}");
            }
            let mut rng = Random::new(1);
            assert!((0..100).all(|_| knob.takes(&knob.draw(&mut rng).unwrap())));
        }
    }

    #[test]
    fn values_of_another_kind_are_not_taken() {
        let knob = knob(Kind::PowerOfTwo { min: 512, max: 4096 });
        for value in [Value::Number(256), Value::Number(513), Value::Number(8192), Value::Switch(true)] {
            assert!(!knob.takes(&value));
            assert_eq!(knob.code(Some(&value)), 0);
        }
    }
}
