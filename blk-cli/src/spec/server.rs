//! Which disk of a server is meant, however its address is spelled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use std::sync::Arc;

use blk_core::{Access, Error, Result, Storage};
use blk_nbd::{Address, Location};

use super::file::OpenFile;
use super::nbd::NbdNode;
use super::open::Opener;
use super::place::Place;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Listens {
    /// At the socket that all these names lead to.
    Socket(Place),
    /// All addresses that the name of the host stands for.
    Network(Vec<SocketAddr>),
    /// Nobody can tell: only the same words mean the same.
    Words,
}

/// An export of a server. Whether the connection is encrypted is no part of it.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    address: Address,
    listens: Listens,
}

impl Export {
    /// Looks up what the names in the address stand for.
    pub(crate) fn of(address: &Address) -> Self {
        let listens = match &address.location {
            Location::Unix(path) => Place::of_path(path).map_or(Listens::Words, Listens::Socket),
            Location::Tcp { host, port } => match (host.as_str(), *port).to_socket_addrs() {
                Ok(found) => Listens::Network(found.map(plain).collect()),
                Err(_) => Listens::Words,
            },
        };
        Self { address: address.clone(), listens }
    }

    /// Whether both are the same disk. The empty name is the export of a server that has one alone, whatever
    /// the server calls it: it may be any.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (one, another) = (&self.address, &other.address);
        let is_same_export =
            one.export == another.export || one.export.is_empty() || another.export.is_empty();
        let meets = match (&self.listens, &other.listens) {
            (Listens::Socket(one), Listens::Socket(other)) => one.overlaps(other),
            (Listens::Network(one), Listens::Network(other)) => one.iter().any(|at| other.contains(at)),
            _ => false,
        };
        is_same_export && (meets || one.location == another.location)
    }
}

/// What is in use, which keeps no connection, and its bytes.
type OpenExport = (Arc<OpenFile>, Arc<dyn Storage>);

impl Opener {
    /// An export of a server, unless it is in use; what is written goes elsewhere where files stay as they
    /// are.
    pub(super) fn export(&self, nbd: &NbdNode, name: String, access: Access) -> Result<OpenExport> {
        // A server that has one client at a time would not answer another: what is in use is known without.
        let file = OpenFile::on_server(name, nbd.id(), nbd.export(), access);
        self.check_new(&file)?;
        Ok((Arc::new(file), self.connected(nbd, access)?))
    }

    fn connected(&self, nbd: &NbdNode, access: Access) -> Result<Arc<dyn Storage>> {
        let Some(scratch) = &self.scratch else { return nbd.open(access, &self.objects) };
        if let Some(storage) = scratch.find(nbd.id()) {
            return Ok(storage);
        }
        let storage = nbd.open(Access::ReadOnly, &self.objects)?;
        if access == Access::ReadWrite { scratch.add(nbd.id(), storage) } else { Ok(storage) }
    }

    /// What is opened is none of the images above, and nothing else that is in use, if either is written.
    pub(super) fn check_new(&self, file: &OpenFile) -> Result<()> {
        if self.above.iter().any(|above| file.is_same(above)) {
            let reason = "the chain of backing files comes back to it".to_owned();
            return Err(Error::Unresolved { name: file.name().to_owned(), reason });
        }
        file.check_apart(&self.in_use)
    }
}

/// Every way to this host is one.
fn plain(at: SocketAddr) -> SocketAddr {
    let ip = at.ip().to_canonical();
    let is_here = ip.is_loopback() || ip.is_unspecified();
    SocketAddr::new(if is_here { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip }, at.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_same(one: &str, other: &str) -> bool {
        let export = |name: &str| Export::of(&Address::parse(name).unwrap());
        export(one).is_same(&export(other))
    }

    #[test]
    fn spellings_of_one_server_are_one() {
        for other in ["nbd://localhost:9/", "nbd:127.0.0.1:9", "nbds://[::1]:9/", "nbd://127.1.2.3:9/a"] {
            assert!(is_same("nbd://127.0.0.1:9/", other), "{other}");
        }
        assert!(is_same("nbd://no-such-host.invalid:9/a", "nbd:no-such-host.invalid:9:exportname=a"));
        for other in ["nbd://127.0.0.1:8/a", "nbd://192.0.2.1:9/a", "nbd://127.0.0.1:9/b", "nbd:unix:/s"] {
            assert!(!is_same("nbd://127.0.0.1:9/a", other), "{other}");
        }
    }

    #[test]
    fn a_socket_is_one_by_all_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let _listener = std::os::unix::net::UnixListener::bind(path("s")).unwrap();
        std::os::unix::fs::symlink("s", path("soft")).unwrap();
        let uri = |name: &str| format!("nbd+unix:///?socket={}", path(name));
        assert!(is_same(&uri("s"), &uri("soft")) && is_same(&uri("s"), &format!("nbd:unix:{}", path("./s"))));
        assert!(!is_same(&uri("s"), &uri("other")) && is_same(&uri("other"), &uri("other")));
    }
}
