//! `cargo blk ship`: the folder that OSS-Fuzz and `ClusterFuzzLite` run.
//!
//! For each target T there are the program T, its seeds `T_seed_corpus.zip`, its dictionary `T.dict` and its
//! options `T.options`. The runner knows a target by the name of its symbol, and unpacks the seeds into one
//! folder: so no program is stripped, and the seeds have no folders.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use clap::builder::{PathBufValueParser, TypedValueParser};
use xshell::Shell;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::arguments::Arguments as Told;
use crate::kept::inputs;
use crate::project::Project;
use crate::{build, fuzz};

/// What the name of the archive of a target's seeds ends with.
pub const SEEDS_SUFFIX: &str = "_seed_corpus.zip";

/// What to write, and where.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The folder; files of the same names are replaced.
    #[arg(value_parser = PathBufValueParser::new().try_map(std::path::absolute))]
    pub out: PathBuf,
    /// What the programs are built with.
    #[arg(long, value_enum, default_value_t = Sanitizer::None)]
    pub sanitizer: Sanitizer,
}

/// What programs are built with, by the names that OSS-Fuzz has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sanitizer {
    /// Nothing.
    None,
    /// The address sanitizer.
    Address,
    /// Nothing that looks for errors: the programs write which of their lines were run.
    Coverage,
}

/// Builds all targets but those that the project says are local, and writes the folder. All is well then.
///
/// # Errors
/// What cannot be built, run or written.
pub fn run(project: &Project, arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    let targets = project.shipped()?;
    let names: Vec<&str> = targets.iter().map(String::as_str).collect();
    let here = std::env::current_dir()?;
    let programs = match arguments.sanitizer {
        Sanitizer::None => build::build_fuzz_targets(&shell, &here, &names)?,
        Sanitizer::Address => build::build_sanitized(&shell, &here, &names, "address")?,
        Sanitizer::Coverage => build::build_counted(&shell, &names)?,
    };
    fs::create_dir_all(&arguments.out)?;
    for (target, program) in names.iter().zip(&programs) {
        let seeds = ship(project, target, program, &arguments.out)?;
        println!("{target:16} {seeds:>5} seeds");
    }
    println!("{} targets in {}", names.len(), arguments.out.display());
    Ok(true)
}

/// Writes what belongs to one target; returns how many seeds it has.
fn ship(project: &Project, target: &str, program: &Path, out: &Path) -> Result<usize> {
    let shipped = out.join(target);
    fs::copy(program, &shipped).with_context(|| format!("cannot write {}", shipped.display()))?;
    let dictionary = Project::dictionary(target);
    if let Some(dictionary) = &dictionary {
        fs::copy(dictionary, out.join(format!("{target}.dict")))?;
    }
    let options = options(&project.libfuzzer_flags(target), dictionary.is_some().then_some(target));
    fs::write(out.join(format!("{target}.options")), options)?;
    let told = Told::of(project, target, &[])?;
    let work = tempfile::tempdir().context("cannot make a folder for seeds")?;
    let traces = work.path().join("traces");
    let mut seeds = Project::seeds(target).map_or_else(|| Ok(Vec::new()), |folder| inputs(&folder))?;
    if fuzz::regressions_as_bytes(project, program, target, &told, &traces)? {
        seeds.extend(inputs(&traces)?);
    }
    let archive = out.join(format!("{target}{SEEDS_SUFFIX}"));
    if seeds.is_empty() {
        // The one of an earlier build would be taken for this one's.
        let _ = fs::remove_file(archive);
        return Ok(0);
    }
    pack(&seeds, &archive).with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(seeds.len())
}

/// The options of libFuzzer that a target needs, but for those that are the runner's own: how long an input
/// may take.
fn options(flags: &[String], with_dictionary_of: Option<&str>) -> String {
    let flags = flags.iter().filter_map(|flag| flag.strip_prefix('-')?.split_once('='));
    let mut lines = vec!["[libfuzzer]".to_owned()];
    lines.extend(
        flags.filter(|(name, _)| *name != "timeout").map(|(name, value)| format!("{name} = {value}")),
    );
    // As `cargo blk fuzz` runs it: inputs are records, and the schedule costs as much as running them.
    lines.extend(["len_control = 0".to_owned(), "entropic = 0".to_owned()]);
    lines.extend(with_dictionary_of.map(|target| format!("dict = {target}.dict")));
    lines.join("\n") + "\n"
}

/// Puts files into an archive without folders, which has the same bytes whenever it is made.
fn pack(files: &[PathBuf], archive: &Path) -> Result<()> {
    let mut zip = ZipWriter::new(File::create(archive)?);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default());
    for file in files {
        let name = file.file_name().context("a seed has a name")?;
        zip.start_file(name.to_string_lossy(), options)?;
        zip.write_all(&fs::read(file).with_context(|| format!("cannot read {}", file.display()))?)?;
    }
    zip.finish()?;
    Ok(())
}

/// Unpacks the seeds of a target into a folder, as its runner does.
///
/// # Errors
/// What cannot be read or written.
pub fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let mut zip = ZipArchive::new(File::open(archive)?).with_context(|| archive.display().to_string())?;
    zip.extract(folder).with_context(|| format!("cannot unpack {}", archive.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_target_but_for_its_time() {
        let flags = ["-max_len=99", "-timeout=120", "-malloc_limit_mb=5"].map(str::to_owned);
        assert_eq!(
            options(&flags, None),
            "[libfuzzer]\nmax_len = 99\nmalloc_limit_mb = 5\nlen_control = 0\nentropic = 0\n"
        );
        assert!(options(&flags, Some("mine")).ends_with("\ndict = mine.dict\n"));
    }

    #[test]
    fn an_archive_is_flat_and_always_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let seed = folder.path().join("deep/er");
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(&seed, "bytes").unwrap();
        let archives = ["a.zip", "b.zip"].map(|name| folder.path().join(name));
        for archive in &archives {
            pack(std::slice::from_ref(&seed), archive).unwrap();
        }
        assert_eq!(fs::read(&archives[0]).unwrap(), fs::read(&archives[1]).unwrap());
        let unpacked = folder.path().join("unpacked");
        unpack(&archives[0], &unpacked).unwrap();
        assert_eq!(inputs(&unpacked).unwrap(), [unpacked.join("er")]);
        assert_eq!(fs::read(unpacked.join("er")).unwrap(), b"bytes");
        // Two seeds of one name would be one.
        pack(&[seed.clone(), seed], &archives[0]).unwrap_err();
    }
}
