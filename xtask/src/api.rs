//! `cargo xtask api`: the public items of each published crate, held against `docs/api/CRATE.txt`.

mod difference;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use public_api::Builder;
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::published;
use difference::Difference;

/// Where the items are kept, a file for each crate.
const FOLDER: &str = "docs/api";
/// Traits that the compiler finds out by itself and that no interface asks for. `Send` and `Sync` stay:
/// threads need them.
const UNNAMED: [&str; 5] = [
    "core::marker::Freeze",
    "core::marker::Unpin",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];
/// The form of rustdoc's output that public-api reads.
const FORMAT: u64 = 57;

#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Take the items as they are: write them to docs/api.
    #[arg(long)]
    accept: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    let packages = published::packages(&shell)?;
    let documents = build(&shell)?;
    let mut told = Vec::new();
    for package in &packages {
        let document = documents.join(format!("{}.json", package.name.replace('-', "_")));
        let items = items(&document)?;
        let path = Path::new(FOLDER).join(format!("{}.txt", package.name));
        let kept = fs::read_to_string(&path).unwrap_or_default();
        let difference = Difference::between(&kept, &items);
        println!("{:14} {:>5} items", package.name, items.lines().count());
        if difference.is_empty() {
            continue;
        }
        if arguments.accept {
            fs::create_dir_all(FOLDER)?;
            fs::write(&path, &items).with_context(|| format!("cannot write {}", path.display()))?;
        }
        print!("{}", difference.render(&path));
        told.push(difference);
    }
    let removed = told.iter().any(Difference::removes);
    match (told.is_empty(), arguments.accept) {
        (true, _) => println!("api: no public item has changed"),
        (false, true) => println!("api: accepted; {}", advice(removed)),
        (false, false) => println!(
            "api: public items have changed; {}. If that is meant, `cargo xtask api --accept` writes them to \
             {FOLDER}",
            advice(removed)
        ),
    }
    Ok(told.is_empty() || arguments.accept)
}

/// What a change means for the next version.
fn advice(removed: bool) -> &'static str {
    if removed {
        "an item that is gone, or has another form, breaks crates that use it: the next version is 0.(x+1), or \
         a major one from 1.0 on, and CHANGELOG.md says what users do about it"
    } else {
        "items that are added break nobody; CHANGELOG.md has a line for what users see"
    }
}

/// Has rustdoc describe the crates of the workspace, with all their features: what they rest on is built as
/// for the step of CI before, and so need not be built again. Returns the folder of the descriptions.
fn build(shell: &Shell) -> Result<PathBuf> {
    // Only this form of output is unstable, in rustdoc alone; the crates are those of stable Rust.
    let _unstable = shell.push_env("RUSTC_BOOTSTRAP", "1");
    let _flags = shell.push_env("RUSTDOCFLAGS", "-Zunstable-options --output-format=json --cap-lints=allow");
    cmd!(shell, "cargo doc --quiet --locked --workspace --no-deps --lib --all-features").run()?;
    Ok(cargo_blk::target_folder(&shell.current_dir()).join("doc"))
}

/// The public items of a crate, a line each.
fn items(document: &Path) -> Result<String> {
    let api = Builder::from_rustdoc_json(document).omit_blanket_impls(true).build();
    let api = match api {
        Ok(api) => api,
        Err(error) => bail!("{}: {error}{}", document.display(), other_format(document)),
    };
    let lines = api.items().map(ToString::to_string).filter(|line| !is_unnamed(line));
    Ok(lines.map(|line| line + "\n").collect())
}

/// Whether a line says that a type has one of the traits that nobody asks for.
fn is_unnamed(line: &str) -> bool {
    line.starts_with("impl") && UNNAMED.iter().any(|name| line.contains(&format!("{name} for ")))
}

/// What to do about a description that cannot be read, where it is of another form than the one that is known
/// here.
fn other_format(document: &Path) -> String {
    let text = fs::read_to_string(document).unwrap_or_default();
    let description: Value = serde_json::from_str(&text).unwrap_or_default();
    match description["format_version"].as_u64() {
        Some(FORMAT) | None => String::new(),
        Some(other) => format!(
            "; this rustdoc writes format {other}, and format {FORMAT}, that of Rust 1.95, is read: check with \
             that one (`cargo +1.95 xtask api`), or update the crate public-api"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_traits_that_threads_need_are_kept() {
        for (line, expected) in [
            ("impl core::marker::Freeze for blk_core::Extent", true),
            ("impl<'a> core::marker::Unpin for blk_core::Probe<'a>", true),
            ("impl core::panic::unwind_safe::UnwindSafe for blk_core::Extent", true),
            ("impl core::marker::Send for blk_core::Extent", false),
            ("impl core::marker::Sync for blk_core::Extent", false),
            ("pub fn blk_core::implies()", false),
        ] {
            assert_eq!(is_unnamed(line), expected, "{line}");
        }
    }

    #[test]
    fn a_description_of_another_format_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let document = folder.path().join("a.json");
        fs::write(&document, r#"{"format_version":58}"#).unwrap();
        let error = items(&document).unwrap_err().to_string();
        assert!(error.contains("a.json") && error.contains("this rustdoc writes format 58"), "{error}");
        fs::write(&document, r#"{"format_version":57}"#).unwrap();
        let error = items(&document).unwrap_err().to_string();
        assert!(!error.contains("this rustdoc"), "{error}");
    }
}
