//! Encrypted connections: certificates, and a socket under TLS that is read and written at the same time.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use crate::socket::Socket;

/// Ciphertext that is read at once, bytes: the longest record and its header.
const READ_BYTES: usize = (16 << 10) + 256;

/// Certificates and keys, as the PEM text of their files.
#[derive(Clone, Default)]
pub struct Certificates {
    /// Whom to believe: the certificates of authorities.
    pub authorities: Vec<u8>,
    /// What one shows oneself: a chain of certificates, and the private key of the first.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

/// Without the key.
impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.own.as_ref().map(|(chain, _)| chain.len());
        f.debug_struct("Certificates")
            .field("authorities", &self.authorities.len())
            .field("own", &own)
            .finish_non_exhaustive()
    }
}

fn wrong(what: &'static str, reason: impl fmt::Display) -> Error {
    Error::invalid_option(what, reason.to_string())
}

impl Certificates {
    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in chain("ca-cert", &self.authorities)? {
            roots.add(certificate).map_err(|error| wrong("ca-cert", error))?;
        }
        Ok(roots)
    }

    fn own(&self) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
        let Some((certificates, key)) = &self.own else { return Ok(None) };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong("key", error))?;
        Ok(Some((chain("cert", certificates)?, key)))
    }
}

fn chain(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates.map_err(|error| wrong(what, error))? {
        none if none.is_empty() => Err(wrong(what, "there is no certificate in it")),
        some => Ok(some),
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How a server encrypts. Clients that do not are sent away.
#[derive(Debug, Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl ServerTls {
    /// A server with a certificate of its own. `verifies`: clients have to show one, too, that an authority
    /// has signed.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where a certificate is missing or is none, or the key is not its.
    pub fn new(certificates: &Certificates, verifies: bool) -> Result<Self> {
        let Some((chain, key)) = certificates.own()? else {
            return Err(wrong("cert", "a server needs a certificate"));
        };
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("tls", error))?;
        let config = if verifies {
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(certificates.roots()?), provider());
            config.with_client_cert_verifier(builder.build().map_err(|error| wrong("ca-cert", error))?)
        } else {
            config.with_no_client_auth()
        };
        let config = config.with_single_cert(chain, key).map_err(|error| wrong("cert", error))?;
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn connection(&self) -> io::Result<Connection> {
        ServerConnection::new(Arc::clone(&self.0)).map(Connection::Server).map_err(io::Error::other)
    }
}

/// How a client encrypts, and for whom it takes the server.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: Option<String>,
}

/// The same configuration, with the same name of the server.
impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for ClientTls {}

impl ClientTls {
    /// A client that believes these authorities, and shows its own certificate to who asks for it. `name` is
    /// in the server's certificate; its host by default.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where a certificate is missing or is none, or the key is not its.
    pub fn new(certificates: &Certificates, name: Option<String>) -> Result<Self> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("tls", error))?
            .with_root_certificates(certificates.roots()?);
        let config = match certificates.own()? {
            Some((chain, key)) => {
                config.with_client_auth_cert(chain, key).map_err(|error| wrong("cert", error))?
            }
            None => config.with_no_client_auth(),
        };
        Ok(Self { config: Arc::new(config), name })
    }

    pub(crate) fn connection(&self, host: &str) -> io::Result<Connection> {
        let name = self.name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::other(format!("'{name}' is no name of a host: give tls-hostname")))?;
        ClientConnection::new(Arc::clone(&self.config), server)
            .map(Connection::Client)
            .map_err(io::Error::other)
    }
}

/// A socket under TLS.
#[derive(Debug)]
pub struct TlsSocket {
    socket: Box<Socket>,
    shared: Arc<Shared>,
}

/// What all who have the connection share. Lock order: `input`, `output`, `connection`. `connection` is never
/// held during I/O of the socket.
struct Shared {
    connection: Mutex<Connection>,
    /// Ciphertext that was read, and what of it is left.
    input: Mutex<(Box<[u8]>, std::ops::Range<usize>)>,
    /// Ciphertext goes out in the order in which it was made.
    output: Mutex<Output>,
}

#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    /// Some of what was made has not gone out: nothing that follows could be understood.
    is_broken: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl TlsSocket {
    /// A connection whose handshake is done, over a socket.
    pub(crate) fn new(socket: Socket, connection: Connection) -> Self {
        let shared = Shared {
            connection: Mutex::new(connection),
            input: Mutex::new((vec![0; READ_BYTES].into(), 0..0)),
            output: Mutex::default(),
        };
        Self { socket: Box::new(socket), shared: Arc::new(shared) }
    }

    /// The socket under it.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: Box::new(self.socket.try_clone()?), shared: Arc::clone(&self.shared) })
    }

    /// Tells the other side that nothing more comes, unless it does not even take what came before.
    pub(crate) fn say_end(&self) {
        let Some(mut output) = self.shared.output.try_lock() else { return };
        self.shared.connection.lock().send_close_notify();
        // It may be gone already.
        if let Ok(mut socket) = self.socket.try_clone() {
            let _ = self.shared.drain(&mut output, &mut socket);
        }
    }
}

impl Shared {
    /// Sends all ciphertext that there is.
    fn drain(&self, output: &mut Output, socket: &mut Socket) -> io::Result<()> {
        if output.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        {
            let mut connection = self.connection.lock();
            while connection.wants_write() {
                connection.write_tls(&mut output.bytes)?;
            }
        }
        let sent = socket.write_all(&output.bytes);
        output.bytes.clear();
        output.is_broken = sent.is_err();
        sent
    }

    /// Plaintext that has come, if there is any.
    fn plaintext(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        match self.connection.lock().reader().read(buf) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deciphers some of what has come. Returns whether there is something to be said in answer.
    fn decipher(&self, mut bytes: &[u8]) -> io::Result<(usize, bool)> {
        let mut connection = self.connection.lock();
        let taken = connection.read_tls(&mut bytes)?;
        connection
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok((taken, connection.wants_write()))
    }
}

impl TlsSocket {
    /// Reads plaintext, or else once from the socket; `None` where that has not made a record whole.
    pub(crate) fn read_some(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let mut input = self.shared.input.lock();
        let (bytes, rest) = &mut *input;
        if let Some(read) = self.shared.plaintext(buf)? {
            return Ok(Some(read));
        }
        if rest.start == rest.end {
            *rest = 0..self.socket.read(bytes)?;
        }
        // No bytes tell it that no more come.
        let (taken, answers) = self.shared.decipher(&bytes[rest.clone()])?;
        rest.start += taken;
        // A writer that is at work sends it with what follows.
        if answers && let Some(mut output) = self.shared.output.try_lock() {
            self.shared.drain(&mut output, &mut self.socket)?;
        }
        Ok(None)
    }
}

impl Read for TlsSocket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(read) = self.read_some(buf)? {
                return Ok(read);
            }
        }
    }
}

impl Write for TlsSocket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut output = self.shared.output.lock();
        let taken = self.shared.connection.lock().writer().write_vectored(bufs)?;
        self.shared.drain(&mut output, &mut self.socket)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
