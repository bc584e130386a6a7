//! Options read into a tree of nodes. Pure: nothing is opened, every name and value is checked.

mod qemu;

use blk_core::{Options, Result};

use super::complete::complete_at;
use super::limits::Limits;
use super::nbd::NbdNode;
use super::options::{NodeOptions, Value};
use super::rules::Rules;
use super::server::Export;
use crate::formats;
use crate::img::size::DISK_BYTES_MAX;

/// Size of `null-co` where none is given, in bytes.
const NULL_SIZE_DEFAULT: u64 = 1 << 30;
/// Longest delay of a request on `null-co`: a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// A node: a driver with its options and the nodes below it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) common: Common,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A file or a block device; only the latter where it has to be one.
    File { name: String, locking: Locking, is_device: bool },
    /// Nothing is stored.
    Null { size: u64, read_zeroes: bool, latency_ns: u64 },
    /// An export of a server.
    Nbd(NbdNode),
    /// Rules before another node; `config` is a file of rules.
    Debug { image: Box<Node>, config: Option<String>, rules: Rules, limits: Limits },
    /// Two nodes that must answer the same.
    Verify { raw: Box<Node>, test: Box<Node> },
    /// An image format over a storage.
    Format(Format),
    /// A filter over an image.
    Filter { driver: FilterDriver, file: Box<Node> },
    /// An image whose format is yet to be found out; its options are read then.
    Probe { options: NodeOptions, file: Box<Node> },
}

/// A filter over an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FilterDriver {
    /// What is written is stored compressed.
    Compress,
    /// What is read from backing files is kept in the image.
    CopyOnRead,
    /// The limits of a group, which are ignored.
    Throttle { group: String },
}

impl FilterDriver {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Compress => "compress",
            Self::CopyOnRead => "copy-on-read",
            Self::Throttle { .. } => "throttle",
        }
    }
}

/// An image format over a storage.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Format {
    pub(crate) driver: &'static str,
    /// What the format's own open takes.
    pub(crate) options: Options,
    pub(crate) file: Box<Node>,
    pub(crate) backing: Backing,
    /// The data file, in place of the one that the image names.
    pub(crate) data_file: Option<Box<Node>>,
}

/// What lies below an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Backing {
    /// Nothing, whatever the image says.
    None,
    /// What the image says; these options come on top.
    FromImage(NodeOptions),
}

/// Options that every node has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) read_only: Option<bool>,
    pub(crate) auto_read_only: bool,
    pub(crate) force_share: bool,
    pub(crate) detect_zeroes: DetectZeroes,
    /// Whether discards do anything; `None` for the node above, or the program, to say.
    pub(crate) discard: Option<bool>,
    /// Whether flushes do nothing; `None` for the node above, or the program, to say.
    pub(crate) no_flush: Option<bool>,
}

/// Whether written zeroes become a request to zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DetectZeroes {
    #[default]
    Off,
    /// They do, and stay allocated.
    On,
    /// They do, and may give space back.
    Unmap,
}

/// Whether files are locked against other programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Locking {
    /// Where the file system can.
    #[default]
    Auto,
    /// Always: a file system that cannot is an error.
    On,
    /// Never.
    Off,
}

impl Node {
    /// Reads the options of a node.
    pub(crate) fn parse(options: NodeOptions) -> Result<Self> {
        Self::parse_at(options, Role::Image, 0)
    }

    fn parse_at(mut options: NodeOptions, role: Role, depth: usize) -> Result<Self> {
        options = complete_at(None, options, role, depth)?;
        let Some(driver) = options.take_text("driver") else {
            return Self::probe(options, depth);
        };
        if formats::registry().find(&driver).is_ok() {
            return Self::format(&driver, options, depth);
        }
        let common = Common::take(&mut options)?;
        let kind = match driver.as_str() {
            "file" | "host_device" => take_file(&mut options, driver == "host_device")?,
            "null-co" | "null-aio" => take_null(&mut options)?,
            "blkdebug" => take_debug(&mut options, depth)?,
            "blkverify" => {
                let raw = Box::new(take_child(&mut options, "raw", Role::Storage, depth)?);
                Kind::Verify { raw, test: Box::new(take_child(&mut options, "test", Role::Image, depth)?) }
            }
            "compress" | "copy-on-read" | "throttle" => take_filter(&driver, &mut options, depth)?,
            "nbd" => Kind::Nbd(NbdNode::take(&mut options)?),
            _ => return Err(options.bad("driver", format!("'{driver}' is unknown"))),
        };
        options.finish(&driver)?;
        Ok(Self { common, kind })
    }

    /// An image whose format is not given. What it lies in has no format that could be found out.
    fn probe(mut options: NodeOptions, depth: usize) -> Result<Self> {
        if !options.has_below("file") {
            return Err(options.bad("driver", "neither a driver nor a file is given"));
        }
        let common = Common::take(&mut options)?;
        let file = Box::new(take_child(&mut options, "file", Role::Storage, depth)?);
        Ok(Self { common, kind: Kind::Probe { options, file } })
    }

    fn format(driver: &str, mut options: NodeOptions, depth: usize) -> Result<Self> {
        let common = Common::take(&mut options)?;
        let file = Box::new(take_child(&mut options, "file", Role::Storage, depth)?);
        Ok(Self { common, kind: Kind::Format(Format::over(driver, options, file)?) })
    }
}

impl Format {
    /// An image of a format that is known, or has been found out, over `file`.
    pub(crate) fn over(driver: &str, mut options: NodeOptions, file: Box<Node>) -> Result<Self> {
        qemu::translate(driver, &mut options)?;
        let format = formats::registry().find(driver)?;
        let takes_backing = format.open_options().iter().any(|option| option.name == "backing");
        let backing = if takes_backing { take_backing(&mut options)? } else { take_no_backing(&mut options) };
        let data_file = take_data_file(format, &mut options)?;
        let mut passed = Options::new();
        if let Some(node) = &data_file {
            passed.set(DATA_FILE, node.name().unwrap_or_else(|| "json:{}".to_owned()));
        }
        if takes_backing && backing == Backing::None {
            passed.set("backing", "off");
        }
        for option in format.open_options() {
            if let Some(value) = options.take_by(option)? {
                passed.set(option.name, value.to_string());
            }
        }
        options.finish(driver)?;
        Ok(Self { driver: format.name(), options: passed, file, backing, data_file })
    }

    /// Whether the options decide what the disk shows, so that the name of the file alone would be another
    /// disk.
    fn selects_content(&self) -> bool {
        let has_backing = matches!(&self.backing, Backing::FromImage(options) if !options.is_empty());
        let selects =
            |name: &str| formats::open_option(self.driver, name).is_some_and(|option| option.selects_content);
        has_backing || self.options.clone().into_iter().any(|(name, _)| selects(&name))
    }
}

/// The option of formats whose guest data may lie in another file.
pub(super) const DATA_FILE: &str = "data-file";

/// The data file is a node of its own.
fn take_data_file(format: &dyn blk_core::Format, options: &mut NodeOptions) -> Result<Option<Box<Node>>> {
    let is_known = format.open_options().iter().any(|option| option.name == DATA_FILE);
    if !is_known || !options.has(DATA_FILE) {
        return Ok(None);
    }
    take_child(options, DATA_FILE, Role::Storage, 0).map(|node| Some(Box::new(node)))
}

fn take_backing(options: &mut NodeOptions) -> Result<Backing> {
    let below = options.take_below("backing");
    match options.take("backing") {
        None => Ok(Backing::FromImage(below)),
        Some(_) if !below.is_empty() => {
            Err(options.bad("backing", "it is given as a value and as a node with options"))
        }
        Some(Value::Null) => Ok(Backing::None),
        Some(Value::Text(text)) if text.is_empty() => Ok(Backing::None),
        Some(Value::Text(text)) => {
            let reason =
                format!("'{text}': there are no other nodes to refer to by name; null means no backing file");
            Err(options.bad("backing", reason))
        }
    }
}

/// There is none, which may be said.
fn take_no_backing(options: &mut NodeOptions) -> Backing {
    if options.peek("backing").is_none_or(str::is_empty) {
        options.take("backing");
    }
    Backing::None
}

/// What a name without a driver stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Bytes: a protocol.
    Storage,
    /// A disk, whose format is found out.
    Image,
}

fn take_child(options: &mut NodeOptions, name: &str, role: Role, depth: usize) -> Result<Node> {
    if let Some(value) = options.take(name) {
        let given = if let Value::Text(text) = value { text } else { "null".to_owned() };
        return Err(options.bad(name, format!("'{given}': there are no other nodes to refer to by name")));
    }
    let below = options.take_below(name);
    if below.is_empty() {
        return Err(options.bad(name, "it is missing"));
    }
    Node::parse_at(below, role, depth + 1)
}

impl Node {
    /// The name of the file at the bottom, if there is one.
    pub(crate) fn file_name(&self) -> Option<&str> {
        match &self.kind {
            Kind::File { name, .. } => Some(name),
            Kind::Debug { image: inner, .. }
            | Kind::Probe { file: inner, .. }
            | Kind::Filter { file: inner, .. } => inner.file_name(),
            Kind::Format(format) => format.file.file_name(),
            Kind::Null { .. } | Kind::Nbd(_) | Kind::Verify { .. } => None,
        }
    }

    /// The disk of a server at the bottom, if it lies on one.
    pub(super) fn export(&self) -> Option<Export> {
        match &self.kind {
            Kind::Nbd(nbd) => Some(nbd.export()),
            Kind::Debug { image: inner, .. }
            | Kind::Probe { file: inner, .. }
            | Kind::Filter { file: inner, .. } => inner.export(),
            Kind::Format(format) => format.file.export(),
            Kind::File { .. } | Kind::Null { .. } | Kind::Verify { .. } => None,
        }
    }

    /// The file name that says the same as the node, if there is one.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.kind {
            Kind::File { name, .. } => Some(name.clone()),
            Kind::Null { size: NULL_SIZE_DEFAULT, read_zeroes: false, latency_ns: 0 } => {
                Some("null-co://".to_owned())
            }
            Kind::Debug { image, config, rules, limits }
                if *rules == Rules::default() && *limits == Limits::default() =>
            {
                Some(format!("blkdebug:{}:{}", config.as_deref().unwrap_or_default(), image.name()?))
            }
            Kind::Nbd(nbd) => nbd.name(),
            Kind::Null { .. } | Kind::Debug { .. } | Kind::Filter { .. } => None,
            Kind::Verify { raw, test } => Some(format!("blkverify:{}:{}", raw.name()?, test.name()?)),
            Kind::Format(format) if format.selects_content() => None,
            Kind::Format(format) => format.file.name(),
            Kind::Probe { file, .. } => file.name(),
        }
    }
}

impl Common {
    fn take(options: &mut NodeOptions) -> Result<Self> {
        let detect_zeroes = options.take_choice(
            "detect-zeroes",
            &[("off", DetectZeroes::Off), ("on", DetectZeroes::On), ("unmap", DetectZeroes::Unmap)],
        )?;
        let discard = options
            .take_choice("discard", &[("unmap", true), ("on", true), ("ignore", false), ("off", false)])?;
        let detect_zeroes = detect_zeroes.unwrap_or_default();
        if detect_zeroes == DetectZeroes::Unmap && discard == Some(false) {
            return Err(options.bad("detect-zeroes", "unmap needs discard=unmap"));
        }
        // Going past the host's cache changes speed, not content: it is accepted and left to the host. A
        // node's name is for others to refer to it, and there are none.
        options.take_switch("cache.direct")?;
        options.take_text("node-name");
        let read_only = options.take_switch("read-only")?;
        let force_share = options.take_switch("force-share")?.unwrap_or(false);
        Ok(Self {
            read_only,
            auto_read_only: options.take_switch("auto-read-only")?.unwrap_or(false),
            force_share,
            detect_zeroes,
            discard,
            no_flush: options.take_switch("cache.no-flush")?,
        })
    }
}

fn take_file(options: &mut NodeOptions, is_device: bool) -> Result<Kind> {
    let name = options.take_text("filename").unwrap_or_default();
    if name.is_empty() {
        return Err(options.bad("filename", "the driver 'file' needs the name of a file"));
    }
    let locking = options
        .take_choice("locking", &[("auto", Locking::Auto), ("on", Locking::On), ("off", Locking::Off)])?;
    // How the host is asked is one and the same for drivers that wait for the answer.
    options.take_choice("aio", &[("threads", ()), ("native", ()), ("io_uring", ())])?;
    Ok(Kind::File { name, locking: locking.unwrap_or_default(), is_device })
}

fn take_null(options: &mut NodeOptions) -> Result<Kind> {
    let size = options.take_size("size")?.unwrap_or(NULL_SIZE_DEFAULT);
    if size > DISK_BYTES_MAX {
        return Err(options.bad("size", format!("{size} is larger than any disk can be")));
    }
    let latency_ns = options.take_number("latency-ns", LATENCY_NS_MAX)?.unwrap_or(0);
    let read_zeroes = options.take_switch("read-zeroes")?.unwrap_or(false);
    Ok(Kind::Null { size, read_zeroes, latency_ns })
}

fn take_debug(options: &mut NodeOptions, depth: usize) -> Result<Kind> {
    let image = Box::new(take_child(options, "image", Role::Storage, depth)?);
    let config = options.take_text("config");
    let rules = Rules::take(options)?;
    let limits = Limits::take(options)?;
    Ok(Kind::Debug { image, config, rules, limits })
}

fn take_filter(driver: &str, options: &mut NodeOptions, depth: usize) -> Result<Kind> {
    let driver = match driver {
        "compress" => FilterDriver::Compress,
        "copy-on-read" => {
            if options.has("bottom") {
                return Err(options.bad("bottom", "there are no other nodes to refer to by name"));
            }
            FilterDriver::CopyOnRead
        }
        _ => match options.take_text("throttle-group") {
            Some(group) => FilterDriver::Throttle { group },
            None => return Err(options.bad("throttle-group", "it is missing")),
        },
    };
    // What lies below has no format that could be found out.
    Ok(Kind::Filter { driver, file: Box::new(take_child(options, "file", Role::Storage, depth)?) })
}

#[cfg(test)]
mod tests;
