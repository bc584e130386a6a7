//! NBD: our server against qemu-nbd and nbdkit, our client against nbdcopy and qemu-img, and verified
//! requests against QEMU's own blkverify.
//!
//! All take turns on a tmpfs. Rates mean little while other programs run on the machine; so the processor
//! time that a server takes for a request is shown beside them.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::median;

const DISK_MIB: usize = 256;

/// What fio does: how it is called, the request, and how many are in flight.
const LOADS: [(&str, &str, &str); 8] = [
    ("randread", "4k", "1"),
    ("randread", "4k", "16"),
    ("randread", "1m", "1"),
    ("randread", "1m", "16"),
    ("randwrite", "4k", "1"),
    ("randwrite", "4k", "16"),
    ("randwrite", "1m", "1"),
    ("randwrite", "1m", "16"),
];
/// Of these, what verified requests are measured with.
const VERIFIED: [usize; 4] = [0, 1, 4, 5];

/// A server, which ends with this.
struct Server {
    name: &'static str,
    child: Child,
    socket: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

impl Server {
    /// Starts a server; `SOCKET` among its words is where it listens.
    fn start(folder: &Path, name: &'static str, program: &Path, words: &str) -> Result<Self> {
        let socket = folder.join(format!("{name}.socket"));
        let _ = fs::remove_file(&socket);
        let place = socket.display().to_string();
        let mut command = Command::new(program);
        command.args(words.split(' ').map(|word| if word == "SOCKET" { place.as_str() } else { word }));
        command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Self { name, child, socket };
        let begun = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            if server.child.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(20) {
                bail!("{name} does not listen: {words}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }

    /// Processor time that it has taken, microseconds.
    fn processor_us(&self) -> Result<f64> {
        /// A tick of the kernel's count, microseconds.
        const TICK_US: f64 = 10_000.0;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The program's name may hold anything, and ends with the last parenthesis.
        let (_, numbers) = stat.rsplit_once(')').context("a name ends")?;
        let times = numbers.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
        Ok(times.map(|ticks| Ok(f64::from(ticks?))).sum::<Result<f64>>()? * TICK_US)
    }
}

/// Requests a second, and the server's processor time for each, microseconds.
fn fio(server: &Server, (kind, bytes, in_flight): (&str, &str, &str), seconds: u32) -> Result<[f64; 2]> {
    let before = server.processor_us()?;
    let output = Command::new("fio")
        .args(["--name=bench", "--ioengine=nbd", "--time_based", "--output-format=json"])
        .arg(format!("--uri={}", server.uri()))
        .arg(format!("--rw={kind}"))
        .arg(format!("--bs={bytes}"))
        .arg(format!("--iodepth={in_flight}"))
        .arg(format!("--size={DISK_MIB}M"))
        .arg(format!("--runtime={seconds}"))
        .output()
        .context("cannot start fio")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let start = text.find('{').with_context(|| format!("fio over {} says nothing", server.name))?;
    let told: Value = serde_json::from_str(&text[start..])?;
    let job = &told["jobs"][0];
    if !output.status.success() || job["error"] != 0 {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("fio over {} fails: {}, error {}: {said}", server.name, output.status, job["error"]);
    }
    let side = &job[if kind == "randread" { "read" } else { "write" }];
    let number = |name: &str| side[name].as_f64().unwrap_or(0.0);
    if number("iops") <= 0.0 {
        bail!("fio over {} has made no request", server.name);
    }
    let took = server.processor_us()? - before;
    Ok([number("iops"), took / number("total_ios").max(1.0)])
}

/// Prints a row for each load, the first server against the better one of the others; returns whether all
/// are at least as fast.
fn compare_servers(servers: &[Server], loads: &[usize], rounds: usize, seconds: u32) -> Result<bool> {
    let names: Vec<String> = servers.iter().map(|server| format!("{:>18}", server.name)).collect();
    println!("{:24} {}  {:>6}", "requests/s (us each)", names.join(" "), "ratio");
    let mut all = true;
    for load in loads.iter().map(|index| LOADS[*index]) {
        let mut measured = vec![Vec::new(); servers.len()];
        for _ in 0..rounds {
            for (server, measured) in servers.iter().zip(&mut measured) {
                measured.push(fio(server, load, seconds)?);
            }
        }
        let best_of = |round: usize| measured[1..].iter().map(|rates| rates[round][0]).fold(0.0, f64::max);
        let ratios = (0..rounds).map(|round| measured[0][round][0] / best_of(round).max(1.0));
        let ratio = median(ratios.collect()).unwrap_or(0.0);
        let cells = measured.iter().map(|rates| {
            let of = |column: usize| median(rates.iter().map(|rate| rate[column]).collect()).unwrap_or(0.0);
            format!("{:>9.0} ({:>6.1})", of(0), of(1))
        });
        let cells: Vec<String> = cells.collect();
        all &= ratio >= 1.0;
        let verdict = if ratio >= 1.0 { "" } else { "  MISSED" };
        let (kind, bytes, in_flight) = load;
        println!(
            "{:24} {}  {ratio:>6.2}{verdict}",
            format!("{kind} {bytes}, {in_flight} in flight"),
            cells.join(" ")
        );
    }
    Ok(all)
}

/// Times programs that copy; `URI` among their words is the server's address.
fn compare_copies(server: &Server, blk: &Path, folder: &Path, rounds: usize) -> Result<bool> {
    let blk = blk.display();
    let copies = [
        (
            "from NBD to a file",
            [
                format!("{blk} img convert -f raw -O raw URI out"),
                "nbdcopy URI out".to_owned(),
                "qemu-img convert -f raw -O raw URI out".to_owned(),
            ],
        ),
        (
            "from a file to NBD",
            [
                format!("{blk} img convert -n -f raw -O raw source URI"),
                "nbdcopy source URI".to_owned(),
                "qemu-img convert -n -f raw -O raw source URI".to_owned(),
            ],
        ),
    ];
    println!(
        "{:24} {:>18} {:>18} {:>18}  {:>6}",
        format!("ms, {DISK_MIB} MiB"),
        "blk img",
        "nbdcopy",
        "qemu-img",
        "ratio"
    );
    let mut all = true;
    for (name, commands) in copies {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            for (command, times) in commands.iter().zip(&mut times) {
                let _ = fs::remove_file(folder.join("out"));
                let uri = server.uri();
                let mut words =
                    command.split(' ').map(|word| if word == "URI" { uri.as_str() } else { word });
                let mut run = Command::new(words.next().context("a command has a name")?);
                let begun = Instant::now();
                if !run.args(words).current_dir(folder).status()?.success() {
                    bail!("{command} has failed");
                }
                times.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
        }
        let ratios = (0..rounds).map(|round| times[1][round].min(times[2][round]) / times[0][round]);
        let ratio = median(ratios.collect()).unwrap_or(0.0);
        let [ours, nbdcopy, qemu] = times.map(|times| median(times).unwrap_or(0.0));
        all &= ratio >= 1.0;
        let verdict = if ratio >= 1.0 { "" } else { "  MISSED" };
        println!("{name:24} {ours:>18.0} {nbdcopy:>18.0} {qemu:>18.0}  {ratio:>6.2}{verdict}");
    }
    Ok(all)
}

/// Data that no program finds a hole in.
fn fill(path: &Path) -> Result<()> {
    let block: Vec<u8> = (0..1_u32 << 18).flat_map(|number| (number | 1).to_le_bytes()).collect();
    fs::write(path, block.repeat(DISK_MIB))?;
    Ok(())
}

/// Measures all of it; returns whether we are at least as fast everywhere.
pub(super) fn run(blk: &Path, folder: &Path, quick: bool) -> Result<bool> {
    let folder = folder.join(format!("nbd-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let measured = run_in(blk, &folder, quick);
    let _ = fs::remove_dir_all(&folder);
    measured
}

fn run_in(blk: &Path, folder: &Path, quick: bool) -> Result<bool> {
    let (rounds, seconds) = if quick { (1, 1) } else { (5, 2) };
    for file in ["source", "a", "b", "c"] {
        fill(&folder.join(file))?;
    }
    let (qemu_nbd, nbdkit) = (Path::new("qemu-nbd"), Path::new("nbdkit"));
    let servers = [
        Server::start(folder, "blk", blk, "nbd -t -e 0 -k SOCKET -f raw a")?,
        Server::start(folder, "qemu-nbd", qemu_nbd, "-t -e 0 -k SOCKET -f raw b")?,
        Server::start(folder, "nbdkit", nbdkit, "-f -U SOCKET file c")?,
    ];
    let mut all = compare_servers(&servers, &[0, 1, 2, 3, 4, 5, 6, 7], rounds, seconds)?;
    println!();
    all &= compare_copies(&servers[2], blk, folder, rounds)?;
    drop(servers);
    println!("\nverified: blkverify over raw and qcow2");
    for image in ["b.qcow2", "a.qcow2"] {
        let mut make = Command::new(blk);
        make.args(["img", "convert", "-f", "raw", "-O", "qcow2", "source", image]).current_dir(folder);
        if !make.status()?.success() {
            bail!("cannot make {image}");
        }
    }
    for file in ["a", "b"] {
        fs::copy(folder.join("source"), folder.join(file))?;
    }
    let options = |raw: &str| {
        format!(
            "driver=blkverify,raw.driver=raw,raw.file.driver=file,raw.file.filename={raw},\
             test.driver=qcow2,test.file.driver=file,test.file.filename={raw}.qcow2"
        )
    };
    let verified = [
        Server::start(folder, "blk", blk, &format!("nbd -t -e 0 -k SOCKET --image-opts {}", options("a")))?,
        Server::start(
            folder,
            "qemu-nbd",
            qemu_nbd,
            &format!("-t -e 0 -k SOCKET --image-opts {}", options("b")),
        )?,
    ];
    all &= compare_servers(&verified, &VERIFIED, rounds, seconds)?;
    Ok(all)
}
