//! The program's arguments.

use std::path::PathBuf;
use std::time::Duration;

use blk_core::{Access, parse_size};
use blk_nbd::{Address, ClientOptions, Location, ServerOptions, ServerTls};
use clap::Parser;

use super::Done;
use crate::spec::{CacheMode, Object, ObjectParser, Objects, Request};

/// Where a server listens if nothing else is said: only programs on the same host reach it.
const HOST_USUAL: &str = "127.0.0.1";

/// Exports a disk image to other programs, as qemu-nbd does
#[derive(Debug, Clone, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct Arguments {
    /// Show this text
    #[arg(short, long)]
    pub(super) help: bool,
    /// Show the version
    #[arg(short = 'V', long)]
    pub(super) version: bool,
    /// Listen on this port, 10809 by default
    #[arg(short, long, value_name = "PORT")]
    port: Option<String>,
    /// Listen on this address, 127.0.0.1 by default; 0.0.0.0 for all of the host
    #[arg(short, long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// Listen on a Unix socket
    #[arg(short = 'k', long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How many clients may be connected at a time, 0 for any number
    #[arg(short = 'e', long, value_name = "NUMBER", default_value = "1", allow_hyphen_values = true)]
    shared: String,
    /// Go on when the last client has left
    #[arg(short = 't', long)]
    persistent: bool,
    /// Accepted: say more
    #[arg(short, long)]
    verbose: bool,
    /// Name of the export, empty by default
    #[arg(short = 'x', long, value_name = "NAME")]
    export_name: Option<String>,
    /// What the export is, for people
    #[arg(short = 'D', long, value_name = "TEXT")]
    description: Option<String>,
    /// How many seconds a handshake may take, 0 for any time
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    handshake_limit: u32,
    /// Export what follows this offset of the disk
    #[arg(short, long, value_name = "OFFSET")]
    offset: Option<String>,
    /// Clients may ask which layer of the chain has which bytes
    #[arg(short = 'A', long)]
    allocation_depth: bool,
    /// Export a dirty bitmap of the image
    #[arg(short = 'B', long, value_name = "NAME")]
    bitmap: Vec<String>,
    /// List what a server exports
    #[arg(short = 'L', long)]
    pub(super) list: bool,
    /// Return when the server listens, which goes on by itself
    #[arg(long)]
    pub(super) fork: bool,
    /// Write the number of the server's process into a file
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,
    /// Accepted: what is traced
    #[arg(short = 'T', long, value_name = "PATTERN")]
    trace: Vec<String>,
    /// Encrypt connections
    #[arg(long, value_name = "ID")]
    tls_creds: Option<String>,
    /// Whom to take for the server
    #[arg(long, value_name = "NAME")]
    tls_hostname: Option<String>,
    /// Who may connect
    #[arg(long, value_name = "ID")]
    tls_authz: Option<String>,
    /// Security label of the socket
    #[arg(long, value_name = "LABEL")]
    selinux_label: Option<String>,
    /// An object that options refer to
    #[arg(long, value_name = "OBJECT", value_parser = ObjectParser)]
    object: Vec<Object>,
    /// Connect the kernel's device
    #[arg(short = 'c', long, value_name = "DEVICE")]
    connect: Option<String>,
    /// Disconnect the kernel's device
    #[arg(short = 'd', long, value_name = "DEVICE")]
    disconnect: Option<String>,
    /// Format of the image; guessed from its content where it is not given
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Clients may only read
    #[arg(short, long)]
    read_only: bool,
    /// What clients write goes to a temporary overlay
    #[arg(short, long)]
    snapshot: bool,
    /// Export an internal snapshot
    #[arg(short = 'l', long, value_name = "SNAPSHOT")]
    load_snapshot: Option<String>,
    /// Pass the host's cache by
    #[arg(short, long)]
    nocache: bool,
    /// none, writeback, writethrough, directsync or unsafe
    #[arg(long, value_name = "MODE")]
    cache: Option<String>,
    /// Accepted: `threads`, `native` or `io_uring`
    #[arg(long, value_name = "MODE")]
    aio: Option<String>,
    /// What becomes of discards: unmap or ignore
    #[arg(long, value_name = "MODE")]
    discard: Option<String>,
    /// Whether written zeroes are stored as data: off, on or unmap
    #[arg(long, value_name = "MODE")]
    detect_zeroes: Option<String>,
    /// The file is an option string
    #[arg(long)]
    image_opts: bool,
    /// The image
    files: Vec<String>,
}

/// What is exported, and how.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(super) struct Plan {
    pub(super) request: Request,
    pub(super) snapshot: bool,
    pub(super) offset: Option<u64>,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) allocation_depth: bool,
    pub(super) bitmaps: Vec<String>,
    pub(super) read_only: bool,
    pub(super) persistent: bool,
    /// The process that was started by hand waits until this one listens.
    pub(super) in_background: bool,
    pub(super) server: ServerOptions,
    pub(super) pid_file: Option<PathBuf>,
}

impl Arguments {
    /// Where the server listens, or the one is that is asked.
    pub(super) fn place(&self) -> Done<Location> {
        let Some(path) = &self.socket else {
            let port = self.port.as_deref().unwrap_or("10809");
            let number =
                port.parse::<u16>().map_err(|_| format!("port '{port}' is not a number up to 65535"))?;
            let host = self.bind.clone().unwrap_or_else(|| HOST_USUAL.to_owned());
            return Ok(Location::Tcp { host, port: number });
        };
        if self.port.is_some() || self.bind.is_some() {
            return Err("a Unix socket has no port and no address".to_owned());
        }
        if !path.is_absolute() {
            return Err("socket path must be absolute".to_owned());
        }
        Ok(Location::Unix(path.clone()))
    }

    /// The address of an export there.
    pub(super) fn address(&self, place: &Location) -> Address {
        Address {
            location: place.clone(),
            export: self.export_name.clone().unwrap_or_default(),
            tls: self.tls_creds.is_some(),
        }
    }

    /// How a server that is listed is asked.
    pub(super) fn client(&self) -> Done<ClientOptions> {
        let objects = Objects::from(self.object.clone());
        let tls = self.tls_creds.as_deref().map(|id| objects.client_tls(id, self.tls_hostname.clone()));
        let tls = tls.transpose().map_err(|error| error.to_string())?;
        Ok(ClientOptions { tls, ..ClientOptions::default() })
    }

    /// How connections are encrypted.
    fn server_tls(&self) -> Done<Option<ServerTls>> {
        if self.tls_hostname.is_some() {
            return Err("TLS hostname is only supported with export list".to_owned());
        }
        let objects = Objects::from(self.object.clone());
        let tls = self.tls_creds.as_deref().map(|id| objects.server_tls(id));
        tls.transpose().map_err(|error| error.to_string())
    }

    /// Whether a list is asked for with what has nothing to do with it.
    pub(super) fn check_list(&self) -> Done<()> {
        let is_more = !self.files.is_empty() || self.format.is_some() || self.image_opts || self.read_only;
        if is_more { Err("List mode is incompatible with a file name".to_owned()) } else { Ok(()) }
    }

    /// Whether something else is asked for where the server's socket is passed on to it.
    pub(super) fn check_passed(&self) -> Done<()> {
        let others = [
            (self.socket.is_some(), "-k"),
            (self.port.is_some(), "-p"),
            (self.bind.is_some(), "-b"),
            (self.list, "--list"),
            (self.fork, "--fork"),
            (self.connect.is_some(), "-c"),
            (self.disconnect.is_some(), "-d"),
            (self.selinux_label.is_some(), "--selinux-label"),
        ];
        match others.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, option)) => {
                Err(format!("{option}: the socket is passed on to this process (LISTEN_FDS)"))
            }
            None => Ok(()),
        }
    }

    fn check_possible(&self) -> Done<()> {
        if self.tls_authz.is_some() && self.tls_creds.is_none() {
            return Err("--tls-authz is not permitted without --tls-creds".to_owned());
        }
        let missing = [
            (
                self.tls_authz.is_some(),
                "access by the name in a certificate (--tls-authz): certificates of clients are held against the \
                 authority alone (verify-peer)",
            ),
            (self.connect.is_some() || self.disconnect.is_some(), "devices of the kernel (-c, -d)"),
            (self.selinux_label.is_some(), "labels of SELinux (--selinux-label)"),
        ];
        match missing.into_iter().find(|(is_wanted, _)| *is_wanted) {
            Some((_, what)) => Err(format!("not supported: {what}")),
            None => Ok(()),
        }
    }

    /// What is exported.
    pub(super) fn plan(&self) -> Done<Plan> {
        self.check_possible()?;
        let [file] = &self.files[..] else { return Err("Invalid number of arguments".to_owned()) };
        if self.image_opts && self.format.is_some() {
            return Err("--image-opts and -f are mutually exclusive".to_owned());
        }
        if let Some(aio) = self.aio.as_deref().filter(|aio| !["threads", "native", "io_uring"].contains(aio))
        {
            return Err(format!("Invalid aio mode '{aio}'"));
        }
        let Ok(shared) = self.shared.parse::<usize>() else {
            return Err(format!("Invalid shared device number '{}'", self.shared));
        };
        let offset = self
            .offset
            .as_deref()
            .map(|text| parse_size(text).map_err(|_| format!("Invalid offset '{text}'")));
        let handshake = Duration::from_secs(self.handshake_limit.into());
        let server = ServerOptions {
            connections_max: shared,
            handshake_time: Some(handshake).filter(|time| !time.is_zero()),
            tls: self.server_tls()?,
            ..ServerOptions::default()
        };
        Ok(Plan {
            request: self.request(file)?,
            snapshot: self.snapshot,
            offset: offset.transpose()?,
            name: self.export_name.clone().unwrap_or_default(),
            description: self.description.clone().unwrap_or_default(),
            allocation_depth: self.allocation_depth,
            bitmaps: self.bitmap.clone(),
            read_only: self.read_only,
            persistent: self.persistent,
            in_background: self.fork,
            server,
            pid_file: self.pid_file.clone(),
        })
    }

    fn request(&self, file: &str) -> Done<Request> {
        let mut cache = match (&self.cache, self.nocache) {
            (Some(_), true) => return Err("-n and --cache can only be specified once".to_owned()),
            (Some(mode), false) => mode.parse().map_err(|_| format!("Invalid cache mode `{mode}'"))?,
            (None, _) => CacheMode::default(),
        };
        cache.direct |= self.nocache;
        let discard = match self.discard.as_deref() {
            None => None,
            Some("unmap" | "on") => Some(true),
            Some("ignore" | "off") => Some(false),
            Some(mode) => return Err(format!("Invalid discard mode `{mode}'")),
        };
        let mut options = blk_core::Options::new();
        if let Some(mode) = &self.detect_zeroes {
            if !["off", "on", "unmap"].contains(&mode.as_str()) {
                return Err(format!("Failed to parse detect_zeroes mode: invalid parameter value: {mode}"));
            }
            if mode == "unmap" && discard != Some(true) {
                let reason = "is not allowed without setting discard operation to unmap";
                return Err(format!("setting detect-zeroes to unmap {reason}"));
            }
            options.set("detect-zeroes", mode.as_str());
        }
        if let Some(snapshot) = &self.load_snapshot {
            for (name, value) in crate::snapshots::selection(snapshot)? {
                options.set(&name, value);
            }
        }
        let is_read = self.read_only || self.snapshot || self.load_snapshot.is_some();
        Ok(Request {
            name: file.to_owned(),
            image_opts: self.image_opts,
            format: self.format.clone(),
            options,
            access: if is_read { Access::ReadOnly } else { Access::ReadWrite },
            cache,
            discard,
            objects: self.object.clone().into(),
            ..Request::default()
        })
    }
}
