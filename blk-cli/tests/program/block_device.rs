//! Block devices, as QEMU's tools treat them: loop devices, where they can be made.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::qemu;

/// Loop devices over files of a folder.
#[derive(Default)]
struct Loops(Vec<String>);

impl Loops {
    /// One more. `None`, and a word about it, where none can be made.
    fn add(&mut self, file: &Path, flags: &[&str]) -> Option<String> {
        let output = Command::new("losetup").args(["--find", "--show"]).args(flags).arg(file).output();
        match output {
            Ok(output) if output.status.success() => {
                let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                self.0.push(name.clone());
                Some(name)
            }
            _ => {
                let required = std::env::var_os("BLK_REQUIRE_LOOP").is_some();
                assert!(!required, "loop devices are required here: {output:?}");
                eprintln!("SKIPPED: no loop device can be made here");
                None
            }
        }
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.0 {
            let _ = Command::new("losetup").args(["--detach", device]).status();
        }
    }
}

/// `DEVICE` has 4 MiB, `SMALL` 100 KiB, and `LOCKED` is read-only, over the same file as `DEVICE`. Several
/// commands go together with `;`.
const COMMANDS: [&str; 36] = [
    "img create -q -f qcow2 DEVICE 2M; img check DEVICE",
    "img convert -f raw -O qcow2 data DEVICE; img compare -f raw -F qcow2 data DEVICE",
    "img convert -c -f raw -O qcow2 data DEVICE; img compare -f raw -F qcow2 data DEVICE; img check -q DEVICE",
    "img convert -f raw -O raw data DEVICE; io -r -f raw -c read_-P_5_0_1M DEVICE",
    "img dd -f raw -O qcow2 if=data of=DEVICE; img compare -f raw -F qcow2 data DEVICE",
    "img create -q -f qcow2 SMALL 2M",
    "img convert -f raw -O qcow2 data SMALL",
    "img convert -f raw -O raw data SMALL",
    "img create -q -f raw DEVICE 2M",
    "img create -q -f raw DEVICE 8M",
    "img create -q -f qcow2 -o preallocation=metadata DEVICE 3M; img check DEVICE; io -c write_-P_5_1M_1M DEVICE",
    "img create -q -f qcow2 -o preallocation=metadata DEVICE 30M",
    "img create -q -f qcow2 DEVICE 100G; img check DEVICE",
    "img create -q -f qcow2 DEVICE 1G; img resize DEVICE 2T; img check -q DEVICE",
    "img create -q -f qcow2 DEVICE 200M; io -c write_0_10M DEVICE; img check -q DEVICE",
    "img resize -f raw DEVICE 4M",
    "img resize -f raw DEVICE 2M",
    "img resize -f raw DEVICE 40M",
    "img resize -f raw --shrink DEVICE 2M",
    "img create -q -f qcow2 -b base -F raw DEVICE; io -c write_-P_3_0_1M DEVICE; img commit -q DEVICE",
    "img create -q -f qcow2 DEVICE 2M; img create -q -f qcow2 -b DEVICE -F qcow2 overlay; io -c write_-P_3_0_1M overlay; \
     img commit -q overlay; io -r -c read_-P_3_0_1M DEVICE; img check -q DEVICE",
    "img create -q -f qcow2 DEVICE 2M; img rebase -b base -F raw DEVICE; img check -q DEVICE",
    "img create -q -f raw LOCKED 1M",
    "img create -q -f qcow2 LOCKED 1M",
    "img convert -f raw -O raw data LOCKED",
    "img convert -n -f raw -O raw data LOCKED",
    "img create -q -f qcow2 DEVICE 2M; img check -q LOCKED",
    "img create -q -f qcow2 DEVICE 2M; img check -q -r all LOCKED",
    "img create -q -f qcow2 DEVICE 2M; io -r -c read_0_1M LOCKED",
    "img create -q -f qcow2 DEVICE 2M; io -c read_0_1M LOCKED",
    "img create -q -f qcow2 DEVICE 2M; img resize LOCKED 3M",
    "io -r -f raw -c read_0_512 LOCKED",
    "io -f raw -c read_0_512 LOCKED",
    "img convert -f raw -O qcow2 LOCKED new; img compare -f raw -F qcow2 DEVICE new",
    "img map -f raw --output=json LOCKED",
    "img measure -O qcow2 -f raw SMALL",
];

#[test]
fn commands_on_block_devices_end_as_qemus_do() {
    if !qemu::available() {
        return;
    }
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), vec![0; 4 << 20]).unwrap();
    fs::write(path("small"), vec![0; 100 << 10]).unwrap();
    let mut loops = Loops::default();
    let Some(device) = loops.add(&path("file"), &[]) else { return };
    let Some(small) = loops.add(&path("small"), &[]) else { return };
    let Some(locked) = loops.add(&path("file"), &["--read-only"]) else { return };
    let mut wrong = Vec::new();
    for line in COMMANDS {
        let line = line.replace("DEVICE", &device).replace("SMALL", &small).replace("LOCKED", &locked);
        let theirs = run(folder.path(), &line, &device, false);
        let ours = run(folder.path(), &line, &device, true);
        if theirs.iter().map(|step| step.0).ne(ours.iter().map(|step| step.0)) {
            wrong.push(format!("{line}:\n  qemu {theirs:?}\n  ours {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// A device that is too short for the data of an image: what was there under the image's name stays.
#[test]
fn a_short_data_device_empties_no_image() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), vec![3; 1 << 20]).unwrap();
    let mut loops = Loops::default();
    let Some(device) = loops.add(&path("file"), &[]) else { return };
    for (size, fits) in [("1025K", false), ("1G", false), ("1M", true)] {
        fs::write(path("t"), "precious").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
        command.args(["img", "create", "-q", "-f", "qcow2", "-o", &format!("data_file={device}"), "t", size]);
        let output = command.current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.success(), fits, "{size}: {output:?}");
        assert_eq!(fs::read(path("t")).unwrap() == b"precious", !fits, "{size}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(fits || message.contains("has 1048576 and cannot grow"), "{size}: {message}");
    }
}

/// Runs the commands of a line, over old content that no new image may show. The exit code of each, and what
/// it said.
fn run(folder: &Path, line: &str, device: &str, is_ours: bool) -> Vec<(Option<i32>, String)> {
    // Through the device, because what it has cached need not follow its file.
    fs::write(device, vec![0xaa; 4 << 20]).unwrap();
    fs::write(folder.join("base"), vec![1; 2 << 20]).unwrap();
    fs::write(folder.join("data"), vec![5; 1 << 20]).unwrap();
    let steps = line.split("; ").map(|step| {
        let mut words = step.split_whitespace().map(|word| word.replace('_', " "));
        let program = words.next().unwrap();
        let mut command = Command::new(format!("qemu-{program}"));
        if is_ours {
            command = Command::new(env!("CARGO_BIN_EXE_blk"));
            command.arg(program);
        }
        let output = command.args(words).current_dir(folder).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    });
    steps.collect()
}
