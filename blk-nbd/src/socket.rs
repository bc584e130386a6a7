//! A connection, of either kind.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustls::Connection;

use crate::address::Location;
use crate::tls::TlsSocket;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// In the file system, or one of a pair.
    Unix(UnixStream),
    /// Over the network.
    Tcp(TcpStream),
    /// One of the others, encrypted.
    Tls(TlsSocket),
}

impl Socket {
    /// Connects to where a server listens; it has so long to answer.
    pub(crate) fn connect(location: &Location, time: Option<Duration>) -> io::Result<Self> {
        match location {
            Location::Unix(path) => UnixStream::connect(path).map(Self::Unix),
            Location::Tcp { host, port } => {
                let mut last = None;
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    let connected = match time {
                        Some(time) => TcpStream::connect_timeout(&address, time),
                        None => TcpStream::connect(address),
                    };
                    match connected {
                        Ok(stream) => return Self::tcp(stream),
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.unwrap_or_else(|| io::Error::other(format!("'{host}' has no address"))))
            }
        }
    }

    /// Messages are sent at once, not when more of them have gathered.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // A peer whose host has lost its power is noticed in the end.
        rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
        Ok(Self::Tcp(stream))
    }

    /// The same connection, for someone else to read or write.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Tls(stream) => stream.try_clone().map(Self::Tls),
        }
    }

    /// How long a read may wait; for ever by default.
    pub(crate) fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(time),
            Self::Tcp(stream) => stream.set_read_timeout(time),
            Self::Tls(stream) => stream.socket().set_read_timeout(time),
        }
    }

    /// How long a write may wait; for ever by default.
    pub(crate) fn set_write_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(time),
            Self::Tcp(stream) => stream.set_write_timeout(time),
            Self::Tls(stream) => stream.socket().set_write_timeout(time),
        }
    }

    /// Ends the connection in these directions, for all who have it.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        // One that is gone already has ended, too.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(how),
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Tls(stream) => {
                if how != Shutdown::Read {
                    stream.say_end();
                }
                stream.socket().shutdown(how);
                Ok(())
            }
        };
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buf),
            Self::Tcp(stream) => stream.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(buf),
            Self::Tcp(stream) => stream.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write_vectored(bufs),
            Self::Tcp(stream) => stream.write_vectored(bufs),
            Self::Tls(stream) => stream.write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes two pieces as one message.
pub(crate) fn send(to: &mut impl Write, head: &[u8], data: &[u8]) -> io::Result<()> {
    let mut pieces = [IoSlice::new(head), IoSlice::new(data)];
    let mut pieces = &mut pieces[..];
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        match to.write_vectored(pieces) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut pieces, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads from a socket until a moment: however the other side hands out its bytes, all of them have to be
/// there by then.
#[derive(Debug)]
pub(crate) struct Until<'a> {
    socket: &'a mut Socket,
    end: Option<Instant>,
}

impl<'a> Until<'a> {
    pub(crate) fn new(socket: &'a mut Socket, time: Option<Duration>) -> Self {
        Self { socket, end: time.and_then(|time| Instant::now().checked_add(time)) }
    }

    /// Agrees on keys with the other side; from then on the socket is encrypted.
    pub(crate) fn encrypt(&mut self, mut connection: Connection) -> io::Result<()> {
        connection.complete_io(self)?;
        if connection.is_handshaking() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let plain = self.socket.try_clone()?;
        *self.socket = Socket::Tls(TlsSocket::new(plain, connection));
        Ok(())
    }
}

impl Read for Until<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(end) = self.end {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.socket.set_read_timeout(Some(left))?;
            }
            let Socket::Tls(socket) = &mut *self.socket else { return self.socket.read(buf) };
            // A record may come in many pieces, and all of them have to be there in time.
            if let Some(read) = socket.read_some(buf)? {
                return Ok(read);
            }
        }
    }
}

impl Write for Until<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Some(end) = self.end {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.socket.set_write_timeout(Some(left))?;
        }
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Until<'_> {
    fn drop(&mut self) {
        if self.end.is_some() {
            let _ = self.socket.set_read_timeout(None);
            let _ = self.socket.set_write_timeout(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_hands_out_bytes_slowly_is_given_up() {
        let (mut ours, mut theirs) = UnixStream::pair().map(|(a, b)| (Socket::Unix(a), b)).unwrap();
        let slow = std::thread::spawn(move || {
            while theirs.write_all(&[0]).is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let mut until = Until::new(&mut ours, Some(Duration::from_millis(200)));
        let error = until.read_exact(&mut vec![0; 1 << 20]).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
        drop(until);
        drop(ours);
        slow.join().unwrap();
    }

    #[test]
    fn pieces_are_written_whole() {
        /// Takes three bytes at a time.
        struct Three(Vec<u8>);
        impl Write for Three {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                let taken = buf.len().min(3);
                self.0.extend_from_slice(&buf[..taken]);
                Ok(taken)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (head, data) in [(&b"head"[..], &b"some data"[..]), (b"head", b""), (b"", b"data"), (b"", b"")] {
            let mut to = Three(Vec::new());
            send(&mut to, head, data).unwrap();
            assert_eq!(to.0, [head, data].concat());
        }
    }
}
