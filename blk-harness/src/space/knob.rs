//! One option of a driver under test, as scenarios choose it.
//!
//! What a format's list of options says of one is not said again: its values, its default, and what it
//! contradicts ([`Knob::of_option`]).

use std::fmt;

use blk_core::{Conflict, OptionKind, OptionSpec, Range, Step, Support};

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
    /// A multiple of a number.
    Multiple {
        /// Of which number.
        unit: u64,
        /// Smallest, a multiple.
        min: u64,
        /// Largest.
        max: u64,
    },
}

/// Weighted values: what scenarios draw, as often as each number says; `None` gives no value.
pub type Drawn = &'static [(u32, Option<Value>)];

/// One option of a format.
#[derive(Debug)]
pub struct Knob {
    /// Its name, as the driver takes it.
    pub name: &'static str,
    /// The values that it takes.
    pub kind: Kind,
    /// The value that it has where none is given; `None` where that is the driver's own choice.
    pub usual: Option<Value>,
    /// What scenarios draw. Empty: as often as [`Knob::weight`] says, values of the kind.
    pub drawn: Drawn,
    /// How often a value of the kind is drawn where [`Knob::drawn`] is empty, against 4 for none; `None` for
    /// always.
    pub weight: Option<u8>,
    /// What it cannot be together with: then it is not given.
    pub conflicts: &'static [Conflict],
    /// Its place in the bytes form, from 0; `None` for its place among all options.
    pub place: Option<usize>,
}

/// Where all numbers are drawn evenly, these are: small ones are what makes caches overflow.
const NUMBERS_DRAWN_MAX: u64 = 15;

/// How often no value is drawn where the description of an option says how often one is.
const WEIGHT_OF_NONE: u64 = 4;

impl Kind {
    /// What an option takes; `None` for one that takes any text: scenarios do not choose it.
    const fn of(kind: OptionKind) -> Option<Self> {
        match kind {
            OptionKind::Switch => Some(Self::Switch),
            OptionKind::Choice(words) => Some(Self::Choice(words)),
            OptionKind::Size(range) | OptionKind::Number(range) => Some(Self::of_range(range)),
            OptionKind::Text => None,
        }
    }

    const fn of_range(Range { min, max, step }: Range) -> Self {
        match step {
            Step::PowerOfTwo => Self::PowerOfTwo { min, max },
            Step::Multiple(1) if min == 0 => Self::Number { max },
            Step::Multiple(unit) => Self::Multiple { unit, min: min.next_multiple_of(unit), max },
        }
    }

    /// Whether all values of this kind are values of `other`, in the same places.
    const fn is_within(self, other: Self) -> bool {
        match (self, other) {
            (Self::Switch, Self::Switch) => true,
            (Self::Choice(few), Self::Choice(words)) => starts_with(words, few),
            (Self::PowerOfTwo { min, max }, Self::PowerOfTwo { min: least, max: most }) => {
                min == least && max <= most
            }
            (Self::Number { max }, Self::Number { max: most }) => max <= most,
            (Self::Multiple { unit, min, max }, Self::Multiple { unit: of_other, min: least, max: most }) => {
                unit == of_other && min == least && max <= most
            }
            _ => false,
        }
    }
}

const fn starts_with(words: &[&str], few: &[&str]) -> bool {
    let mut at = 0;
    while at < few.len() {
        if at >= words.len() || !is_same(words[at], few[at]) {
            return false;
        }
        at += 1;
    }
    true
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The value that a default stands for, as [`Value::parse`] reads it: canonical numbers are digits alone.
const fn value_of_default(text: &'static str) -> Value {
    if is_same(text, "on") || is_same(text, "off") {
        return Value::Switch(is_same(text, "on"));
    }
    let digits = text.as_bytes();
    let (mut number, mut at) = (0_u64, 0);
    while at < digits.len() && digits[at].is_ascii_digit() {
        number = number * 10 + (digits[at] - b'0') as u64;
        at += 1;
    }
    if at > 0 && at == digits.len() { Value::Number(number) } else { Value::name(text) }
}

impl Knob {
    /// An option that is in no list of a format, and contradicts nothing.
    pub const fn new(name: &'static str, kind: Kind, usual: Option<Value>, drawn: Drawn) -> Self {
        Self { name, kind, usual, drawn, weight: None, conflicts: &[], place: None }
    }

    /// The option of that name of a format, with what its list says of it. Scenarios draw it as `drawn` says.
    ///
    /// # Panics
    /// If there is none, or if it takes any text.
    pub const fn of_option(options: &'static [OptionSpec], name: &str, drawn: Drawn) -> Self {
        let Some(kind) = Kind::of(find(options, name).kind) else { panic!("it takes any text") };
        Self::of_option_within(options, name, kind, drawn)
    }

    /// As [`Knob::of_option`], of which scenarios choose some values alone: the first words of a choice,
    /// smaller numbers.
    ///
    /// # Panics
    /// As [`Knob::of_option`], and if the option does not take all of these values.
    pub const fn of_option_within(
        options: &'static [OptionSpec],
        name: &str,
        kind: Kind,
        drawn: Drawn,
    ) -> Self {
        let spec = find(options, name);
        let is_taken = match Kind::of(spec.kind) {
            Some(all) => kind.is_within(all),
            None => false,
        };
        assert!(is_taken, "the option does not take these values");
        let usual = match spec.default {
            Some(text) => Some(value_of_default(text)),
            None => None,
        };
        Self { name: spec.name, kind, usual, drawn, weight: None, conflicts: spec.conflicts, place: None }
    }

    /// The option with its weight in the format's list; `None` for one that generators leave alone, that the
    /// driver does not have, or that takes any text.
    pub(super) fn of_spec(spec: &'static OptionSpec) -> Option<Self> {
        let kind = Kind::of(spec.kind)?;
        let is_chosen = spec.support == Support::Built && spec.weight > 0;
        is_chosen.then(|| Self {
            name: spec.name,
            kind,
            usual: spec.default.map(value_of_default),
            drawn: &[],
            weight: Some(spec.weight),
            conflicts: spec.conflicts,
            place: None,
        })
    }

    /// Whether the option, if it has this value, is what a word of its description says.
    pub(super) fn is(&self, value: Option<&Value>, word: &'static str) -> Option<bool> {
        value.or(self.usual.as_ref()).map(|value| is_said(word, value))
    }

    /// Whether the option can have this value.
    pub fn takes(&self, value: &Value) -> bool {
        match (self.kind, value) {
            (Kind::Switch, Value::Switch(_)) => true,
            (Kind::Choice(words), _) => words.iter().any(|word| is_said(word, value)),
            (Kind::PowerOfTwo { min, max }, Value::Number(number)) => {
                number.is_power_of_two() && (min..=max).contains(number)
            }
            (Kind::Number { max }, Value::Number(number)) => *number <= max,
            (Kind::Multiple { unit, min, max }, Value::Number(number)) => {
                number.is_multiple_of(unit) && (min..=max).contains(number)
            }
            _ => false,
        }
    }

    /// A value, as often as its weight says; `None` for the usual one, or the driver's own choice.
    pub(crate) fn draw(&self, rng: &mut Random) -> Option<Value> {
        if self.drawn.is_empty() {
            return self.draw_by_weight(rng);
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

    /// Of powers of two the smallest comes up most: small units make many out of few bytes.
    fn draw_by_weight(&self, rng: &mut Random) -> Option<Value> {
        if let Some(weight) = self.weight.map(u64::from) {
            if rng.below(weight + WEIGHT_OF_NONE) >= weight {
                return None;
            }
            if matches!(self.kind, Kind::PowerOfTwo { .. }) && rng.chance(1, 2) {
                return Some(self.value_at(0));
            }
        }
        Some(self.value_at(rng.below(self.count().min(NUMBERS_DRAWN_MAX + 1))))
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
            (Kind::Multiple { unit, min, .. }, Some(Value::Number(number))) => (number - min) / unit,
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
            Kind::Number { .. } | Kind::Multiple { .. } => place % count.min(NUMBERS_DRAWN_MAX + 1),
        }))
    }

    /// How many values there are.
    fn count(&self) -> u64 {
        match self.kind {
            Kind::Switch => 2,
            Kind::Choice(words) => words.len() as u64,
            Kind::PowerOfTwo { min, max } => u64::from(max.ilog2() - min.ilog2()) + 1,
            Kind::Number { max } => max.saturating_add(1),
            Kind::Multiple { unit, min, max } => ((max - min) / unit).saturating_add(1),
        }
    }

    /// Value number `place`, from 0.
    fn value_at(&self, place: u64) -> Value {
        match self.kind {
            Kind::Switch => Value::Switch(place != 0),
            Kind::Choice(words) => choice(words[place as usize]),
            Kind::PowerOfTwo { min, .. } => Value::Number(min << place),
            Kind::Number { .. } => Value::Number(place),
            Kind::Multiple { unit, min, .. } => Value::Number(min + unit * place),
        }
    }
}

/// The option of that name.
const fn find(options: &'static [OptionSpec], name: &str) -> &'static OptionSpec {
    let mut at = 0;
    while at < options.len() {
        if is_same(options[at].name, name) {
            return &options[at];
        }
        at += 1;
    }
    panic!("the format has no such option")
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
            Kind::Multiple { unit, min, max } => write!(f, "{min} to {max}, a multiple of {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knob(kind: Kind) -> Knob {
        Knob::new("x", kind, None, &[])
    }

    #[test]
    fn every_value_has_a_code_and_every_code_a_value() {
        let kinds = [
            Kind::Switch,
            Kind::Choice(&["off", "metadata", "0.10", "16"]),
            Kind::PowerOfTwo { min: 512, max: 2 << 20 },
            Kind::Number { max: 1000 },
            Kind::Multiple { unit: 512, min: 1024, max: 8192 },
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

    static OPTIONS: &[OptionSpec] = &[
        OptionSpec::new("unit", OptionKind::Size(Range::powers_of_two(512, 4096)), "")
            .with_default("1024")
            .with_weight(12),
        OptionSpec::new("mode", OptionKind::Choice(&["off", "fast", "slow"]), "").with_default("off"),
        OptionSpec::new("version", OptionKind::Choice(&["0.10", "1.1"]), "").with_default("1.1"),
        OptionSpec::new("slots", OptionKind::Number(Range::multiples(3, 5, 30)), ""),
        OptionSpec::new("name", OptionKind::Text, ""),
        OptionSpec::new("hidden", OptionKind::Switch, "").with_weight(0),
        OptionSpec::not_built("later", OptionKind::Switch, ""),
    ];

    #[test]
    fn what_the_list_of_options_says_is_not_said_again() {
        static UNIT: Knob = Knob::of_option(OPTIONS, "unit", &[(1, None)]);
        static MODE: Knob = Knob::of_option_within(OPTIONS, "mode", Kind::Choice(&["off", "fast"]), &[]);
        assert_eq!(UNIT.kind, Kind::PowerOfTwo { min: 512, max: 4096 });
        assert_eq!((UNIT.name, &UNIT.usual), ("unit", &Some(Value::Number(1024))));
        assert_eq!((MODE.count(), &MODE.usual), (2, &Some(Value::Switch(false))));
        let all: Vec<Knob> = OPTIONS.iter().filter_map(Knob::of_spec).collect();
        let names: Vec<&str> = all.iter().map(|knob| knob.name).collect();
        assert_eq!(names, ["unit", "mode", "version", "slots"]);
        assert_eq!(all[2].usual, Some(Value::name("1.1")));
        assert_eq!(all[3].kind, Kind::Multiple { unit: 3, min: 6, max: 30 });
        assert!(!all[3].takes(&Value::Number(5)) && all[3].takes(&Value::Number(30)));
    }

    #[test]
    fn an_option_is_drawn_by_its_weight() {
        let mut rng = Random::new(7);
        let unit = Knob::of_spec(&OPTIONS[0]).unwrap();
        let drawn: Vec<Option<Value>> = (0..1000).map(|_| unit.draw(&mut rng)).collect();
        let count = |value: Option<u64>| drawn.iter().filter(|d| **d == value.map(Value::Number)).count();
        // 12 in 16 have a value, half of those the smallest, and the rest any.
        assert!((200..300).contains(&count(None)), "{}", count(None));
        assert!((400..540).contains(&count(Some(512))), "{}", count(Some(512)));
        assert!((50..150).contains(&count(Some(4096))), "{}", count(Some(4096)));
    }

    #[test]
    #[should_panic(expected = "does not take these values")]
    fn no_value_is_chosen_that_the_format_does_not_take() {
        let _ = Knob::of_option_within(OPTIONS, "mode", Kind::Choice(&["off", "slow"]), &[]);
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
