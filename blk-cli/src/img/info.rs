//! `info`: tells what an image is.

mod human;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::ExitCode;

use blk_core::{Detail, ImageInfo, Info, SnapshotInfo, Storage};
use blk_nbd::Address;
use clap::Parser;

use super::args::{self, OneImage, OutputForm};
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose, backing_of, backing_path, plain_path};
use super::json::Json;
use super::output;
use crate::spec::{self, FilesInUse};

pub(super) use human::snapshot_table;

/// Tells what an image is
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: OneImage,
    /// Describe the backing files too
    #[arg(short, long)]
    backing_chain: bool,
    /// How to show it
    #[arg(long, value_enum, default_value = "human")]
    output: OutputForm,
    /// Others may write the image meanwhile
    #[arg(short = 'U', long)]
    force_share: bool,
}

/// What holds an image: a file of the host, or an export of a server.
#[derive(Debug, Clone, Copy)]
struct FileInfo {
    length: u64,
    /// Bytes that it occupies on the host; a server does not say.
    occupied: Option<u64>,
    /// How it is reached, as QEMU calls that.
    protocol: &'static str,
}

const NBD: &str = "nbd";

/// All that is told about one image.
#[derive(Debug)]
struct Report {
    name: String,
    size: u64,
    /// The format was not given, and nothing but raw fits: whoever writes the image decides what it is next
    /// time.
    is_guess: bool,
    image: ImageInfo,
    is_encrypted: bool,
    /// The name that the backing file is opened by.
    full_backing: Option<String>,
    file: Option<FileInfo>,
}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("info", program, arguments)?;
    let name = args.image.name("info")?;
    let named = Named { force_share: args.force_share, ..args.image.named(name) };
    let reports = collect(program, named, args.backing_chain)?;
    let shown = match args.output {
        OutputForm::Human => reports.iter().map(Report::human).collect::<Vec<_>>().join("\n"),
        OutputForm::Json if args.backing_chain => {
            Json::List(reports.iter().map(Report::json).collect()).render() + "\n"
        }
        OutputForm::Json => reports[0].json().render() + "\n",
    };
    output::text(&shown)?;
    Ok(ExitCode::SUCCESS)
}

/// Reports about the image and, if `chain`, all its backing files.
fn collect(program: &str, named: Named, chain: bool) -> Outcome<Vec<Report>> {
    let mut reports: Vec<Report> = Vec::new();
    let mut seen = FilesInUse::new();
    let objects = named.objects.clone();
    let mut next = Some(named);
    while let Some(named) = next.take() {
        if reports.len() >= spec::CHAIN_MAX {
            let limit = format!("the chain of backing files is longer than {}", spec::CHAIN_MAX);
            return Err(Failure::new(format!("{}: {limit}", named.name)));
        }
        let image = named.open(program, Purpose::INSPECT)?;
        let files = image.files();
        if seen.iter().any(|seen| files.iter().any(|file| file.is_same(seen))) {
            return Err(Failure::new(format!(
                "'{}': the chain of backing files comes back to it",
                named.name
            )));
        }
        seen.extend(files);
        let info = image.info().map_err(|error| Failure::of(&image.name, &error))?;
        if chain {
            next = info.backing.as_ref().map(|backing| backing_of(&image.name, backing, objects.clone()));
        }
        let full_backing = info.backing.as_ref().map(|backing| backing_path(&image.name, &backing.name));
        let file = FileInfo::of(&image);
        reports.push(Report {
            size: image.size(),
            is_guess: image.guessed_raw,
            name: image.name,
            image: info,
            is_encrypted: image.disk.as_info().is_some_and(Info::is_encrypted),
            full_backing,
            file,
        });
    }
    Ok(reports)
}

impl FileInfo {
    fn of(image: &Image) -> Option<Self> {
        Self::of_host(&image.name).or_else(|| Self::of_server(image))
    }

    fn of_server(image: &Image) -> Option<Self> {
        let layer = image.layers.first().filter(|layer| layer.format != NBD)?;
        Address::parse(&image.name).ok()?;
        let length = super::size::whole_sectors(layer.storage.as_ref()?.len().ok()?);
        Some(Self { length, occupied: None, protocol: NBD })
    }

    fn of_host(name: &str) -> Option<Self> {
        let path = plain_path(name);
        let metadata = fs::metadata(&path).ok()?;
        let is_device = metadata.file_type().is_block_device();
        let length = if is_device {
            let storage = blk_core::FileStorage::open(&path, blk_core::Access::ReadOnly).ok()?;
            storage.len().ok()?
        } else {
            metadata.len()
        };
        Some(Self {
            length: super::size::whole_sectors(length),
            occupied: Some(metadata.blocks() * 512),
            protocol: if is_device { "host_device" } else { "file" },
        })
    }
}

impl Report {
    fn json(&self) -> Json {
        let children = self
            .file
            .map(|file| Json::Object(vec![("name", "file".into()), ("info", file_json(&self.name, file))]));
        let mut members = vec![("children", Json::List(children.into_iter().collect()))];
        let backing = self.image.backing.as_ref();
        if let Some(format) = backing.and_then(|backing| backing.format.as_deref()) {
            members.push(("backing-filename-format", format.into()));
        }
        if !self.image.snapshots.is_empty() {
            members.push(("snapshots", Json::List(self.image.snapshots.iter().map(snapshot_json).collect())));
        }
        members.push(("virtual-size", self.size.into()));
        members.push(("filename", self.name.as_str().into()));
        if let Some(bytes) = self.image.cluster_bytes {
            members.push(("cluster-size", bytes.into()));
        }
        members.push(("format", self.image.format.into()));
        if self.is_guess {
            members.push(("format-guessed", true.into()));
        }
        if let Some(occupied) = self.file.and_then(|file| file.occupied) {
            members.push(("actual-size", occupied.into()));
        }
        if !self.image.details.is_empty() {
            let data = Json::Object(details_json(&self.image.details));
            let specific = vec![("type", self.image.format.into()), ("data", data)];
            members.push(("format-specific", Json::Object(specific)));
        }
        if let (Some(full), Some(backing)) = (&self.full_backing, backing) {
            members.push(("full-backing-filename", full.as_str().into()));
            members.push(("backing-filename", backing.name.as_str().into()));
        }
        if self.is_encrypted {
            members.push(("encrypted", true.into()));
        }
        // A server says nothing of the kind, and raw has nothing to say.
        let is_served = self.file.is_some_and(|file| file.protocol == NBD);
        if !(is_served && self.image.format == blk_raw::FORMAT.name()) {
            members.push(("dirty-flag", self.image.is_dirty.into()));
        }
        Json::Object(members)
    }
}

fn file_json(name: &str, file: FileInfo) -> Json {
    let mut members = vec![
        ("children", Json::List(Vec::new())),
        ("virtual-size", file.length.into()),
        ("filename", name.strip_prefix("file:").unwrap_or(name).into()),
        ("format", file.protocol.into()),
    ];
    if let Some(occupied) = file.occupied {
        let specific = Json::Object(vec![("type", file.protocol.into()), ("data", Json::Object(Vec::new()))]);
        members.extend([
            ("actual-size", occupied.into()),
            ("format-specific", specific),
            ("dirty-flag", false.into()),
        ]);
    }
    Json::Object(members)
}

fn details_json(details: &[(&'static str, Detail)]) -> Vec<(&'static str, Json)> {
    details.iter().map(|(name, detail)| (*name, detail_json(detail))).collect()
}

fn detail_json(detail: &Detail) -> Json {
    match detail {
        Detail::Switch(value) => (*value).into(),
        Detail::Number(value) => (*value).into(),
        Detail::Text(value) => value.as_str().into(),
        Detail::List(values) => Json::List(values.iter().map(detail_json).collect()),
        Detail::Group(details) => Json::Object(details_json(details)),
    }
}

fn snapshot_json(snapshot: &SnapshotInfo) -> Json {
    const NANOSECONDS: u64 = 1_000_000_000;
    let mut members = Vec::new();
    if let Some(count) = snapshot.instruction_count {
        members.push(("icount", count.into()));
    }
    members.extend([
        ("vm-clock-nsec", (snapshot.vm_clock_nanoseconds % NANOSECONDS).into()),
        ("name", snapshot.name.as_str().into()),
        ("date-sec", u64::from(snapshot.date_seconds).into()),
        ("date-nsec", u64::from(snapshot.date_nanoseconds).into()),
        ("vm-clock-sec", (snapshot.vm_clock_nanoseconds / NANOSECONDS).into()),
        ("id", snapshot.id.as_str().into()),
        ("vm-state-size", snapshot.vm_state_bytes.into()),
    ]);
    Json::Object(members)
}
