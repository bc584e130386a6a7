//! The server.

use std::sync::{Arc, mpsc};

use blk_core::storage::DiskStorage;
use blk_core::{Access, DenyResolver, Disk, Error, Options, Result};
use blk_nbd::{Export, ExportedBitmap, Listener, Location, Running, Server};

use super::arguments::Plan;
use super::{Done, background};

/// Where the server listens.
#[derive(Debug)]
pub(super) enum Place {
    Named(Location),
    /// On a socket that is open already.
    Passed(Listener),
}

/// Exports until the last client has left, or the process is told to end.
pub(super) fn serve(program: &str, place: Place, plan: &Plan) -> Done<()> {
    let Opened { disk, below, bitmaps } = open(program, plan)?;
    let export = Export {
        name: plan.name.clone(),
        description: plan.description.clone(),
        disk: Arc::clone(&disk),
        read_only: plan.read_only || disk.access() == Access::ReadOnly,
        allocation_depth: plan.allocation_depth,
        bitmaps,
    };
    let in_words = |error: blk_core::Error| error.to_string();
    let server = Server::new([export], plan.server.clone()).map_err(in_words)?;
    let (end, ended) = mpsc::channel();
    let by_signal = end.clone();
    // Before anyone can know that it listens, and ask it to end.
    let on_signal = move || {
        let _ = by_signal.send(());
    };
    ctrlc::set_handler(on_signal).map_err(|error| format!("cannot handle signals: {error}"))?;
    let is_chosen = matches!(place, Place::Named(Location::Tcp { port: 0, .. }));
    let running = listen(&server, place).map_err(in_words)?;
    if let Some(address) = running.local_addr().filter(|_| is_chosen) {
        // Whoever left the choice to the host has no other way to hear of it.
        eprintln!("{program}: listening on {address}");
    }
    // As that of qemu-nbd it stays when the server has ended: scripts remove it themselves.
    if let Some(path) = plan.pid_file.as_deref() {
        std::fs::write(path, format!("{}\n", std::process::id()))
            .map_err(|error| format!("cannot create PID file {}: {error}", path.display()))?;
    }
    let told = if plan.in_background { background::ready() } else { Ok(()) };
    if told.is_ok() {
        wait(&running, plan.persistent, end, &ended);
    }
    let stopped = running.stop();
    // A window (-o) hands on no close: what lies below is closed after it.
    let closed = disk.close().and_then(|()| below.map_or(Ok(()), |below| below.close()));
    told.and(stopped.and(closed).map_err(in_words))
}

fn listen(server: &Arc<Server>, place: Place) -> Result<Running> {
    match place {
        Place::Named(Location::Unix(path)) => server.listen_unix(&path),
        Place::Named(Location::Tcp { host, port }) => server.listen_tcp(&host, port),
        Place::Passed(listener) => server.listen_on(listener),
    }
}

/// Waits for the end.
fn wait(running: &Running, persistent: bool, end: mpsc::Sender<()>, ended: &mpsc::Receiver<()>) {
    std::thread::scope(|scope| {
        if persistent {
            let _ = ended.recv();
            return;
        }
        scope.spawn(move || {
            running.wait_for_last_client();
            let _ = end.send(());
        });
        let _ = ended.recv();
        running.interrupt();
    });
}

/// Bitmaps by their names.
type Exported = Vec<(String, ExportedBitmap)>;

/// What the disk has of the bitmaps that clients may ask for, the last one first as qemu-nbd lists them.
fn bitmaps(disk: &Arc<Disk>, plan: &Plan) -> Done<Exported> {
    let mut found = Exported::new();
    for name in plan.bitmaps.iter().rev() {
        let bitmaps = disk.as_bitmaps().ok_or_else(|| format!("Bitmap '{name}' is not found"))?;
        let bitmap = bitmaps.read_bitmap(name).map_err(|error| match error {
            Error::Unresolved { reason, .. } => format!("Bitmap '{name}' is not found: {reason}"),
            Error::Unsupported { .. } => format!("Bitmap '{name}' is not found: the format has none"),
            error => format!("Bitmap '{name}': {error}"),
        })?;
        if found.iter().all(|(there, _)| there != name) {
            let exported = match disk.access() {
                Access::ReadOnly => ExportedBitmap::Frozen(Arc::new(bitmap)),
                Access::ReadWrite => ExportedBitmap::Live(Arc::clone(disk)),
            };
            found.push((name.clone(), exported));
        }
    }
    Ok(found)
}

/// What is exported.
struct Opened {
    disk: Arc<Disk>,
    /// The image, where the disk is a window of it.
    below: Option<Arc<Disk>>,
    bitmaps: Exported,
}

fn open(program: &str, plan: &Plan) -> Done<Opened> {
    let name = crate::spec::shown(&plan.request.name).into_owned();
    let in_words = |error: blk_core::Error| format!("Failed to open '{name}': {error}");
    let image = plan.request.open().map_err(in_words)?;
    if image.guessed_raw && plan.request.access == Access::ReadWrite {
        let danger = "writes that would make it another format are refused";
        eprintln!("{program}: warning: no format given for '{name}', which looks raw: {danger}");
    }
    let mut disk = image.disk;
    let bitmaps = bitmaps(&disk, plan)?;
    if plan.snapshot {
        let access = if plan.read_only { Access::ReadOnly } else { Access::ReadWrite };
        disk = Arc::new(crate::io::overlay(disk, access).map_err(in_words)?);
    }
    let Some(offset) = plan.offset else { return Ok(Opened { disk, below: None, bitmaps }) };
    if !bitmaps.is_empty() {
        return Err("a bitmap (-B) is of the whole disk, not of what follows an offset (-o)".to_owned());
    }
    if offset >= disk.size() {
        return Err(format!("Offset ({offset}) has to be smaller than the image size ({})", disk.size()));
    }
    let access = disk.access();
    let options = Options::new().with("offset", offset.to_string());
    let storage = Arc::new(DiskStorage::new(Arc::clone(&disk)));
    let window = blk_raw::FORMAT.open(storage, access, options, &DenyResolver).map_err(in_words)?;
    Ok(Opened { disk: Arc::new(window), below: Some(disk), bitmaps })
}
