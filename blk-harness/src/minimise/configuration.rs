//! Options and fields of the configuration back to their usual values.

use super::search::Search;
use crate::scenario::{Backing, Config};

/// First all at once, then each by itself, then what lies between.
pub(super) fn simplify(search: &mut Search) {
    let old = search.best.config.clone();
    let mut usual = Config { size_bytes: old.size_bytes, ..Config::default() };
    if let Some(unit) = search.unit() {
        unit.set(&mut usual, unit.value);
    }
    for lanes in [0, old.lanes] {
        if accepts(search, Config { lanes, ..usual.clone() }) {
            return;
        }
    }
    let without_options = Config { options: usual.options, ..old.clone() };
    if !accepts(search, without_options) {
        let unit = search.unit().map(|unit| unit.name);
        for (name, _) in old.options.iter().filter(|(name, _)| Some(*name) != unit) {
            let mut config = search.best.config.clone();
            config.options.remove(name);
            accepts(search, config);
        }
    }
    for to_usual in FIELDS {
        let mut config = search.best.config.clone();
        to_usual(&mut config, &Config::default());
        accepts(search, config);
    }
    simplify_backing(search);
}

fn simplify_backing(search: &mut Search) {
    for backing in [Backing::None, Backing::Raw, Backing::Format] {
        let config = Config { backing, ..search.best.config.clone() };
        if accepts(search, config) {
            break;
        }
    }
    if search.best.config.backing != Backing::None {
        let backing_bytes = search.best.config.size_bytes;
        accepts(search, Config { backing_bytes, ..search.best.config.clone() });
        for unit in [search.unit_bytes(), 512, 1] {
            let bytes = search.best.config.backing_bytes;
            search.lower(bytes, unit, |scenario, bytes| scenario.config.backing_bytes = bytes);
        }
    }
}

type ToUsual = fn(&mut Config, &Config);

const FIELDS: [ToUsual; 5] = [
    |config, usual| config.discard = usual.discard,
    |config, usual| config.control = usual.control,
    |config, usual| config.atom_bytes = usual.atom_bytes,
    |config, usual| config.host_alignment = usual.host_alignment,
    |config, usual| config.probe_flush = usual.probe_flush,
];

/// A configuration that was legal stays so.
fn accepts(search: &mut Search, mut config: Config) -> bool {
    if search.space.is_legal(&search.best.config) {
        search.space.legalize(&mut config);
    }
    search.accepts_change(|scenario| scenario.config = config)
}
