//! What a manifest and the README have to say before a crate can be published: crates.io refuses some of it,
//! and shows the rest to whoever looks for a crate.

use std::fs;

use crate::published::Package;

/// The most keywords, and the most categories, that crates.io takes.
const WORDS_MAX: usize = 5;
/// The longest keyword that it takes, in bytes.
const KEYWORD_BYTES_MAX: usize = 20;
/// Categories of crates.io that our crates are in: it refuses a package with one that it does not have.
const CATEGORIES: [&str; 9] = [
    "command-line-utilities",
    "cryptography",
    "development-tools::cargo-plugins",
    "development-tools::testing",
    "filesystem",
    "network-programming",
    "simulation",
    "virtualization",
    "visualization",
];

/// What is missing or wrong.
pub(super) fn breaches(package: &Package) -> Vec<String> {
    let mut broken = fields(package);
    broken.extend(words(package));
    broken.extend(dependencies(package));
    let readme = fs::read_to_string(package.folder().join("README.md")).unwrap_or_default();
    broken.extend(readme_breaches(package, &readme));
    broken.iter().map(|what| format!("{}: {what}", package.name)).collect()
}

fn fields(package: &Package) -> Vec<String> {
    let mut broken = Vec::new();
    let fields = [
        ("description", &package.description),
        ("license", &package.license),
        ("rust-version", &package.rust_version),
        ("readme", &package.readme),
    ];
    let missing = fields.iter().filter(|(_, value)| value.as_ref().is_none_or(String::is_empty));
    broken.extend(missing.map(|(name, _)| format!("its manifest has no {name}")));
    let documentation = format!("https://docs.rs/{}", package.name);
    if package.documentation.as_ref() != Some(&documentation) {
        broken.push(format!("its documentation is not {documentation}"));
    }
    if package.metadata["docs"]["rs"]["all-features"] != true {
        broken.push("[package.metadata.docs.rs] does not say all-features".to_owned());
    }
    broken
}

fn words(package: &Package) -> Vec<String> {
    let mut broken = Vec::new();
    let is_good = |word: &String| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+".contains(&byte);
        let first = word.bytes().next().unwrap_or_default();
        word.len() <= KEYWORD_BYTES_MAX && first.is_ascii_alphabetic() && word.bytes().all(is_letter)
    };
    for keyword in package.keywords.iter().filter(|keyword| !is_good(keyword)) {
        broken.push(format!("'{keyword}' is no keyword that crates.io takes"));
    }
    for category in package.categories.iter().filter(|category| !CATEGORIES.contains(&category.as_str())) {
        broken.push(format!("'{category}' is no category that is known here"));
    }
    for (name, count) in [("keywords", package.keywords.len()), ("categories", package.categories.len())] {
        if !(1..=WORDS_MAX).contains(&count) {
            broken.push(format!("{count} {name}, where 1 to {WORDS_MAX} are taken"));
        }
    }
    broken
}

/// Crates of ours are found by their versions, once they are on crates.io. A dependency of the tests without
/// a version is left out of the package.
fn dependencies(package: &Package) -> Vec<String> {
    let ours = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    let needed = ours.filter(|dependency| dependency.kind.as_deref() != Some("dev"));
    let unversioned = needed.filter(|dependency| dependency.req == "*");
    unversioned.map(|dependency| format!("its dependency {} has no version", dependency.name)).collect()
}

fn readme_breaches(package: &Package, readme: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let version = package.rust_version.as_deref().unwrap_or_default();
    for (what, text) in [
        ("its name as the title", format!("# {}\n", package.name)),
        ("an example in Rust, which is a test, too", "```rust".to_owned()),
        ("its rust-version", format!("{version} or later")),
        ("its licence", "MIT or Apache-2.0".to_owned()),
    ] {
        if !readme.contains(&text) {
            broken.push(format!("README.md does not have {what}: {}", text.trim()));
        }
    }
    for feature in package.features.keys().filter(|feature| *feature != "default") {
        if !readme.contains(&format!("- `{feature}`: ")) {
            broken.push(format!("README.md does not explain the feature '{feature}'"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package() -> Package {
        let package = json!({
            "name": "blk-example", "version": "1.2.3", "manifest_path": "/w/blk-example/Cargo.toml",
            "description": "An example", "license": "MIT", "rust_version": "1.95", "readme": "README.md",
            "documentation": "https://docs.rs/blk-example", "publish": null,
            "keywords": ["block"], "categories": ["filesystem"], "features": { "testing": [] },
            "dependencies": [{ "name": "blk-core", "req": "^1", "kind": null, "path": "/w/blk-core" }],
            "metadata": { "docs": { "rs": { "all-features": true } } },
        });
        serde_json::from_value(package).unwrap()
    }

    const README: &str =
        "# blk-example\n```rust\n```\n- `testing`: for tests\n1.95 or later\nMIT or Apache-2.0\n";

    fn all(package: &Package) -> Vec<String> {
        [fields(package), words(package), dependencies(package), readme_breaches(package, README)].concat()
    }

    #[test]
    fn a_whole_manifest_breaks_nothing() {
        assert_eq!(all(&package()), [""; 0]);
    }

    #[test]
    fn each_breach_is_named() {
        type Change = fn(&mut Package);
        let breaks: [(Change, &str); 9] = [
            (|package| package.description = None, "no description"),
            (|package| package.documentation = Some("https://example.com".into()), "documentation is not"),
            (|package| package.metadata = json!(null), "docs.rs"),
            (|package| package.keywords = vec!["two words".into()], "'two words' is no keyword"),
            (|package| package.keywords.clear(), "0 keywords"),
            (|package| package.categories = vec!["disks".into()], "'disks' is no category"),
            (|package| package.dependencies[0].req = "*".into(), "blk-core has no version"),
            (|package| package.rust_version = Some("1.99".into()), "its rust-version: 1.99 or later"),
            (|package| drop(package.features.insert("more".into(), Vec::new())), "the feature 'more'"),
        ];
        for (change, expected) in breaks {
            let mut package = package();
            change(&mut package);
            let broken = all(&package);
            assert!(broken.len() == 1 && broken[0].contains(expected), "{expected}: {broken:?}");
        }
    }

    #[test]
    fn what_tests_depend_on_needs_no_version() {
        let mut package = package();
        package.dependencies[0].req = "*".to_owned();
        package.dependencies[0].kind = Some("dev".to_owned());
        assert_eq!(all(&package), [""; 0]);
    }
}
