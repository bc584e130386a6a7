//! One process that opens thousands of images, one after the other, by its control channel.

use std::path::PathBuf;

use blk_core::sync::Mutex;
use blk_core::{Error, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::description::{Description, Step};
use crate::process::{Process, failed};
use crate::qmp::{Port, Qmp, QmpError};
use crate::template::Names;
use crate::temporary;

/// A process that is started when it is needed, and anew when it has died or has opened many images.
#[derive(Debug, Default)]
pub(crate) struct Daemon {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<Live>,
    /// Processes that were started.
    generation: u64,
}

#[derive(Debug)]
struct Live {
    qmp: Qmp,
    process: Process,
    folder: TempDir,
    generation: u64,
    /// Images that were opened, and those that are open.
    opened: u64,
    open: u64,
    /// A close was refused, or an open not undone: it may still hold an image, and has to be restarted.
    has_drifted: bool,
}

/// An image that is open in the process.
#[derive(Debug)]
pub(crate) struct Opened {
    generation: u64,
    /// The socket of the process's own NBD server.
    pub(crate) export: PathBuf,
}

impl Live {
    fn start(description: &Description, generation: u64) -> Result<Self> {
        let folder = temporary::folder()?;
        let (control, export) = (folder.path().join("control"), folder.path().join("export"));
        let no_port = |error| Error::io("take a port of this host", 0, error);
        let argv = &description.process.argv;
        let port = argv.iter().any(|word| word.contains("{port}")).then(Port::bind);
        let port = port.transpose().map_err(no_port)?;
        let mut names = Names::default()
            .with("here", &description.here)
            .with("control", control.display())
            .with("export", export.display());
        if let Some(port) = &port {
            names = names.with("port", port.number().map_err(no_port)?);
        }
        let process = Process::start(&names.words(argv))?;
        let qmp = process.await_ready(|| match &port {
            Some(port) => Qmp::accept(port, process.id()),
            None => Qmp::connect(&control),
        })?;
        Ok(Self { qmp, process, folder, generation, opened: 0, open: 0, has_drifted: false })
    }

    fn steps(&mut self, steps: &[Step], names: &Names) -> std::result::Result<(), QmpError> {
        let mut rest = steps;
        while !rest.is_empty() {
            // What nothing has to be awaited in between is sent at once.
            let count = rest.iter().position(|step| step.event.is_some()).map_or(rest.len(), |at| at + 1);
            let (now, later) = rest.split_at(count);
            let commands: Vec<_> =
                now.iter().map(|step| (step.execute.as_str(), names.object(&step.arguments))).collect();
            self.qmp.execute(&commands)?;
            if let Some(event) = now.last().and_then(|step| step.event.as_ref()) {
                let id = commands.last().and_then(|(_, arguments)| arguments.get("id"));
                self.qmp.wait_for(event, id.unwrap_or(&Value::Null))?;
            }
            rest = later;
        }
        Ok(())
    }

    /// Undoes an open of which so many steps were done before one was refused.
    fn undo(&mut self, steps: &[Step], names: &Names, done: u64) -> std::result::Result<(), QmpError> {
        let before = self.qmp.accepted();
        for step in steps {
            match self.steps(std::slice::from_ref(&Step { event: None, ..step.clone() }), names) {
                Err(error @ QmpError::Gone(_)) => return Err(error),
                Err(QmpError::Refused(_)) | Ok(()) => {}
            }
        }
        self.has_drifted |= self.qmp.accepted() - before < done;
        Ok(())
    }
}

impl State {
    fn ready(&mut self, description: &Description) -> Result<&mut Live> {
        let is_worn =
            |live: &Live| live.open == 0 && (live.opened >= description.process.images || live.has_drifted);
        if self.live.as_ref().is_some_and(|live| is_worn(live) || live.process.death().is_some()) {
            self.live = None;
        }
        if self.live.is_none() {
            self.generation += 1;
            self.live = Some(Live::start(description, self.generation)?);
        }
        Ok(self.live.as_mut().expect("it has just been started"))
    }

    /// The error, with how the process has died if it has. One that does not answer any more is ended.
    fn error(&mut self, name: &str, error: &QmpError) -> Error {
        let mut reason = format!("{name}: {}", temporary::without_folders(&error.to_string()));
        if matches!(error, QmpError::Gone(_))
            && let Some(death) = self.live.take().and_then(|live| live.process.death_soon())
        {
            reason = format!("{name}: {death}");
        }
        // Not what the host lacks: what the driver makes of the image.
        Error::Corrupt { structure: "image", offset: 0, reason }
    }
}

impl Daemon {
    /// Opens an image.
    pub(crate) fn open(&self, description: &Description, names: &Names) -> Result<Opened> {
        let mut state = self.state.lock();
        let live = state.ready(description)?;
        live.opened += 1;
        let before = live.qmp.accepted();
        match live.steps(&description.open, names) {
            Ok(()) => {
                live.open += 1;
                Ok(Opened { generation: live.generation, export: live.folder.path().join("export") })
            }
            Err(error) => {
                let done = live.qmp.accepted() - before;
                if matches!(error, QmpError::Refused(_))
                    && live.undo(&description.close, names, done).is_err()
                {
                    state.live = None;
                }
                Err(state.error(&description.name, &error))
            }
        }
    }

    /// Closes an image.
    pub(crate) fn close(&self, description: &Description, names: &Names, opened: &Opened) -> Result<()> {
        let mut state = self.state.lock();
        let Some(live) = state.live.as_mut().filter(|live| live.generation == opened.generation) else {
            return Err(failed(&description.name, "the process that had the image open is gone"));
        };
        let closed = live.steps(&description.close, names);
        live.open -= 1;
        live.has_drifted |= closed.is_err();
        closed.map_err(|error| state.error(&description.name, &error))
    }

    /// The process, unless nobody knows right now.
    pub(crate) fn process(&self) -> Option<u32> {
        Some(self.state.try_lock()?.live.as_ref()?.process.id())
    }

    /// Processes that were started so far.
    pub(crate) fn started(&self) -> u64 {
        self.state.lock().generation
    }

    /// Whether the process has one image open, and no other.
    pub(crate) fn has_one_image(&self) -> bool {
        self.state.lock().live.as_ref().is_some_and(|live| live.open == 1)
    }

    /// Kills the process that has the image open. The next open starts another one.
    pub(crate) fn kill(&self, opened: &Opened) {
        let mut state = self.state.lock();
        if let Some(live) = state.live.take_if(|live| live.generation == opened.generation) {
            live.process.kill();
        }
    }

    /// How the process that has the image open has ended, if it has.
    pub(crate) fn death(&self, opened: &Opened) -> Option<String> {
        let state = self.state.lock();
        let live = state.live.as_ref().filter(|live| live.generation == opened.generation);
        live.map_or_else(|| Some("the process is gone".to_owned()), |live| live.process.death_soon())
    }
}
