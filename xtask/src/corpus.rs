//! `cargo xtask corpus`: replays the regression corpus.

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::{project, replay};

pub(crate) fn run() -> Result<bool> {
    let shell = Shell::new()?;
    let project = project()?;
    let program = replay::build(&shell)?;
    let traces = project.traces()?;
    if traces.is_empty() {
        bail!("{} holds no trace", project.regressions().display());
    }
    let mut failed = 0;
    for trace in &traces {
        let target = project.target_of(trace)?;
        let replayed = cmd!(shell, "{program} replay --target {target} {trace}").quiet().ignore_status();
        let output = replayed.output()?;
        print!("{:14}{}", target, String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        failed += usize::from(!output.status.success());
    }
    println!("{} traces, {failed} failed", traces.len());
    Ok(failed == 0)
}
