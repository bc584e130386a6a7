//! `create`: makes a new image.

use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use blk_core::storage::DiskStorage;
use blk_core::{
    Access, DenyResolver, Disk, Error, Format, MemoryStorage, Options, Resolver, Secret, Storage,
};
use blk_nbd::Address;
use clap::Parser;

use super::args;
use super::failure::{Failure, Outcome};
use super::image::{Image, Named, Purpose, backing_path, has_protocol, plain_path};
use super::options::{self, Given};
use super::output;
use super::size::{parse, whole_sectors};
use crate::formats;
use crate::spec::{self, FilesInUse, ObjectArgs, Objects, OpenFile};

/// Makes a new image
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    /// Format of the new image
    #[arg(short, long, default_value = formats::DEFAULT)]
    format: String,
    /// Options of the format, name=value,...; 'help' lists them
    #[arg(short, long, value_name = "OPTIONS")]
    options: Vec<String>,
    /// Name of the backing file
    #[arg(short, long, value_name = "FILE")]
    backing: Option<String>,
    /// Format of the backing file
    #[arg(short = 'F', long, value_name = "FORMAT")]
    backing_format: Option<String>,
    /// Do not look whether the backing file can be opened
    #[arg(short = 'u', long = "backing-unsafe")]
    unchecked: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    objects: ObjectArgs,
    /// File to make, and size of the disk
    #[arg(value_names = ["FILE", "SIZE"])]
    names: Vec<String>,
}

/// The option that may make an image as large as its disk.
const PREALLOCATION: &str = "preallocation";
/// The option that names the file that data goes to, and the one that makes it the disk: all is mapped then.
const DATA_FILE: &str = "data_file";
const DATA_FILE_RAW: &str = "data_file_raw";
/// A data file is locked as an image is.
const IMAGE: &str = "qcow2";
/// The options that say how long a passphrase is hashed.
const ITER_TIMES: [&str; 2] = ["iter-time", "encrypt.iter-time"];
/// Bytes at the start of a new raw file that are stored.
const FIRST_BLOCK_BYTES: u64 = 4096;

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let args: Args = args::parse("create", program, arguments)?;
    if Given::asks_for_help(&args.options) {
        options::help(&args.format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (name, size) = match &args.names[..] {
        [] => return Err(Failure::usage("create", "expecting an image file name")),
        [name] => (name, None),
        [name, size] => (name, Some(parse("image size", size)?)),
        [_, _, more, ..] => return Err(Failure::usage("create", format!("unexpected argument: {more}"))),
    };
    let mut given = given_options(name, &args)?;
    let in_use = settle_size(program, name, &args, size, &mut given)?;
    if !args.quiet {
        output::line(&format!("Formatting '{name}', fmt={} {}", args.format, given.shown(&args.format)?))?;
    }
    make(name, &args.format, &given, &in_use, args.objects.objects())?;
    Ok(ExitCode::SUCCESS)
}

/// The options of all switches together.
fn given_options(name: &str, args: &Args) -> Outcome<Given> {
    let named = |reason: &str| Failure::new(format!("{name}: {reason}"));
    check_format(&args.format).map_err(|failure| named(&failure.lines.join(" ")))?;
    let mut given = Given::parse(&args.options)?;
    let has_backing = args.backing.is_some() || args.backing_format.is_some();
    if has_backing && !formats::features(&args.format).backing {
        return Err(named(&format!("format '{}' does not support backing files", args.format)));
    }
    if let Some(backing) = &args.backing {
        given.set("backing_file", backing);
    }
    if let Some(format) = &args.backing_format {
        given.set("backing_fmt", format);
    }
    given.check(&args.format).map_err(|failure| named(&failure.lines.join(" ")))?;
    if given.get("backing_file") == Some("") {
        return Err(named("the name of the backing file is empty"));
    }
    Ok(given)
}

/// Refuses a format that nobody knows.
pub(crate) fn check_format(format: &str) -> Outcome<()> {
    formats::registry().find(format).map(|_| ()).map_err(|error| Failure::new(error.to_string()))
}

/// The size that was given, or that of the backing file, which has to exist in any case. Returns the files of
/// its chain.
fn settle_size(
    program: &str,
    name: &str,
    args: &Args,
    size: Option<u64>,
    given: &mut Given,
) -> Outcome<FilesInUse> {
    let named = |reason: String| Failure::new(format!("{name}: {reason}"));
    let mut size = match (size, given.get("size")) {
        (Some(_), Some(_)) => return Err(named("the size is given twice".to_owned())),
        (Some(size), None) => Some(size),
        (None, Some(size)) => Some(parse("size", size)?),
        (None, None) => None,
    };
    let mut in_use = FilesInUse::new();
    if let Some(backing) = given.get("backing_file") {
        if backing == name {
            return Err(named("an image cannot be its own backing file".to_owned()));
        }
        let format = given.get("backing_fmt");
        if !args.unchecked {
            let file = Named::file(backing_path(name, backing), format);
            let opened = Named { objects: args.objects.objects(), ..file }.open(program, LOOK);
            let opened = opened.map_err(|failure| named(failure.lines.join(" ")))?;
            size = size.or(Some(opened.size()));
            in_use = opened.files();
        }
        if format.is_none() {
            return Err(named("the backing file is given without its format (-F)".to_owned()));
        }
    }
    let size = size.ok_or_else(|| named("a new image needs a size".to_owned()))?;
    given.set("size", &size.to_string());
    Ok(in_use)
}

/// Whoever has a backing file in use is not disturbed by an overlay that is made over it.
const LOOK: Purpose = Purpose { unlocked: true, ..Purpose::READ };

/// The files of the chain that the options name as backing file of `name`, which has to be there.
pub(crate) fn files_of_backing(name: &str, given: &Given, objects: Objects) -> Outcome<FilesInUse> {
    let Some(backing) = given.get("backing_file").filter(|backing| !backing.is_empty()) else {
        return Ok(FilesInUse::new());
    };
    let backing = Named::file(backing_path(name, backing), given.get("backing_fmt"));
    Ok(Named { objects, ..backing }.open("", LOOK)?.files())
}

/// Makes the image; its size stands among the options. What a file of that name held is lost only if the
/// options are right, and if it is none of `in_use`, whatever name it has there.
pub(crate) fn make(
    name: &str,
    format: &str,
    given: &Given,
    in_use: &FilesInUse,
    objects: Objects,
) -> Outcome<()> {
    let failed = |error: Error| Failure::new(format!("{name}: {error}"));
    let driver = formats::registry().find(format).map_err(failed)?;
    let size = whole_sectors(parse("size", given.get("size").unwrap_or_default())?);
    let options = given
        .for_format(driver)
        .map_err(|failure| Failure::new(format!("{name}: {}", failure.lines.join(" "))))?;
    let backing = given.get("backing_file").map(|backing| backing_path(name, backing));
    let lays_out = given.get("backing_file").is_some() || given.get(DATA_FILE_RAW) == Some("on");
    let rehearse = |size: u64, keeps_all: bool| {
        let rehearsal: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let options = rehearsed(driver, &options, keeps_all);
        let resolver = Asked { objects: objects.clone(), data: Some(Arc::new(MemoryStorage::new())) };
        driver.create_with(&rehearsal, size, options, &resolver).map_err(failed)
    };
    if lays_out {
        // What a backing file or a data file contradicts is seen on the smallest disk, of which nothing is
        // laid out.
        rehearse(0, true)?;
    }
    rehearse(size, false)?;
    if backing.as_ref().is_some_and(|backing| spec::is_same_place(name, backing)) {
        return Err(Failure::new(format!("{name}: an image cannot be its own backing file")));
    }
    let data = given.get(DATA_FILE).map(|data| {
        if backing.as_ref().is_some_and(|backing| spec::is_same_place(data, backing)) {
            return Err(Failure::new(format!("{name}: the data file '{data}' is its backing file")));
        }
        NewData::open(name, data, size, in_use)
    });
    let data = data.transpose()?;
    let mut in_use = in_use.clone();
    in_use.extend(data.iter().map(|data| Arc::clone(&data.file)));
    let Place { storage, server, .. } = &place(name, format, &in_use, objects.clone())?;
    let resolver = Asked { objects, data: data.as_ref().map(|data| data.file.storage()) };
    let made = driver.create_with(storage, size, options, &resolver);
    match made {
        Ok(()) => data.into_iter().for_each(NewData::keep),
        // What a server has is no file of that name.
        Err(_) if server.is_none() => remove_half(name),
        Err(_) => {}
    }
    made.map_err(failed)?;
    if driver.features().is_raw {
        // A first block that is stored lets others find out what alignment the host asks for.
        let block = vec![0; size.min(FIRST_BLOCK_BYTES) as usize];
        storage.write_at(0, &block).map_err(failed)?;
    }
    server.as_ref().map_or(Ok(()), Image::close)
}

/// The file that the data of a new image goes to. It is removed again, unless it was there before or the
/// image is made.
#[derive(Debug)]
struct NewData {
    file: Arc<OpenFile>,
    /// It was not there before.
    is_new: bool,
    is_kept: bool,
}

impl NewData {
    /// Locks the file for the image `name`: whoever uses it, or one of `in_use`, is not disturbed. It is left
    /// as it is. What cannot grow holds `size` bytes.
    fn open(name: &str, data: &str, size: u64, in_use: &FilesInUse) -> Outcome<Self> {
        let failed = |reason: String| Failure::new(format!("{name}: {reason}"));
        if has_protocol(data) && !data.starts_with("file:") {
            return Err(failed(format!("not supported: making '{data}', which is no file, for the data")));
        }
        let data = data.strip_prefix("file:").unwrap_or(data);
        let (path, own) = (plain_path(data), plain_path(name));
        if path == own || is_same_file(name, data) {
            return Err(failed("an image cannot be its own data file".to_owned()));
        }
        let is_new = fs::symlink_metadata(&path).is_err();
        let file = spec::kept_file(data, IMAGE, in_use).map_err(|error| failed(error.to_string()))?;
        let data = Self { file, is_new, is_kept: false };
        match data.file.fixed_length().map_err(|error| failed(error.to_string()))? {
            Some(length) if length < size => {
                let what = format!("a disk of {size} bytes: the data file has {length} and cannot grow");
                Err(failed(Error::NoSpace { what: what.into() }.to_string()))
            }
            _ => Ok(data),
        }
    }

    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for NewData {
    fn drop(&mut self) {
        if self.is_new && !self.is_kept {
            // The other failure is reported.
            let _ = fs::remove_file(self.file.path());
        }
    }
}

/// What a new image, or one that changes, may ask for: secrets, and the data file that was opened for it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) objects: Objects,
    pub(super) data: Option<Arc<dyn Storage>>,
}

impl Resolver for Asked {
    fn open_backing(&self, name: &str, format: Option<&str>) -> blk_core::Result<Arc<Disk>> {
        DenyResolver.open_backing(name, format)
    }

    fn open_storage(&self, name: &str, access: Access) -> blk_core::Result<Arc<dyn Storage>> {
        self.data.clone().map_or_else(|| DenyResolver.open_storage(name, access), Ok)
    }

    fn secret(&self, id: &str) -> blk_core::Result<Secret> {
        self.objects.secret(id)
    }
}

/// Half an image is of no use to anybody; what the file held is lost already. A device stays.
fn remove_half(name: &str) {
    let path = plain_path(name);
    if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
        // That it cannot be removed is the lesser of two failures, and the other one is reported.
        let _ = fs::remove_file(path);
    }
}

/// The options for a rehearsal in memory: what takes long, or as much memory as the disk is large, is left
/// out. A value that the driver refuses stays, so that it is refused while the file is still as it was.
fn rehearsed(driver: &dyn Format, options: &Options, keeps_all: bool) -> Options {
    let mut rehearsed = options.clone();
    for name in [PREALLOCATION, DATA_FILE_RAW] {
        if !keeps_all && is_legal(driver, name, options.get(name)) {
            rehearsed.take(name);
        }
    }
    for name in ITER_TIMES {
        // Without encryption, it is refused.
        let is_needed = name != "encrypt.iter-time" || options.get("encrypt.format") == Some("luks");
        if is_needed && is_legal(driver, name, options.get(name)) {
            // A passphrase is hashed once, for the image.
            rehearsed.set(name, "0");
        }
    }
    rehearsed
}

/// Whether a format has an option, and takes that value for it, or none.
fn is_legal(format: &dyn Format, name: &str, value: Option<&str>) -> bool {
    let mut specs = format.create_options().iter();
    let spec = specs.find(|spec| spec.name == name);
    spec.is_some_and(|spec| value.is_none_or(|value| spec.parse(value).is_ok()))
}

/// Where a new image lies, until it is made.
struct Place {
    storage: Arc<dyn Storage>,
    /// Locked for as long.
    _file: Option<Arc<OpenFile>>,
    /// The disk of a server, which keeps its size.
    server: Option<Image>,
}

/// Locks the file, and empties it; or connects to the server.
fn place(name: &str, format: &str, in_use: &FilesInUse, objects: Objects) -> Outcome<Place> {
    if Address::parse(name).is_ok() {
        let named = Named { objects, ..Named::file(name, Some(blk_raw::FORMAT.name())) };
        let server = named.open_beside("", Purpose::WRITE, in_use)?;
        let storage = Arc::new(DiskStorage::new(Arc::clone(&server.disk)));
        return Ok(Place { storage, _file: None, server: Some(server) });
    }
    if has_protocol(name) && !name.starts_with("file:") {
        return Err(Failure::new(format!(
            "{name}: not supported: making an image other than in a file or on a server"
        )));
    }
    let made = spec::new_file(name.strip_prefix("file:").unwrap_or(name), format, in_use);
    let (storage, file) = made.map_err(|error| Failure::new(error.to_string()))?;
    Ok(Place { storage, _file: Some(file), server: None })
}

/// Whether both names lead to one file.
fn is_same_file(name: &str, other: &str) -> bool {
    spec::is_same_file(&plain_path(name), &plain_path(other))
}
