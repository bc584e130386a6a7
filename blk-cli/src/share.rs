//! What belongs beside the program: manual pages, and completions for shells.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

/// Where `man` looks for pages of programs, below `share` of a prefix.
const MANUAL: &str = "man/man1";

/// Where shells look for completions, below `share` of a prefix, as their documentation says.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/blk"),
    (Shell::Zsh, "zsh/site-functions/_blk"),
    (Shell::Fish, "fish/vendor_completions.d/blk.fish"),
];

/// The completion script of a shell.
pub(crate) fn completions(definition: &mut Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, definition, "blk", &mut script);
    script
}

/// Writes a manual page for the program and each of its subcommands into a folder, which is made if it is not
/// there.
pub(crate) fn manual(definition: Command, folder: &Path) -> Result<()> {
    let context = || format!("cannot write manual pages into {}", folder.display());
    fs::create_dir_all(folder).with_context(context)?;
    clap_mangen::generate_to(without_help(definition), folder).with_context(context)
}

/// The same without the subcommands `help`, which clap adds where it completes a definition: they would
/// double the pages.
fn without_help(definition: Command) -> Command {
    definition.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// Writes both where programs look for them below `prefix`. Returns where.
pub(crate) fn install(mut definition: Command, prefix: &Path) -> Result<Vec<PathBuf>> {
    let share = prefix.join("share");
    let pages = share.join(MANUAL);
    // Before completions, which complete the definition.
    manual(definition.clone(), &pages)?;
    let mut written = vec![pages];
    for (shell, place) in COMPLETIONS {
        let path = share.join(place);
        let context = || format!("cannot write completions to {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(&share)).with_context(context)?;
        fs::write(&path, completions(&mut definition, shell)).with_context(context)?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Command {
        Command::new("blk").about("An example").subcommand(Command::new("io").about("Another"))
    }

    #[test]
    fn everything_lies_where_programs_look_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let written = install(definition(), &folder.path().join("new/prefix")).unwrap();
        assert!(written.iter().all(|path| path.exists()), "{written:?}");
        let share = folder.path().join("new/prefix/share");
        let pages = fs::read_dir(share.join(MANUAL)).unwrap().map(|page| page.unwrap().file_name());
        let mut pages: Vec<_> = pages.collect();
        pages.sort();
        assert_eq!(pages, ["blk-io.1", "blk.1"]);
        for (_, place) in COMPLETIONS {
            assert!(fs::read_to_string(share.join(place)).unwrap().contains("io"), "{place}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for error in [install(definition(), &file).unwrap_err(), manual(definition(), &file).unwrap_err()] {
            assert!(error.to_string().contains(&file.display().to_string()), "{error:#}");
        }
    }
}
