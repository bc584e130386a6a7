//! A project: a folder whose `fuzz` folder holds fuzz targets.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub(crate) const MANIFEST: &str = "fuzz/Cargo.toml";
/// Where seeds are kept, by target.
pub(crate) const SEEDS: &str = "fuzz/seeds";
/// A header of 32 bytes and 64 records of 16. Longer scenarios (up to 256) find little more, and take their
/// time. A driver that hangs is noticed sooner by the target itself, which can say in which request.
const FLAGS_USUAL: [&str; 2] = ["-max_len=1056", "-timeout=120"];

/// The project in the current folder.
#[derive(Debug)]
pub struct Project {
    manifest: toml::Table,
    command: &'static str,
}

impl Project {
    /// Goes to the nearest folder, from this one upwards, that has fuzz targets.
    ///
    /// # Errors
    /// That there is none; that its manifest cannot be read.
    pub fn enter() -> Result<Self> {
        let here = std::env::current_dir()?;
        let root = here.ancestors().find(|folder| folder.join(MANIFEST).is_file());
        let root = root.with_context(|| {
            format!("no folder from {} upwards has {MANIFEST}; `cargo fuzz init` makes one", here.display())
        })?;
        std::env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))?;
        Self::here("cargo blk")
    }

    /// The project of this folder. `command` is what users call to fuzz and to reproduce.
    ///
    /// # Errors
    /// That its manifest cannot be read.
    pub fn here(command: &'static str) -> Result<Self> {
        let text = fs::read_to_string(MANIFEST).with_context(|| format!("cannot read {MANIFEST}"))?;
        let manifest = text.parse().with_context(|| format!("in {MANIFEST}"))?;
        Ok(Self { manifest, command })
    }

    /// What users call to fuzz and to reproduce.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// The fuzz targets.
    ///
    /// # Errors
    /// That the manifest lists none.
    pub fn targets(&self) -> Result<Vec<String>> {
        let bins = self.manifest.get("bin").and_then(toml::Value::as_array);
        let bins = bins.with_context(|| format!("{MANIFEST} lists no targets"))?;
        Ok(bins.iter().filter_map(|bin| bin.get("name")?.as_str().map(str::to_owned)).collect())
    }

    /// The fuzz targets that are of use outside of this repository, too.
    ///
    /// # Errors
    /// That the manifest lists no targets, or names one as local that is none.
    pub fn shipped(&self) -> Result<Vec<String>> {
        let local = self.setting("local").and_then(toml::Value::as_array).into_iter().flatten();
        let local: Vec<&str> = local.filter_map(toml::Value::as_str).collect();
        local.iter().try_for_each(|target| self.check(target))?;
        let mut targets = self.targets()?;
        targets.retain(|target| !local.contains(&target.as_str()));
        Ok(targets)
    }

    /// The dictionary of a target, if there is one.
    pub(crate) fn dictionary(target: &str) -> Option<PathBuf> {
        Some(PathBuf::from(format!("fuzz/{target}.dict"))).filter(|path| path.is_file())
    }

    /// The seeds of a target that are kept, if there are any.
    pub(crate) fn seeds(target: &str) -> Option<PathBuf> {
        Some(Path::new(SEEDS).join(target)).filter(|folder| folder.is_dir())
    }

    /// Fails if there is no target of that name, and says which there are.
    ///
    /// # Errors
    /// With the nearest one, if one is near.
    pub fn check(&self, name: &str) -> Result<()> {
        let known = self.targets()?;
        if known.iter().any(|target| target == name) {
            return Ok(());
        }
        let likeness = |other: &&String| strsim::jaro_winkler(name, other);
        let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let meant = nearest.filter(|nearest| likeness(nearest) > 0.75);
        let meant = meant.map_or_else(String::new, |nearest| format!("; did you mean '{nearest}'?"));
        bail!("there is no fuzz target '{name}'{meant}\nknown are {}", known.join(", "))
    }

    /// Where the regression corpus lies.
    pub fn regressions(&self) -> PathBuf {
        let folder = self.setting("regressions").and_then(toml::Value::as_str).unwrap_or("regressions");
        match folder.strip_prefix("../") {
            Some(beside) => PathBuf::from(beside),
            None => Path::new("fuzz").join(folder),
        }
    }

    /// The traces of the regression corpus, sorted.
    ///
    /// # Errors
    /// That its folder cannot be read.
    pub fn traces(&self) -> Result<Vec<PathBuf>> {
        let folder = self.regressions();
        let mut traces = Vec::new();
        if folder.is_dir() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "trace") {
                    traces.push(path);
                }
            }
        }
        traces.sort();
        Ok(traces)
    }

    /// The flags of libFuzzer that a target needs.
    pub fn libfuzzer_flags(&self, target: &str) -> Vec<String> {
        let own =
            self.setting("libfuzzer").and_then(|flags| flags.get(target)).and_then(toml::Value::as_array);
        match own {
            Some(flags) => flags.iter().filter_map(|flag| flag.as_str().map(str::to_owned)).collect(),
            None => FLAGS_USUAL.map(str::to_owned).to_vec(),
        }
    }

    /// What a target is told where the command line says nothing.
    pub(crate) fn arguments(&self, target: &str) -> Vec<String> {
        let own =
            self.setting("arguments").and_then(|words| words.get(target)).and_then(toml::Value::as_array);
        own.into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    }

    /// The target that a trace says it belongs to, in a comment `# target: NAME`, or the one of those that
    /// say nothing.
    ///
    /// # Errors
    /// That it cannot be read; that nobody says its target.
    pub fn target_of(&self, trace: &Path) -> Result<String> {
        let bytes = fs::read(trace).with_context(|| format!("cannot read {}", trace.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines().map(|line| line.trim_start_matches('#').trim());
        let named = lines.find_map(|line| line.strip_prefix("target: "));
        let target = named.or_else(|| self.setting("target").and_then(toml::Value::as_str));
        target
            .map(str::to_owned)
            .with_context(|| format!("{} has no line '# target: NAME'; give --target", trace.display()))
    }

    /// How many inputs the working corpus keeps, where it is to be kept small: those that reach what no
    /// smaller ones reach, and of more than these a fair sample. Otherwise nothing is ever removed from it.
    pub fn corpus_max(&self) -> Option<usize> {
        usize::try_from(self.setting("corpus-max")?.as_integer()?).ok()
    }

    fn setting(&self, name: &str) -> Option<&toml::Value> {
        self.manifest.get("package")?.get("metadata")?.get("blk")?.get(name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn project(manifest: &str) -> Project {
        Project { manifest: manifest.parse().unwrap(), command: "cargo blk" }
    }

    #[test]
    fn unknown_targets_are_refused_with_the_near_one() {
        let project = project("[[bin]]\nname = 'verify_qcow2'\n[[bin]]\nname = 'canary'\n");
        for target in project.targets().unwrap() {
            project.check(&target).unwrap();
        }
        let error = project.check("verify_qcow").unwrap_err().to_string();
        assert!(error.contains("did you mean 'verify_qcow2'?") && error.contains("canary"), "{error}");
        assert!(!project.check("zzz").unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn what_is_local_is_not_shipped() {
        let targets = "[[bin]]\nname = 'a'\n[[bin]]\nname = 'canary'\n";
        let of =
            |local: &str| project(&format!("package.metadata.blk.local = [{local}]\n{targets}")).shipped();
        assert_eq!(of("'canary'").unwrap(), ["a"]);
        assert_eq!(of("").unwrap(), ["a", "canary"]);
        assert!(of("'canari'").unwrap_err().to_string().contains("did you mean 'canary'?"));
    }

    #[test]
    fn the_manifest_says_where_the_corpus_lies_and_which_flags_a_target_needs() {
        let plain = project("");
        assert_eq!(plain.regressions(), Path::new("fuzz/regressions"));
        assert_eq!(plain.libfuzzer_flags("a"), FLAGS_USUAL);
        let own = project(
            "[package.metadata.blk]\nregressions = '../kept'\n[package.metadata.blk.libfuzzer]\na = ['-x=1']\n",
        );
        assert_eq!(own.regressions(), Path::new("kept"));
        assert_eq!(own.libfuzzer_flags("a"), ["-x=1"]);
        assert_eq!(own.libfuzzer_flags("b"), FLAGS_USUAL);
    }
}
