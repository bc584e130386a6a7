//! `project.yaml`: what a project says of itself to OSS-Fuzz and `ClusterFuzzLite`. Ours are flat: a line for
//! each value, and one for each item of a list.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The names that OSS-Fuzz knows, as far as a project of ours has a use for them.
const KNOWN: [&str; 10] = [
    "auto_ccs",
    "architectures",
    "fuzzing_engines",
    "homepage",
    "language",
    "main_repo",
    "primary_contact",
    "sanitizers",
    "vendor_ccs",
    "file_github_issue",
];
/// What a project has to say.
const NEEDED: [(&str, &str); 3] =
    [("language", "rust"), ("sanitizers", "address"), ("fuzzing_engines", "libfuzzer")];
/// What has to be said to OSS-Fuzz besides.
const NEEDED_THERE: [&str; 3] = ["homepage", "main_repo", "primary_contact"];
/// What every file for OSS-Fuzz has to name.
const LICENSE: &str = "http://www.apache.org/licenses/LICENSE-2.0";
const FILES: [&str; 3] = ["project.yaml", "Dockerfile", "build.sh"];

/// What is wrong with the files of both, a line each.
pub(super) fn check_all() -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for description in super::descriptions() {
        let folder = description.parent().unwrap_or(Path::new("."));
        for file in FILES {
            let path = folder.join(file);
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if !text.contains(LICENSE) {
                broken.push(format!("{}: there is no head with the licence", path.display()));
            }
            if file == FILES[0] {
                let needed: &[&str] = if folder.ends_with("oss-fuzz") { &NEEDED_THERE } else { &[] };
                let lines = check(&text, needed).into_iter();
                broken.extend(lines.map(|line| format!("{}: {line}", path.display())));
            }
        }
    }
    Ok(broken)
}

/// What is wrong with a description.
fn check(text: &str, needed: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut said: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut last = None;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let (Some(item), Some(name)) = (line.trim().strip_prefix("- "), last) {
            said.entry(name).or_default().push(item.trim());
        } else if let Some((name, value)) = line.split_once(':').filter(|_| !line.starts_with(' ')) {
            if !KNOWN.contains(&name) {
                broken.push(format!("'{name}' is not known"));
            }
            let values = said.entry(name).or_default();
            values.extend(Some(value.trim().trim_matches('"')).filter(|value| !value.is_empty()));
            last = Some(name);
        } else {
            broken.push(format!("'{line}' is no line of a flat description"));
        }
    }
    for (name, value) in NEEDED {
        if said.get(name).is_none_or(|values| values[..] != [value]) {
            broken.push(format!("'{name}' is not '{value}'"));
        }
    }
    let missing = needed.iter().filter(|name| said.get(**name).is_none_or(Vec::is_empty));
    broken.extend(missing.map(|name| format!("'{name}' is missing")));
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# A comment\nhomepage: \"https://x\"\nlanguage: rust\nsanitizers:\n  - address\nfuzzing_engines:\n- libfuzzer\n";

    #[test]
    fn ours_are_good() {
        crate::tools::enter_root().unwrap();
        assert_eq!(check_all().unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(check(GOOD, &["homepage"]), [""; 0]);
        assert_eq!(check(GOOD, &["main_repo"]), ["'main_repo' is missing"]);
        assert_eq!(check(&GOOD.replace("rust", "c++"), &[]), ["'language' is not 'rust'"]);
        assert_eq!(check(&GOOD.replace("- address", "- adress"), &[]), ["'sanitizers' is not 'address'"]);
        assert_eq!(check(&format!("{GOOD}homepages: x\n"), &[]), ["'homepages' is not known"]);
        assert_eq!(check(&format!("{GOOD}  deep: x\n"), &[]).len(), 1);
    }
}
