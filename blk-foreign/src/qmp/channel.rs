//! How bytes of a control channel get to the program and back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions};

/// How long a wait for a datagram goes on until the program is looked at: its end sends none.
const LOOK_TIME: Duration = Duration::from_millis(20);
/// QEMU takes no more of a datagram, bytes.
const SENT_BYTES_MAX: usize = 4096;
const RECEIVED_BYTES_MAX: usize = 64 << 10;

/// A channel that is connected.
#[derive(Debug)]
pub(super) enum Channel {
    Stream(UnixStream),
    Datagrams(Datagrams),
}

/// A socket whose other end is one program's.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    /// Where the program sends from.
    from: SocketAddr,
    program: Program,
}

impl Datagrams {
    /// Receives the program's next datagram. Others may have sent some before the socket was connected: these
    /// are still queued, and are dropped.
    fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let (count, from) = self.socket.recv_from(buf)?;
            if from == self.from {
                return Ok(count);
            }
        }
    }
}

/// A program that may end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program(Option<Pid>);

impl Program {
    fn has_ended(self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.0.is_none_or(|id| !matches!(rustix::process::waitid(WaitId::Pid(id), options), Ok(None)))
    }
}

/// A port of ours that a program is to send to.
#[derive(Debug)]
pub(crate) struct Port(UdpSocket);

impl Port {
    /// One that is free.
    pub(crate) fn bind() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK_TIME))?;
        Ok(Self(socket))
    }

    /// Its number.
    pub(crate) fn number(&self) -> io::Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    /// Waits a little for a first datagram, which has to be the greeting of process `process`. From then on
    /// only datagrams from the same address count.
    pub(super) fn accept(
        &self,
        process: u32,
        is_greeting: impl FnOnce(&[u8]) -> bool,
    ) -> io::Result<(Channel, Vec<u8>)> {
        let mut bytes = vec![0; RECEIVED_BYTES_MAX];
        let (count, from) = self.0.recv_from(&mut bytes)?;
        bytes.truncate(count);
        if !is_greeting(&bytes) {
            return Err(io::Error::other("a datagram that is no greeting"));
        }
        self.0.connect(from)?;
        let program = Program(i32::try_from(process).ok().and_then(Pid::from_raw));
        let channel = Datagrams { socket: self.0.try_clone()?, from, program };
        Ok((Channel::Datagrams(channel), bytes))
    }
}

impl Channel {
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).map(Self::Stream)
    }

    /// Sends all of it within `time`.
    pub(super) fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        match self {
            Self::Stream(stream) => {
                stream.set_write_timeout(Some(time))?;
                stream.write_all(bytes)
            }
            // Those of one sender arrive in order on a host's own network; none is lost while there is room,
            // and what is sent is answered before there is more.
            Self::Datagrams(Datagrams { socket, .. }) => {
                bytes.chunks(SENT_BYTES_MAX).try_for_each(|piece| socket.send(piece).map(drop))
            }
        }
    }

    /// Receives some bytes until `end`; appends them. `false` where the program has closed the channel.
    pub(super) fn receive(&mut self, end: Instant, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let before = bytes.len();
        bytes.resize(before + RECEIVED_BYTES_MAX, 0);
        let received = loop {
            let received = match self {
                Self::Stream(stream) => {
                    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                    stream.set_read_timeout(Some(left)).and_then(|()| stream.read(&mut bytes[before..]))
                }
                Self::Datagrams(channel) => match channel.receive(&mut bytes[before..]) {
                    // What it has said last may have come meanwhile.
                    Err(error) if is_late(&error) && channel.program.has_ended() => {
                        channel.receive(&mut bytes[before..]).or(Ok(0))
                    }
                    Err(error) if is_late(&error) && Instant::now() < end => continue,
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(0),
                    received => received,
                },
            };
            // A debugger that looks at us does that.
            if !received.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
                break received;
            }
        };
        bytes.truncate(before + received.as_ref().map_or(0, |count| *count));
        received.map(|count| count > 0)
    }
}

/// Whether nothing has come in time.
pub(super) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
