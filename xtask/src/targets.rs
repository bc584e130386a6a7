//! The fuzz targets, by name.

use std::fs;

use anyhow::{Context, Result, bail};

/// All of them, as fuzz/Cargo.toml lists them.
pub(crate) fn all() -> Result<Vec<String>> {
    let text = fs::read_to_string("fuzz/Cargo.toml").context("cannot read fuzz/Cargo.toml")?;
    let manifest: toml::Table = text.parse()?;
    let bins =
        manifest.get("bin").and_then(toml::Value::as_array).context("fuzz/Cargo.toml lists no targets")?;
    Ok(bins.iter().filter_map(|bin| bin.get("name")?.as_str().map(str::to_owned)).collect())
}

/// Fails if there is no target of that name, and says which there are.
pub(crate) fn check(name: &str) -> Result<()> {
    let known = all()?;
    if known.iter().any(|target| target == name) {
        return Ok(());
    }
    let likeness = |other: &&String| strsim::jaro_winkler(name, other);
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let meant = nearest.filter(|nearest| likeness(nearest) > 0.75);
    let meant = meant.map_or_else(String::new, |nearest| format!("; did you mean '{nearest}'?"));
    bail!("there is no fuzz target '{name}'{meant}\nknown are {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_targets_are_refused_with_the_near_one() {
        crate::tools::enter_root().unwrap();
        for target in all().unwrap() {
            check(&target).unwrap();
        }
        let error = check("verify_qcow").unwrap_err().to_string();
        assert!(error.contains("did you mean 'verify_qcow2'?") && error.contains("canary"), "{error}");
        assert!(!check("zzz").unwrap_err().to_string().contains("did you mean"));
    }
}
