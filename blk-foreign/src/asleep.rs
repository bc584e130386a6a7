//! Whether any thread works for a driver: its own threads, and those of ours.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use blk_core::sync::Mutex;

/// The processes and threads that serve one driver. Another driver under test in the same process of ours has
/// its own.
#[derive(Debug)]
pub(crate) struct Workers {
    /// Processes that were started for one open each, and have not ended.
    processes: Mutex<BTreeSet<u32>>,
    /// What the names of threads begin with that serve it.
    name: String,
    /// How often these threads had run when they were looked at last.
    runs: AtomicU64,
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
        Self { processes: Mutex::default(), name, runs: AtomicU64::new(0) }
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
    /// requests; and whether none has run since the last look: threads are looked at one after the other, and
    /// work that goes from one to the next might be missed. Of a driver that has a process for each open,
    /// `process` names none: then all are looked at.
    pub(crate) fn are_asleep(&self, process: Option<u32>, lanes: &[u32]) -> bool {
        let drivers = process.map_or_else(|| self.processes.lock().iter().copied().collect(), |id| vec![id]);
        let mut all = Look::default();
        for id in drivers {
            all.add(id, |_, _| true);
        }
        all.add(std::process::id(), |thread, name| lanes.contains(&thread) || self.has(name));
        let before = self.runs.swap(all.runs, Ordering::Relaxed);
        !all.is_running && before == all.runs
    }

    /// Whether a thread of this name serves the driver.
    fn has(&self, name: &str) -> bool {
        name.strip_prefix(&self.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// What threads are doing.
#[derive(Debug, Default)]
struct Look {
    /// A thread wants to run.
    is_running: bool,
    /// How often all of them were given a processor, as far as the kernel counts that.
    runs: u64,
}

impl Look {
    /// Looks at the threads of a process that count, by number and name.
    fn add(&mut self, process: u32, counts: impl Fn(u32, &str) -> bool) {
        let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return };
        for thread in threads.flatten().map(|thread| thread.path()) {
            let Ok(status) = fs::read_to_string(thread.join("stat")) else { continue };
            let Some(wants_to) = wants_to_run(&status, &counts) else { continue };
            self.is_running |= wants_to;
            // Nanoseconds with a processor, nanoseconds without, and how often it was given one.
            let times = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
            let runs = times.split_whitespace().nth(2).and_then(|runs| runs.parse().ok());
            self.runs = self.runs.wrapping_add(runs.unwrap_or(0_u64));
        }
    }
}

/// Whether a thread that counts wants to run, by its `stat`: NUMBER (NAME) STATE ... None of one that does
/// not count.
fn wants_to_run(status: &str, counts: impl Fn(u32, &str) -> bool) -> Option<bool> {
    let (head, rest) = status.rsplit_once(')')?;
    let (number, name) = head.split_once(" (")?;
    counts(number.parse().ok()?, name).then(|| rest.trim_start().starts_with('R'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    fn is_running(process: u32, counts: impl Fn(u32, &str) -> bool) -> bool {
        let mut look = Look::default();
        look.add(process, counts);
        look.is_running
    }

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
    fn processes_that_work_are_seen() {
        let [busy, idle] = busy_and_idle();
        let is_running = |id: u32| is_running(id, |_, name| name == "sh" || name == "sleep");
        assert_eq!((is_running(busy.id()), is_running(idle.id())), (true, false));
        assert!(!is_running(u32::MAX), "it is not there");
        let workers = Workers::default();
        assert!(
            soon(|| workers.are_asleep(Some(idle.id()), &[])) && !workers.are_asleep(Some(busy.id()), &[])
        );
        end([busy, idle]);
    }

    #[test]
    fn processes_of_another_driver_are_not_looked_at() {
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
