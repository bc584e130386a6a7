//! Nodes of a server: `nbd://HOST:PORT/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`, or options.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use blk_core::storage::DiskStorage;
use blk_core::{Access, Result, Storage};
use blk_nbd::{Address, ClientOptions, ClientTls, Location};

use super::file::FileId;
use super::objects::{Objects, certificates};
use super::options::NodeOptions;
use super::server::Export;

/// Longest time that may be given, seconds: a day.
const TIME_S_MAX: u64 = 24 * 60 * 60;

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trust {
    /// From an object of the command line.
    Object(String),
    /// From a folder.
    Folder(PathBuf),
}

/// An export of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NbdNode {
    address: Address,
    /// Whom to believe that it is the server, if the connection is encrypted.
    trust: Option<Trust>,
    /// The name in the server's certificate, if it is not the host's.
    tls_hostname: Option<String>,
    /// The context whose dirty bytes are shown as data.
    dirty_bitmap: Option<String>,
    /// How long connecting may take.
    open_timeout: Option<Duration>,
    /// How long requests wait for another connection when one is lost.
    reconnect_delay: Option<Duration>,
}

/// Enters what a name says.
pub(super) fn take_name(name: &str, options: &mut NodeOptions) -> Result<()> {
    let address = Address::parse(name)?;
    match address.location {
        Location::Unix(path) => {
            options.fill("server.type", "unix");
            options.fill("server.path", path.to_string_lossy().as_ref());
        }
        Location::Tcp { host, port } => {
            options.fill("server.type", "inet");
            options.fill("server.host", host.as_str());
            options.fill("server.port", port.to_string().as_str());
        }
    }
    if !address.export.is_empty() {
        options.fill("export", address.export.as_str());
    }
    if address.tls {
        options.fill("x-tls", "on");
        for (parameter, option) in
            [("tls-certificates", "x-tls-certificates"), ("tls-hostname", "tls-hostname")]
        {
            if let Some(value) = Address::parameter(name, parameter)? {
                options.fill(option, value.as_str());
            }
        }
    }
    Ok(())
}

impl NbdNode {
    pub(super) fn take(options: &mut NodeOptions) -> Result<Self> {
        let location = take_location(options)?;
        let export = options.take_text("export").unwrap_or_default();
        let trust = take_trust(options)?;
        let wants_tls = options.take_switch("x-tls")?.unwrap_or(false);
        let tls_hostname = options.take_text("tls-hostname");
        let dirty_bitmap = options.take_text("x-dirty-bitmap");
        let open_timeout = options.take_number("open-timeout", TIME_S_MAX)?.filter(|seconds| *seconds > 0);
        let reconnect = options.take_number("reconnect-delay", TIME_S_MAX)?.filter(|seconds| *seconds > 0);
        let reconnect_delay = reconnect.map(Duration::from_secs);
        let open_timeout = open_timeout.map(Duration::from_secs);
        let address = Address { location, export, tls: wants_tls || trust.is_some() };
        if tls_hostname.is_some() && !address.tls {
            return Err(options.bad("tls-hostname", "the connection is not encrypted ('tls-creds')"));
        }
        Ok(Self { address, trust, tls_hostname, dirty_bitmap, open_timeout, reconnect_delay })
    }

    /// What tells it from files, and from other exports.
    pub(super) fn id(&self) -> FileId {
        /// No file system has it.
        const DEVICE: u64 = u64::MAX;
        let mut hasher = DefaultHasher::new();
        self.address.hash(&mut hasher);
        (DEVICE, hasher.finish())
    }

    /// Which disk it is, however the address is spelled.
    pub(super) fn export(&self) -> Export {
        Export::of(&self.address)
    }

    /// The name that says the same, if there is one.
    pub(super) fn name(&self) -> Option<String> {
        let has_times = self.open_timeout.is_some() || self.reconnect_delay.is_some();
        let is_plain = self.dirty_bitmap.is_none() && !has_times && !self.address.tls;
        is_plain.then(|| self.address.to_string())
    }

    /// Connects to the server.
    pub(super) fn open(&self, access: Access, objects: &Objects) -> Result<Arc<dyn Storage>> {
        let mut options =
            ClientOptions { dirty_context: self.dirty_bitmap.clone(), ..ClientOptions::default() };
        options.connect_time = self.open_timeout.or(options.connect_time);
        options.reconnect_time = self.reconnect_delay;
        options.tls = match &self.trust {
            None => None,
            Some(Trust::Object(id)) => Some(objects.client_tls(id, self.tls_hostname.clone())?),
            Some(Trust::Folder(folder)) => {
                Some(ClientTls::new(&certificates(folder, false)?, self.tls_hostname.clone())?)
            }
        };
        let disk = blk_nbd::connect(&self.address, access, &options)?;
        Ok(Arc::new(DiskStorage::new(Arc::new(disk))))
    }
}

/// Whom to believe, by an object of QEMU's kind or a folder as libnbd has it.
fn take_trust(options: &mut NodeOptions) -> Result<Option<Trust>> {
    let object = options.take_text("tls-creds");
    match (object, options.take_text("x-tls-certificates")) {
        (Some(_), Some(_)) => Err(options.bad("tls-creds", "certificates are given by the address, too")),
        (Some(id), None) => Ok(Some(Trust::Object(id))),
        (None, folder) => Ok(folder.map(|folder| Trust::Folder(folder.into()))),
    }
}

/// Where the server is: under `server`, or by the older names beside it.
fn take_location(options: &mut NodeOptions) -> Result<Location> {
    let old = [("path", "server.path"), ("host", "server.host"), ("port", "server.port")];
    let mut is_old = false;
    for (old, new) in old {
        if let Some(text) = options.take_text(old) {
            if options.has(new) || options.has("server.type") {
                return Err(options.bad(old, format!("'{new}' says the same")));
            }
            options.set(new, text.as_str());
            is_old = true;
        }
    }
    if is_old {
        options.set("server.type", if options.has("server.path") { "unix" } else { "inet" });
    }
    match options.take_choice("server.type", &[("unix", true), ("inet", false)])? {
        None => Err(options.bad("server.type", "it is missing: unix or inet")),
        Some(true) => match options.take_text("server.path") {
            Some(path) if !path.is_empty() => Ok(Location::Unix(path.into())),
            _ => Err(options.bad("server.path", "it is missing")),
        },
        Some(false) => {
            let Some(host) = options.take_text("server.host").filter(|host| !host.is_empty()) else {
                return Err(options.bad("server.host", "it is missing"));
            };
            let port = options.take_text("server.port").unwrap_or_else(|| "10809".to_owned());
            match port.parse::<u16>() {
                Ok(port) if port > 0 => Ok(Location::Tcp { host, port }),
                _ => Err(options.bad("server.port", format!("'{port}' is not a number from 1 to 65535"))),
            }
        }
    }
}
