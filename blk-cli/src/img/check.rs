//! `check`: checks an image's metadata, and repairs it.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use blk_core::{CheckReport, Info, RepairMode, Severity, Storage};
use clap::Parser;

use super::args::{self, OneImage, OutputForm};
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose};
use super::json::Json;
use super::output::{self, append};
use super::size::ratio;
use crate::formats::registry;
use crate::spec::Layer;

/// What may be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Repair {
    /// Clusters that nobody uses.
    Leaks,
    /// Everything.
    All,
}

/// Checks an image's metadata
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: OneImage,
    /// How to show the result
    #[arg(long, value_enum, default_value = "human")]
    output: OutputForm,
    /// What to repair
    #[arg(short, long, value_enum)]
    repair: Option<Repair>,
    /// Cache mode of the image
    #[arg(short = 'T', long, value_name = "MODE")]
    cache: Option<String>,
    /// Others may write the image meanwhile
    #[arg(short = 'U', long)]
    force_share: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

/// Exit codes, as scripts know them.
const CORRUPT: u8 = 2;
const LEAKS: u8 = 3;
const CANNOT_CHECK: u8 = 63;

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("check", program, arguments)?;
    let cache = args::cache_mode(args.cache.as_deref())?;
    let name = args.image.name("check")?;
    let repair = match args.repair {
        None => RepairMode::None,
        Some(Repair::Leaks) => RepairMode::Leaks,
        Some(Repair::All) => RepairMode::All,
    };
    let purpose = Purpose { write: args.repair.is_some(), check: true, ..Purpose::READ };
    let named = Named { force_share: args.force_share, cache, ..args.image.named(name) };
    let image = named.open(program, purpose)?;
    let mut report = check(&image, repair)?;
    print_findings(&report);
    if repair == RepairMode::Leaks && report.check_errors > 0 && report.leaks_fixed == 0 {
        return Err(Failure::new(
            "Check failed: more than leaks has to be repaired first, which is '-r all'",
        ));
    }
    let (leaks_fixed, corruptions_fixed) = (report.leaks_fixed, report.corruptions_fixed);
    if leaks_fixed + corruptions_fixed > 0 {
        if !args.quiet && args.output == OutputForm::Human {
            print_repairs(&report)?;
        }
        report = check(&image, RepairMode::None)?;
        print_findings(&report);
    }
    if args.repair.is_some() {
        finish(&image)?;
    }
    if !args.quiet {
        let shown = match args.output {
            OutputForm::Human => human(&report),
            OutputForm::Json => json(&image, &report, (leaks_fixed, corruptions_fixed))?,
        };
        output::text(&shown)?;
    }
    if report.check_errors > 0 {
        return Err(Failure::new("Check failed"));
    }
    Ok(exit_code(&report))
}

/// Asks the open disk, which knows what it has in memory; where it has no check, its format, which judges an
/// image by its storage.
fn check(image: &Image, repair: RepairMode) -> Outcome<CheckReport> {
    let checked = match storage_of(image) {
        _ if image.disk.as_check().is_some() => image.disk.check(repair).map(Some),
        Some((format, storage)) => {
            registry().find(format).map_or(Ok(None), |format| format.check(storage, repair))
        }
        None => Ok(None),
    };
    match checked {
        Ok(Some(report)) => Ok(report),
        Ok(None) => Err(Failure::new("This image format does not support checks").with_code(CANNOT_CHECK)),
        Err(error) => Err(Failure::new(format!("the check failed: {error}"))),
    }
}

/// Makes what a repair has done durable. A disk that was not asked knows nothing of it, and is not closed
/// over it.
fn finish(image: &Image) -> Outcome<()> {
    match storage_of(image) {
        Some((_, storage)) if image.disk.as_check().is_none() => {
            storage.sync().map_err(|error| Failure::of(&image.name, &error))
        }
        _ => image.close(),
    }
}

/// The format of the image and what it lies in; none where a filter lies over it: QEMU checks no image
/// through one.
fn storage_of(image: &Image) -> Option<(&'static str, &Arc<dyn Storage>)> {
    let Layer { format, storage, .. } = image.layers.first()?;
    let is_own = |info: &dyn Info| info.info().is_ok_and(|info| info.format == *format);
    let storage = storage.as_ref().filter(|_| image.disk.as_info().is_none_or(is_own));
    storage.map(|storage| (*format, storage))
}

fn exit_code(report: &CheckReport) -> ExitCode {
    if report.corruptions > 0 {
        ExitCode::from(CORRUPT)
    } else if report.leaks > 0 {
        ExitCode::from(LEAKS)
    } else {
        ExitCode::SUCCESS
    }
}

/// What was found goes to standard error, so that standard output is the result alone. Programs read these
/// lines.
fn print_findings(report: &CheckReport) {
    for finding in &report.findings {
        output::error_line(&finding.message);
    }
    let told = report.findings.iter().filter(|finding| finding.severity != Severity::Step).count() as u64;
    let found = report.leaks + report.corruptions;
    if report.findings.len() >= CheckReport::FINDINGS_MAX && told < found {
        output::error_line(&format!("... and {} more", found - told));
    }
}

fn print_repairs(report: &CheckReport) -> Outcome<()> {
    output::text(&format!(
        "The following inconsistencies were found and repaired:\n\n    {} leaked clusters\n    {} corruptions\n\n\
         Double checking the fixed image now...\n",
        report.leaks_fixed, report.corruptions_fixed
    ))
}

fn human(report: &CheckReport) -> String {
    let mut text = String::new();
    if report.is_clean() {
        text.push_str("No errors were found on the image.\n");
    }
    if report.corruptions > 0 {
        append(
            &mut text,
            format_args!(
                "\n{} errors were found on the image.\n\
             Data may be corrupted, or further writes to the image may corrupt it.\n",
                report.corruptions
            ),
        );
    }
    if report.leaks > 0 {
        append(
            &mut text,
            format_args!(
                "\n{} leaked clusters were found on the image.\n\
             This means waste of disk space, but no harm to data.\n",
                report.leaks
            ),
        );
    }
    if report.check_errors > 0 {
        append(
            &mut text,
            format_args!("\n{} internal errors have occurred during the check.\n", report.check_errors),
        );
    }
    if report.total_clusters > 0 && report.allocated_clusters > 0 {
        let percent = |part, whole| ratio(part, whole) * 100.0;
        append(
            &mut text,
            format_args!(
                "{}/{} = {:.2}% allocated, {:.2}% fragmented, {:.2}% compressed clusters\n",
                report.allocated_clusters,
                report.total_clusters,
                percent(report.allocated_clusters, report.total_clusters),
                percent(report.fragmented_clusters, report.allocated_clusters),
                percent(report.compressed_clusters, report.allocated_clusters),
            ),
        );
    }
    if report.image_end_offset > 0 {
        append(&mut text, format_args!("Image end offset: {}\n", report.image_end_offset));
    }
    text
}

/// Counts that are zero are left out, but for the errors of the check itself.
fn json(
    image: &Image,
    report: &CheckReport,
    (leaks_fixed, corruptions_fixed): (u64, u64),
) -> Outcome<String> {
    let info = image.info().map_err(|error| Failure::of(&image.name, &error))?;
    let counts = [
        ("image-end-offset", report.image_end_offset),
        ("compressed-clusters", report.compressed_clusters),
        ("total-clusters", report.total_clusters),
        ("corruptions", report.corruptions),
        ("corruptions-fixed", corruptions_fixed),
        ("check-errors", report.check_errors),
        ("leaks", report.leaks),
        ("leaks-fixed", leaks_fixed),
        ("allocated-clusters", report.allocated_clusters),
    ];
    let shown = counts.into_iter().filter(|(name, count)| *count > 0 || *name == "check-errors");
    let mut members: Vec<(&'static str, Json)> = shown.map(|(name, count)| (name, count.into())).collect();
    members.push(("filename", image.name.as_str().into()));
    members.push(("format", info.format.into()));
    if report.fragmented_clusters > 0 {
        members.push(("fragmented-clusters", report.fragmented_clusters.into()));
    }
    Ok(Json::Object(members).render() + "\n")
}
