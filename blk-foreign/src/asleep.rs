//! Whether anybody works: the threads of the drivers, and our own.

use std::collections::BTreeSet;
use std::fs;

use blk_core::sync::Mutex;

/// Processes of drivers that were started and have not been waited for.
static PROCESSES: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A process of a driver was started.
pub(crate) fn begin(id: u32) {
    PROCESSES.lock().insert(id);
}

/// It has ended.
pub(crate) fn end(id: u32) {
    PROCESSES.lock().remove(&id);
}

/// Whether all threads of a driver sleep, and those of ours that work for it. Of a driver that has a process
/// for each open, `process` names none: then all are looked at.
pub(crate) fn all_are(process: Option<u32>) -> bool {
    let drivers = process.map_or_else(|| PROCESSES.lock().iter().copied().collect(), |id| vec![id]);
    drivers.iter().all(|id| !is_running(*id, |_| true)) && !is_running(std::process::id(), is_of_a_driver)
}

/// Whether a thread of ours of this name makes requests of a driver, or serves it.
fn is_of_a_driver(name: &str) -> bool {
    name.starts_with("nbd") || name.starts_with("lane")
}

/// Whether a thread of a process wants to run, of those whose names count.
fn is_running(process: u32, counts: impl Fn(&str) -> bool) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return false };
    let wants_to = |status: String| {
        // NUMBER (NAME) STATE ...
        let Some((head, rest)) = status.rsplit_once(')') else { return false };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        rest.trim_start().starts_with('R') && counts(name)
    };
    let mut threads = threads.flatten().map(|thread| thread.path().join("stat"));
    threads.any(|path| fs::read_to_string(path).is_ok_and(wants_to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn who_works_is_seen() {
        let busy = Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
        let idle = Command::new("sleep").arg("100").spawn();
        let (mut busy, mut idle) = (busy.unwrap(), idle.unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
        let is_running = |id: u32| is_running(id, |name| name == "sh" || name == "sleep");
        assert_eq!((is_running(busy.id()), is_running(idle.id())), (true, false));
        assert!(all_are(Some(idle.id())) && !all_are(Some(busy.id())));
        for child in [&mut busy, &mut idle] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(!is_running(u32::MAX), "it is not there");
    }
}
