//! What a foreign driver can be made with: its options as a space of scenarios.

use blk_core::{Condition, Conflict, OptionSpec, Range, Step, parse_size};
use blk_harness::random::Random;
use blk_harness::scenario::{Config, Value};
use blk_harness::space::{Described, Geometry, Knob, Space};

use crate::description::{Description, OptionDescription, OptionKind, Units};

/// Sizes that are drawn, bytes: few, because a program makes an image of each.
const SIZES: [u64; 13] = [
    64 << 10,
    128 << 10,
    (192 << 10) + 512,
    256 << 10,
    512 << 10,
    (640 << 10) + 1024,
    1 << 20,
    (1 << 20) + 512,
    2 << 20,
    (3 << 20) + 4096,
    4 << 20,
    8 << 20,
    16 << 20,
];

/// A text that is there as long as the process: descriptions are read once.
pub(crate) fn keep(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn condition(value: Option<&String>) -> Condition {
    value.map_or(Condition::Given, |value| Condition::Is(keep(value)))
}

fn kind(option: &OptionDescription) -> blk_core::OptionKind {
    let step = if option.step == 0 { Step::PowerOfTwo } else { Step::Multiple(option.step) };
    let range = Range { min: option.min, max: option.max, step };
    match option.kind {
        OptionKind::Switch => blk_core::OptionKind::Switch,
        OptionKind::Choice => {
            let words: Vec<&'static str> = option.words.iter().map(|word| keep(word)).collect();
            blk_core::OptionKind::Choice(words.leak())
        }
        OptionKind::Number => blk_core::OptionKind::Number(range),
        OptionKind::Size => blk_core::OptionKind::Size(range),
    }
}

/// The default as digits, where it is a size.
fn canonical(option: &OptionDescription) -> Option<&'static str> {
    let text = option.default.as_ref()?;
    let is_number = matches!(option.kind, OptionKind::Size | OptionKind::Number);
    let digits = is_number.then(|| parse_size(text).ok()).flatten().map(|number| number.to_string());
    Some(keep(digits.as_ref().unwrap_or(text)))
}

fn spec(option: &OptionDescription) -> OptionSpec {
    let conflicts: Vec<Conflict> = option
        .conflicts
        .iter()
        .map(|conflict| Conflict {
            when: condition(conflict.when.as_ref()),
            other: keep(&conflict.other),
            and: Condition::Is(keep(&conflict.and)),
            reason: keep(&conflict.reason),
        })
        .collect();
    let spec = OptionSpec::new(keep(&option.name), kind(option), "")
        .with_conflicts(conflicts.leak())
        .with_weight(option.weight);
    match canonical(option) {
        Some(default) => spec.with_default(default),
        None => spec,
    }
}

fn knob(specs: &'static [OptionSpec], option: &OptionDescription) -> Knob {
    let drawn = |word: &String| (u32::from(option.weight.max(1)), Value::parse(word));
    let mut values: Vec<(u32, Option<Value>)> = option.drawn.iter().map(drawn).collect();
    if !values.is_empty() {
        // As often as the weight says against the usual value.
        values.push((4 * values.len() as u32, None));
    }
    Knob { weight: Some(option.weight), ..Knob::of_option(specs, &option.name, values.leak()) }
}

/// The space of a driver. It is there for good.
pub(crate) fn of(description: &Description) -> &'static Space {
    let specs: &'static [OptionSpec] = description.options.iter().map(spec).collect::<Vec<_>>().leak();
    let knobs: Vec<Knob> = description.options.iter().map(|option| knob(specs, option)).collect();
    let Units { unit, table_entry, table_reach, request_alignment, .. } = description.geometry;
    let geometry = Geometry {
        unit_bytes: unit,
        table_reach_bytes: table_reach,
        compressed_unit_bytes: None,
        alignment_bytes: request_alignment,
        size_is_file_length: false,
        snapshots: false,
        bitmaps: false,
        is_dense: false,
        amendments: &[],
    };
    Box::leak(Box::new(Space {
        name: keep(&description.name),
        knobs: knobs.leak(),
        unit: description.geometry.unit_option.as_deref().map(keep),
        described: Some(Described { geometry, table_entry_bytes: table_entry }),
        tune,
        ..Space::WITHOUT_OPTIONS
    }))
}

/// One of the sizes that images are made of: the largest that is no larger than what was drawn.
fn tune(config: &mut Config, rng: &mut Random) {
    let count = SIZES.iter().filter(|size| **size <= config.size_bytes).count().max(1);
    let place = if rng.chance(1, 4) { rng.below(count as u64) as usize } else { count - 1 };
    config.size_bytes = SIZES[place];
}
