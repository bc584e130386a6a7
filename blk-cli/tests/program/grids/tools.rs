//! Two sets of tools of the same names, and cells of a grid that both are asked about.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

/// Programs `qemu-img` and `qemu-io`, run in a folder of their own.
#[derive(Debug)]
pub(crate) struct Tools {
    programs: PathBuf,
    folder: tempfile::TempDir,
}

impl Tools {
    /// QEMU's own, as they are found on the path.
    pub(crate) fn of_qemu() -> Self {
        Self { programs: PathBuf::new(), folder: tempfile::tempdir().unwrap() }
    }

    /// Ours.
    pub(crate) fn ours() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("programs");
        std::fs::create_dir(&programs).unwrap();
        for name in ["qemu-io", "qemu-img"] {
            symlink(env!("CARGO_BIN_EXE_blk"), programs.join(name)).unwrap();
        }
        Self { programs, folder }
    }

    pub(crate) fn are_ours(&self) -> bool {
        self.programs != Path::new("")
    }

    /// Where the programs run.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).current_dir(self.folder()).stdin(Stdio::null());
        command.output().unwrap_or_else(|error| panic!("{program}: {error}"))
    }

    /// Runs qemu-img; its standard output, or `None` if it failed.
    pub(crate) fn img(&self, arguments: &[&str]) -> Option<String> {
        printed(&self.run("qemu-img", arguments))
    }

    /// Runs qemu-io; its standard output, or `None` if it failed.
    pub(crate) fn io(&self, arguments: &[&str]) -> Option<String> {
        printed(&self.run("qemu-io", arguments))
    }
}

fn printed(output: &Output) -> Option<String> {
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Asks both about every cell, from two threads, each with tools of its own. What differs is listed, except
/// for `known` differences; those must differ.
pub(crate) fn compare<Cell, Answer>(
    cells: Vec<Cell>,
    prepare: impl Fn(&Tools) + Sync,
    ask: impl Fn(&Tools, &Cell) -> Answer + Sync,
    known: impl Fn(&Cell) -> bool + Sync,
) where
    Cell: Debug + Send,
    Answer: Debug + PartialEq,
{
    let count = cells.len();
    let cells = Mutex::new(VecDeque::from(cells));
    let differing = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (qemu, ours) = (Tools::of_qemu(), Tools::ours());
                prepare(&qemu);
                prepare(&ours);
                loop {
                    let next = cells.lock().unwrap().pop_front();
                    let Some(cell) = next else { break };
                    let (theirs, mine) = (ask(&qemu, &cell), ask(&ours, &cell));
                    if (theirs == mine) == known(&cell) {
                        let line = format!("{cell:?}: qemu {theirs:?}, ours {mine:?}");
                        differing.lock().unwrap().push(line);
                    }
                }
            });
        }
    });
    let differing = differing.into_inner().unwrap();
    assert!(
        differing.is_empty(),
        "{} of {count} cells are not as expected:\n{}",
        differing.len(),
        differing.join("\n")
    );
    eprintln!("{count} cells");
}
