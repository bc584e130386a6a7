//! A listening socket that the parent process passes on: systemd does so, and libnbd for a command in square
//! brackets.

use blk_nbd::Listener;
use listenfd::ListenFd;

use super::Done;

/// The socket, if there is one. The environment names it.
pub(super) fn socket() -> Done<Option<Listener>> {
    // It says whom the others are meant for.
    if std::env::var_os("LISTEN_PID").is_none() {
        return Ok(None);
    }
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        return Err(format!("{} sockets are passed on (LISTEN_FDS): one can be served", passed.len()));
    }
    if let Ok(Some(listener)) = passed.take_unix_listener(0) {
        return Ok(Some(Listener::Unix(listener)));
    }
    let listener = passed.take_tcp_listener(0);
    let listener =
        listener.map_err(|error| format!("cannot listen on the socket that is passed on: {error}"))?;
    Ok(listener.map(Listener::Tcp))
}
