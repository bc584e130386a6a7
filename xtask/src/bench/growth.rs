//! How much longer work takes over ten times as many clusters, snapshots or layers.

use super::{Measures, median};

/// What of an image grows, to which sizes.
const CLUSTERS: [u64; 3] = [10_000, 100_000, 1_000_000];
const SNAPSHOTS: [u64; 3] = [100, 1_000, 10_000];
const LAYERS: [u64; 3] = [2, 20, 200];

/// Work whose time depends on how much there is: ten times as much takes so much longer at most. More than
/// ten, since what was in the processor's cache is not any more.
const LINEAR_MAX: f64 = 15.0;
/// Work that looks something up.
const FLAT_MAX: f64 = 1.5;

/// A kind of work.
struct Row {
    name: &'static str,
    sizes: [u64; 3],
    most: f64,
}

const fn row(name: &'static str, sizes: [u64; 3], most: f64) -> Row {
    Row { name, sizes, most }
}

const ROWS: [Row; 12] = [
    row("open", CLUSTERS, FLAT_MAX),
    row("read_4k", CLUSTERS, FLAT_MAX),
    row("write_4k", CLUSTERS, FLAT_MAX),
    row("status", CLUSTERS, LINEAR_MAX),
    row("check", CLUSTERS, LINEAR_MAX),
    row("snapshot_open", SNAPSHOTS, LINEAR_MAX),
    row("snapshot_change", SNAPSHOTS, LINEAR_MAX),
    row("snapshot_list", SNAPSHOTS, LINEAR_MAX),
    row("snapshot_read_4k", SNAPSHOTS, FLAT_MAX),
    row("snapshot_check", SNAPSHOTS, LINEAR_MAX),
    row("layers_open", LAYERS, LINEAR_MAX),
    row("layers_read_4k", LAYERS, LINEAR_MAX),
];

/// Prints a table; returns whether nothing grows faster than it may.
pub(super) fn report(rounds: &[Measures]) -> bool {
    println!(
        "{:18} {:>21}  {:>27}  {:>15}  {:>5}",
        "work", "sizes", "microseconds", "10 times as much", "limit"
    );
    let mut all = true;
    for Row { name, sizes, most } in ROWS {
        let times = sizes.map(|size| {
            let name = format!("growth_{name}_{size}");
            median(rounds.iter().filter_map(|round| Some(1e6 / round.get(&name)?)).collect())
        });
        let [Some(small), Some(middle), Some(large)] = times else {
            println!("{name:18} MISSED: it was not measured");
            all = false;
            continue;
        };
        let (first, second) = (middle / small, large / middle);
        let is_reached = first.max(second) <= most;
        all &= is_reached;
        let sizes = sizes.map(|size| size.to_string()).join(" ");
        let verdict = if is_reached { "" } else { "  MISSED" };
        println!(
            "{name:18} {sizes:>21}  {small:>7.1} {middle:>8.1} {large:>9.1}  {first:>7.1} {second:>7.1}  {most:>5.1}{verdict}"
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_too_fast_or_is_not_measured_fails() {
        let grown = |factor: f64| -> Measures {
            let measure = |row: &Row| row.sizes.map(|size| format!("growth_{}_{size}", row.name));
            let rates = [1e6, 1e6 / factor, 1e6 / factor / factor];
            ROWS.iter().flat_map(|row| measure(row).into_iter().zip(rates)).collect()
        };
        assert!(report(&[grown(1.4)]));
        assert!(!report(&[grown(1.6)]));
        let mut one_is_missing = grown(1.4);
        one_is_missing.remove("growth_open_100000");
        assert!(!report(&[one_is_missing]));
    }
}
