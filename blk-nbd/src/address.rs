//! Where a server listens, and which of its exports is meant.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::wire::STRING_BYTES_MAX;
use blk_core::{Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The port that is registered for NBD.
const PORT_USUAL: u16 = 10809;
/// What stands for itself in a path of a URI.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A host by its name or number, and a port.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Location {
    /// The host that a certificate has to name: of a socket in the file system it is this one.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "localhost",
            Self::Tcp { host, .. } => host,
        }
    }
}

/// A server, and the name of one of its exports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The server.
    pub location: Location,
    /// The export; the empty name is the server's default one.
    pub export: String,
    /// The connection has to be encrypted.
    pub tls: bool,
}

impl Address {
    /// An export of a server on a Unix socket.
    pub fn unix(path: impl Into<PathBuf>, export: impl Into<String>) -> Self {
        Self { location: Location::Unix(path.into()), export: export.into(), tls: false }
    }

    /// Whether a name is meant as an address of this protocol.
    pub fn is_meant_by(name: &str) -> bool {
        ["nbd:", "nbd+", "nbds:", "nbds+"].iter().any(|scheme| name.starts_with(scheme))
    }

    /// Reads an address: `nbd://HOST:PORT/EXPORT`, `nbd+unix:///EXPORT?socket=PATH` (`nbds` for encrypted
    /// ones), or in QEMU's older form, `nbd:HOST:PORT:exportname=EXPORT`, `nbd:unix:PATH:exportname=EXPORT`.
    ///
    /// # Errors
    /// [`Error::Unresolved`] that says what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = match text.split_once("://") {
            Some((scheme, rest)) => uri(scheme, rest),
            None => legacy(text),
        };
        let parsed = parsed.and_then(|address| match address.export.len() {
            0..=STRING_BYTES_MAX => Ok(address),
            bytes => Err(format!("the name of an export has at most {STRING_BYTES_MAX} bytes, not {bytes}")),
        });
        parsed.map_err(|reason| Error::Unresolved { name: text.to_owned(), reason })
    }
}

impl Address {
    /// What the query of a URI says, such as `tls-certificates`: parameters beside `socket` are for programs,
    /// and no part of the address.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where it is given twice, without a value, or as what is no text.
    pub fn parameter(text: &str, name: &str) -> Result<Option<String>> {
        let query =
            text.split_once('#').map_or(text, |(text, _)| text).split_once('?').map(|(_, query)| query);
        let found = query.filter(|_| text.contains("://")).map_or(Ok(None), |query| parameter(query, name));
        found.map_err(|reason| Error::Unresolved { name: text.to_owned(), reason })
    }
}

/// What is wrong with an address, in words.
type Parsed<T> = std::result::Result<T, String>;

fn uri(scheme: &str, rest: &str) -> Parsed<Address> {
    let (is_unix, tls) = match scheme {
        "nbd" | "nbd+tcp" => (false, false),
        "nbds" | "nbds+tcp" => (false, true),
        "nbd+unix" => (true, false),
        "nbds+unix" => (true, true),
        _ => return Err(format!("'{scheme}' is none of nbd, nbds, nbd+unix, nbds+unix")),
    };
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let export = decoded(path)?;
    let socket = parameter(query, "socket")?;
    let location = match (is_unix, socket) {
        (true, Some(socket)) if authority.is_empty() => Location::Unix(socket.into()),
        (true, Some(_)) => return Err(format!("a Unix socket is not on a host, but '{authority}' is given")),
        (true, None) => return Err("the socket is missing: ?socket=PATH".to_owned()),
        (false, Some(_)) => return Err("a socket is given: the scheme is nbd+unix then".to_owned()),
        (false, None) => {
            let (host, port) = host_and_port(authority)?;
            Location::Tcp { host, port: port.unwrap_or(PORT_USUAL) }
        }
    };
    Ok(Address { location, export, tls })
}

fn decoded(text: &str) -> Parsed<String> {
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    if bytes.contains(&0) {
        return Err(format!("'{text}' has a zero byte"));
    }
    String::from_utf8(bytes).map_err(|_| format!("'{text}' is no UTF-8"))
}

fn parameter(query: &str, name: &str) -> Parsed<Option<String>> {
    let mut found = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key != name {
            // Others are for programs, such as tls-certificates.
            continue;
        }
        if value.is_empty() || found.is_some() {
            return Err(format!("'{name}' is given once, with a value"));
        }
        found = Some(decoded(value)?);
    }
    Ok(found)
}

/// A host, which has brackets where it is a number with colons, and a port.
fn host_and_port(text: &str) -> Parsed<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| format!("'{text}' lacks a bracket"))?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(format!("'{rest}' follows the host")),
            }
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.filter(|port| !port.is_empty());
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("port '{port}' is not a number from 1 to 65535")),
    });
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    Ok((decoded(host)?, port.transpose()?))
}

fn legacy(text: &str) -> Parsed<Address> {
    let rest = text.strip_prefix("nbd:").ok_or_else(|| format!("'{text}' does not begin with nbd:"))?;
    let (place, export) = rest.split_once(":exportname=").unwrap_or((rest, ""));
    let location = match place.strip_prefix("unix:") {
        Some("") => return Err("the path of the socket is missing".to_owned()),
        Some(path) => Location::Unix(path.into()),
        None => match host_and_port(place)? {
            (host, Some(port)) => Location::Tcp { host, port },
            (_, None) => return Err("the port is missing".to_owned()),
        },
    };
    Ok(Address { location, export: export.to_owned(), tls: false })
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// As a URI.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "nbds" } else { "nbd" };
        let export = utf8_percent_encode(&self.export, PATH);
        match &self.location {
            Location::Unix(path) => write!(f, "{scheme}+unix:///{export}?socket={}", encoded(path)),
            place @ Location::Tcp { port: PORT_USUAL, .. } => {
                let place = place.to_string();
                let host = place.strip_suffix(&format!(":{PORT_USUAL}")).unwrap_or(&place);
                write!(f, "{scheme}://{host}/{export}")
            }
            place @ Location::Tcp { .. } => write!(f, "{scheme}://{place}/{export}"),
        }
    }
}

fn encoded(path: &Path) -> String {
    utf8_percent_encode(&path.to_string_lossy(), PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, export: &str) -> Address {
        let location = Location::Tcp { host: host.to_owned(), port };
        Address { location, export: export.to_owned(), tls: false }
    }

    #[test]
    fn addresses_in_all_forms() {
        let secure = |address: Address| Address { tls: true, ..address };
        for (text, expected) in [
            ("nbd://localhost", tcp("localhost", 10809, "")),
            ("nbd://localhost/", tcp("localhost", 10809, "")),
            ("nbd://localhost:/a", tcp("localhost", 10809, "a")),
            ("nbd://h:7/a/b%20c", tcp("h", 7, "a/b c")),
            ("nbd://h:7//a", tcp("h", 7, "/a")),
            ("nbds://h/a", secure(tcp("h", 10809, "a"))),
            ("nbd://[::1]:7/a", tcp("::1", 7, "a")),
            ("nbd://[::1]", tcp("::1", 10809, "")),
            ("nbd+unix:///?socket=/run/s", Address::unix("/run/s", "")),
            ("nbd+unix:///x?a=b&socket=/run/a%26b#c", Address::unix("/run/a&b", "x")),
            ("nbds+unix:///x?socket=s", secure(Address::unix("s", "x"))),
            ("nbd:h:7", tcp("h", 7, "")),
            ("nbd:[::1]:7:exportname=a:b", tcp("::1", 7, "a:b")),
            ("nbd:unix:/run/s", Address::unix("/run/s", "")),
            ("nbd:unix:/run/s:exportname=x", Address::unix("/run/s", "x")),
        ] {
            let parsed = Address::parse(text).unwrap();
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(Address::parse(&parsed.to_string()).unwrap(), expected, "{text}: {parsed}");
            assert!(Address::is_meant_by(text));
        }
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong() {
        for (text, said) in [
            ("nbd://", "the host is missing"),
            ("nbd://:7/a", "the host is missing"),
            ("nbd://h:0", "port '0' is not a number from 1 to 65535"),
            ("nbd://h:65536", "port '65536'"),
            ("nbd://h:x", "port 'x'"),
            ("nbd://[::1/a", "lacks a bracket"),
            ("nbd://[::1]x/a", "'x' follows the host"),
            ("nbd://h/a?socket=/x", "nbd+unix"),
            ("nbd+unix:///a", "?socket=PATH"),
            ("nbd+unix:///a?socket=", "once, with a value"),
            ("nbd+unix:///a?socket=x&socket=y", "once, with a value"),
            ("nbd+unix://host/a?socket=x", "'host' is given"),
            ("nbd+vsock://1/", "'nbd+vsock' is none of"),
            ("nbd://h/%00", "zero byte"),
            ("nbd://h/%ff", "no UTF-8"),
            ("nbd:h", "the port is missing"),
            ("nbd:unix:", "the path of the socket is missing"),
            ("nbd:", "the host is missing"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(Address::parse(&format!("nbd://h/{}", "x".repeat(4097))).is_err());
    }
}
