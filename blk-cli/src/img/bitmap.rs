//! `bitmap`: changes a dirty bitmap of an image.

use std::ffi::OsString;
use std::process::ExitCode;

use blk_core::{BitmapInfo, Bitmaps, Error};
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser};

use super::args::{self, ImageArgs};
use super::failure::{Failure, Outcome, complain};
use super::image::{Image, Named, Purpose};
use super::size::parse;

/// Changes a dirty bitmap of an image
#[derive(Debug, Parser)]
#[command(args_override_self = true, infer_long_args = true)]
pub(super) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Make the bitmap; it records what is written from then on
    #[arg(long, action = ArgAction::Append, num_args = 0..=1, require_equals = true, default_missing_value = "",
          value_name = "")]
    add: Vec<String>,
    /// Remove the bitmap
    #[arg(long, action = ArgAction::Append, num_args = 0..=1, require_equals = true, default_missing_value = "",
          value_name = "")]
    remove: Vec<String>,
    /// Make the bitmap empty
    #[arg(long, action = ArgAction::Append, num_args = 0..=1, require_equals = true, default_missing_value = "",
          value_name = "")]
    clear: Vec<String>,
    /// From now on record what is written
    #[arg(long, action = ArgAction::Append, num_args = 0..=1, require_equals = true, default_missing_value = "",
          value_name = "")]
    enable: Vec<String>,
    /// From now on record nothing
    #[arg(long, action = ArgAction::Append, num_args = 0..=1, require_equals = true, default_missing_value = "",
          value_name = "")]
    disable: Vec<String>,
    /// Add what another bitmap holds
    #[arg(long, value_name = "BITMAP")]
    merge: Vec<String>,
    /// Guest bytes that a bit stands for
    #[arg(short, long, value_name = "SIZE")]
    granularity: Option<String>,
    /// The image that holds the bitmaps to merge
    #[arg(short = 'b', long, value_name = "IMAGE")]
    source_file: Option<String>,
    /// Its format
    #[arg(short = 'F', long, value_name = "FORMAT")]
    source_format: Option<String>,
    /// The image, and the bitmap
    #[arg(value_names = ["IMAGE", "BITMAP"])]
    names: Vec<String>,
}

/// What is done to the bitmap.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Add,
    Remove,
    Clear,
    Enable,
    Disable,
    /// With what the bitmap of this name holds.
    Merge(String),
}

/// The options that are actions.
const ACTIONS: [(&str, Action); 5] = [
    ("add", Action::Add),
    ("remove", Action::Remove),
    ("clear", Action::Clear),
    ("enable", Action::Enable),
    ("disable", Action::Disable),
];

impl Action {
    const fn name(&self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Clear => "clear",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Merge(_) => "merge",
        }
    }
}

/// The arguments, and the actions in the order in which they stand there.
#[derive(Debug)]
struct Ordered {
    args: Args,
    actions: Vec<Action>,
}

impl FromArgMatches for Ordered {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let args = Args::from_arg_matches(matches)?;
        let mut actions: Vec<(usize, Action)> = Vec::new();
        for (name, action) in ACTIONS {
            let places = matches.indices_of(name).into_iter().flatten();
            actions.extend(places.map(|place| (place, action.clone())));
        }
        let places = matches.indices_of("merge").into_iter().flatten();
        let merges = places.zip(&args.merge).map(|(place, source)| (place, Action::Merge(source.clone())));
        actions.extend(merges);
        actions.sort_by_key(|(place, _)| *place);
        Ok(Self { args, actions: actions.into_iter().map(|(_, action)| action).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl CommandFactory for Ordered {
    fn command() -> clap::Command {
        Args::command()
    }

    fn command_for_update() -> clap::Command {
        Args::command_for_update()
    }
}

impl Parser for Ordered {}

pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> Outcome<ExitCode> {
    let Ordered { args, actions } = args::parse("bitmap", program, arguments)?;
    let [name, bitmap] = &args.names[..] else {
        return Err(Failure::new("expecting an image file name and the name of a bitmap"));
    };
    if actions.is_empty() {
        return Err(Failure::new("one of --add, --remove, --clear, --enable, --disable, --merge is needed"));
    }
    if args.granularity.is_some() && !actions.contains(&Action::Add) {
        return Err(Failure::new("a granularity goes with --add only"));
    }
    if args.source_format.is_some() && args.source_file.is_none() {
        return Err(Failure::new("a format of the other image (-F) goes with -b only"));
    }
    if args.source_file.is_some() && args.merge.is_empty() {
        return Err(Failure::new("another image (-b) goes with --merge only"));
    }
    let granularity = args.granularity.as_deref().map(|text| parse("granularity", text)).transpose()?;
    let image = args.image.named(name).open(program, Purpose { alone: true, ..Purpose::WRITE })?;
    let source = open_source(program, &args)?;
    let work = Work { image: &image, source: source.as_ref().unwrap_or(&image), bitmap, granularity };
    let done = actions.iter().try_for_each(|action| work.perform(action));
    // What was done before an action that has failed stays.
    let closed = image.close();
    done.and(closed)?;
    Ok(ExitCode::SUCCESS)
}

fn open_source(program: &str, args: &Args) -> Outcome<Option<Image>> {
    let Some(name) = &args.source_file else { return Ok(None) };
    let format = args.source_format.clone();
    let named = Named { format, image_opts: false, ..args.image.named(name) };
    named.open(program, Purpose::INSPECT).map(Some)
}

struct Work<'a> {
    image: &'a Image,
    /// Whose bitmaps are merged.
    source: &'a Image,
    bitmap: &'a str,
    granularity: Option<u64>,
}

impl Work<'_> {
    fn perform(&self, action: &Action) -> Outcome<()> {
        self.try_perform(action).map_err(|error| {
            let (action, bitmap, image) = (action.name(), self.bitmap, &self.image.name);
            Failure::new(format!("cannot {action} bitmap '{bitmap}' of '{image}': {}", in_words(&error)))
        })
    }

    fn try_perform(&self, action: &Action) -> blk_core::Result<()> {
        let name = self.bitmap;
        let bitmaps = bitmaps(self.image)?;
        match action {
            Action::Add => {
                let usual = || bitmaps.default_granularity_bytes();
                let granularity = self.granularity.filter(|bytes| *bytes != 0).unwrap_or_else(usual);
                bitmaps.add_bitmap(name, granularity, true)
            }
            Action::Remove => bitmaps.remove_bitmap(name),
            Action::Clear => bitmaps.clear_bitmap(name),
            Action::Enable => bitmaps.enable_bitmap(name, true),
            Action::Disable => bitmaps.enable_bitmap(name, false),
            Action::Merge(source) => {
                let bits = self::bitmaps(self.source)?.read_bitmap(source)?;
                let (size, of_source) = (self.image.disk.size(), self.source.disk.size());
                if size != of_source {
                    let reason =
                        format!("bitmap '{source}' is of a disk of {of_source} bytes, not of {size}");
                    return Err(Error::invalid_option("merge", reason));
                }
                bitmaps.merge_bitmap(name, &bits)
            }
        }
    }
}

fn bitmaps(image: &Image) -> blk_core::Result<&dyn Bitmaps> {
    let unsupported = || Error::unsupported("bitmaps of an image of this format");
    image.disk.as_bitmaps().ok_or_else(unsupported)
}

/// Copies what `source` has to `target`, where there are none of these names. If it `skips`, inconsistent
/// ones are left out, with a warning.
pub(super) fn copy(program: &str, source: &Image, target: &Image, skips: bool) -> Outcome<()> {
    for info in all(source)? {
        if info.is_inconsistent && skips {
            complain(program, &format!("warning: the inconsistent bitmap '{}' is left out", info.name));
            continue;
        }
        let copied = copy_one(source, target, &info);
        copied.map_err(|error| {
            Failure::new(format!("{}: bitmap '{}': {}", target.name, info.name, in_words(&error)))
        })?;
    }
    Ok(())
}

fn copy_one(source: &Image, target: &Image, info: &BitmapInfo) -> blk_core::Result<()> {
    let (bits, bitmaps) = (bitmaps(source)?.read_bitmap(&info.name)?, bitmaps(target)?);
    let (size, wanted) = (target.disk.size(), source.disk.size());
    if size != wanted {
        let reason = format!("it is of a disk of {wanted} bytes, not of {size}");
        return Err(Error::invalid_option("bitmaps", reason));
    }
    bitmaps.add_bitmap(&info.name, info.granularity_bytes, info.is_enabled)?;
    bitmaps.merge_bitmap(&info.name, &bits)
}

/// Fails where a bitmap cannot be copied from `source`: it is inconsistent, and is not skipped.
pub(super) fn check_copy(source: &Image, skips: bool) -> Outcome<()> {
    let Some(broken) = all(source)?.into_iter().find(|info| info.is_inconsistent && !skips) else {
        return Ok(());
    };
    let hint = "use --skip-broken-bitmaps to leave it out, or remove it";
    Err(Failure::new(format!("{}: bitmap '{}' is inconsistent; {hint}", source.name, broken.name)))
}

/// Fails where an image that is to have another size has a bitmap that cannot follow.
pub(super) fn check_resize(image: &Image) -> Outcome<()> {
    if image.disk.as_bitmaps().is_none() {
        return Ok(());
    }
    let Some(broken) = all(image)?.into_iter().find(|info| info.is_inconsistent) else { return Ok(()) };
    let (image, bitmap) = (&image.name, broken.name);
    Err(Failure::new(format!("{image}: bitmap '{bitmap}' is inconsistent and cannot be resized; remove it")))
}

fn all(image: &Image) -> Outcome<Vec<BitmapInfo>> {
    bitmaps(image).and_then(Bitmaps::bitmaps).map_err(|error| Failure::of(&image.name, &error))
}

/// What is wrong, with the name of the bitmap that it is about.
fn in_words(error: &Error) -> String {
    match error {
        Error::Unresolved { name, reason } => format!("'{name}': {reason}"),
        error => error.to_string(),
    }
}
