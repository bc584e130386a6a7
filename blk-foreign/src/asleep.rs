//! Whether anybody works for a driver: its threads, and those of ours.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use blk_core::sync::Mutex;

/// The processes and threads that serve one driver. Another driver under test in the same process of ours has
/// its own.
#[derive(Debug)]
pub(crate) struct Workers {
    /// Processes that were started for one open each, and have not ended.
    processes: Mutex<BTreeSet<u32>>,
    /// What the names of threads begin with that serve it.
    name: String,
}

/// A process that works for a driver, until this is dropped.
#[derive(Debug)]
pub(crate) struct Works {
    workers: Arc<Workers>,
    process: u32,
}

impl Default for Workers {
    fn default() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Of a name, 15 bytes are seen.
        let name = format!("nbd{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { processes: Mutex::default(), name }
    }
}

impl Drop for Works {
    fn drop(&mut self) {
        self.workers.processes.lock().remove(&self.process);
    }
}

impl Workers {
    /// What threads of ours are called that serve the driver.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A process was started for an open.
    pub(crate) fn add(self: &Arc<Self>, process: u32) -> Works {
        self.processes.lock().insert(process);
        Works { workers: Arc::clone(self), process }
    }

    /// Whether all threads of the driver sleep, and those of ours that work for it, of which `lanes` make its
    /// requests. Of a driver that has a process for each open, `process` names none: then all are looked at.
    pub(crate) fn are_asleep(&self, process: Option<u32>, lanes: &[u32]) -> bool {
        let drivers = process.map_or_else(|| self.processes.lock().iter().copied().collect(), |id| vec![id]);
        drivers.iter().all(|id| !is_running(*id, |_, _| true))
            && !is_running(std::process::id(), |thread, name| lanes.contains(&thread) || self.has(name))
    }

    /// Whether a thread of this name serves the driver.
    fn has(&self, name: &str) -> bool {
        name.strip_prefix(&self.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// Whether a thread of a process wants to run, of those that count, by number and name.
fn is_running(process: u32, counts: impl Fn(u32, &str) -> bool) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return false };
    let wants_to = |status: String| {
        // NUMBER (NAME) STATE ...
        let (head, rest) = status.rsplit_once(')')?;
        let (number, name) = head.split_once(" (")?;
        Some(rest.trim_start().starts_with('R') && counts(number.parse().ok()?, name))
    };
    let mut threads = threads.flatten().map(|thread| thread.path().join("stat"));
    threads.any(|path| fs::read_to_string(path).is_ok_and(|status| wants_to(status) == Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    fn busy_and_idle() -> [Child; 2] {
        let busy = Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
        let idle = Command::new("sleep").arg("100").spawn();
        let (busy, idle) = (busy.unwrap(), idle.unwrap());
        assert!(soon(
            || !is_running(idle.id(), |_, name| name == "sleep") && is_running(busy.id(), |_, _| true)
        ));
        [busy, idle]
    }

    /// Whether something comes to be so, on a busy machine too.
    fn soon(is_so: impl Fn() -> bool) -> bool {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let now = is_so();
            if now || Instant::now() > end {
                return now;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(children: [Child; 2]) {
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn who_works_is_seen() {
        let [busy, idle] = busy_and_idle();
        let is_running = |id: u32| is_running(id, |_, name| name == "sh" || name == "sleep");
        assert_eq!((is_running(busy.id()), is_running(idle.id())), (true, false));
        assert!(!is_running(u32::MAX), "it is not there");
        let workers = Workers::default();
        assert!(workers.are_asleep(Some(idle.id()), &[]) && !workers.are_asleep(Some(busy.id()), &[]));
        end([busy, idle]);
    }

    #[test]
    fn who_works_for_another_driver_is_not_looked_at() {
        let [busy, idle] = busy_and_idle();
        let (one, other) = (Arc::new(Workers::default()), Arc::new(Workers::default()));
        let (_idle, works) = (one.add(idle.id()), other.add(busy.id()));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for name in [format!("{}-client", other.name()), format!("{}0", one.name()), "lane 0".to_owned()]
            {
                let spin = || {
                    while !is_over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                };
                std::thread::Builder::new().name(name).spawn_scoped(scope, spin).unwrap();
            }
            let by_process = soon(|| one.are_asleep(None, &[]) && !other.are_asleep(None, &[]));
            drop(works);
            let by_thread = soon(|| one.are_asleep(None, &[]) && !other.are_asleep(None, &[]));
            is_over.store(true, Ordering::Relaxed);
            assert!(by_process && by_thread, "{by_process} {by_thread}");
        });
        assert!(soon(|| other.are_asleep(None, &[])));
        end([busy, idle]);
    }
}
