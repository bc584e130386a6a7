//! Layers inside blk-harness: `model <- execute <- run <- judge <- engines`.

/// Modules of blk-harness, each of which may know those before it alone. What is not listed lies below all of
/// them, or above.
const LAYERS: [&str; 13] = [
    "model",
    "execute",
    "promise",
    "refusal",
    "checker",
    "explain",
    "inspect",
    "run",
    "follow_up",
    "judge",
    "crash",
    "fault",
    "race",
];

/// Engines that may not know one another; a race is crashed by the crash engine's explorer.
const APART: [(&str, &str); 3] = [("fault", "crash"), ("race", "fault"), ("crash", "fault")];

/// The lines of a file in which a layer knows one that it must not.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let Some(module) = path.strip_prefix("blk-harness/src/").and_then(|rest| rest.split(['/', '.']).next())
    else {
        return Vec::new();
    };
    let Some(own) = place(module) else { return Vec::new() };
    let lines = text.lines().enumerate();
    let known = lines.flat_map(|(number, line)| uses(line).into_iter().map(move |used| (number + 1, used)));
    known
        .filter(|(_, used)| place(used).is_some_and(|other| other > own) || APART.contains(&(module, used)))
        .map(|(number, used)| format!("{path}:{number}: {module} must not know {used}, which lies above it"))
        .collect()
}

fn place(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == module)
}

/// Modules that a line names from the root of the crate.
fn uses(line: &str) -> Vec<&str> {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let after = line.split("crate::").skip(1);
    let names = after.flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => group.split('}').next().unwrap_or("").split(',').collect::<Vec<_>>(),
        None => vec![rest],
    });
    names.map(|name| name.trim().split(|character| !is_word(character)).next().unwrap_or("")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_knows_one_above_it_is_found() {
        let broken = |path: &str, text: &str| check(path, text).len();
        assert_eq!(broken("blk-harness/src/model/sizes.rs", "use crate::run::Run;"), 1);
        assert_eq!(broken("blk-harness/src/model.rs", "use crate::{explain, stamp};"), 1);
        assert_eq!(broken("blk-harness/src/fault/sweep.rs", "let x = crate::crash::live();"), 1);
        assert_eq!(broken("blk-harness/src/judge.rs", "use crate::run::Run;\nuse crate::model::Model;"), 0);
        assert_eq!(broken("blk-harness/src/race.rs", "use crate::crash::Explorer;"), 0);
        assert_eq!(broken("blk-cli/src/model.rs", "use crate::run::Run;"), 0);
    }
}
