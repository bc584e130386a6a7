//! Findings as shell scripts for programs of others: known ones are shown by these alone, and where nothing
//! is wrong, scripts say so.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Instant;

use blk_foreign::{Description, EngineKind, ForeignDriver, description, script};
use blk_harness::driver::Driver;
use blk_harness::generate::{Generator, Limits};
use blk_harness::scenario::Scenario;

/// The driver; `None` where its programs, or those of its scripts, are missing.
fn driver(description: Description) -> Option<&'static ForeignDriver> {
    let has_tools =
        ["qemu-io", "nbdinfo"].iter().all(|tool| Command::new(tool).arg("--version").output().is_ok());
    match ForeignDriver::new(description) {
        Ok(driver) if has_tools => Some(driver),
        other => {
            assert!(std::env::var_os("BLK_REQUIRE_QEMU").is_none(), "{:?}", other.err());
            println!("programs are missing: nothing is tested");
            None
        }
    }
}

/// Runs the script of a scenario; returns how it ended, and what it and the script say.
fn run(driver: ForeignDriver, engine: EngineKind, scenario: &Scenario) -> (Option<i32>, String) {
    let script = script(driver, engine, scenario).unwrap();
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), format!("{scenario}\n{script}\n{said}"))
}

fn scenario(text: &str) -> Scenario {
    Scenario::from_text(&format!("blk-scenario 1\n{text}")).unwrap()
}

/// What is known, and a scenario that is much alike and clean.
const KNOWN: [(&str, EngineKind, &str, &str); 7] = [
    (
        "qemu-qcow2",
        EngineKind::Crash,
        "config size-bytes=128k preallocation=metadata\nwrite -z -u 0 128k\nwrite 64k 512",
        "config size-bytes=128k preallocation=metadata\nwrite -z -u 0 128k\nflush\nwrite 64k 512",
    ),
    (
        "qemu-qcow2",
        EngineKind::Race,
        "config size-bytes=66048 lanes=2\nwrite 0 512\nflush\n@1 write 0 512\nwrite -z -u 0 64k\nwrite 64k 512",
        "config size-bytes=66048 lanes=2\nwrite 0 512\nflush\n@1 write 0 512\nwrite 64k 512",
    ),
    (
        "qemu-qcow2",
        EngineKind::Race,
        "config size-bytes=128k preallocation=metadata lanes=2\nwrite -z 64k 64k\n@1 write 64k 512\nwrite -z -u 66048 512",
        "config size-bytes=128k lanes=2\nwrite -z 64k 64k\n@1 write 64k 512\nwrite -z 66048 512",
    ),
    (
        "nbdkit-cache",
        EngineKind::Content,
        "write 0 512\nmap 0 512",
        "write 0 512\nflush\nmap 0 512\nreopen\nread 0 4k",
    ),
    (
        "qemu-qed",
        EngineKind::Content,
        "config size-bytes=1M table_size=1\nwrite 0 512",
        "config size-bytes=1M table_size=2\nwrite 0 512\nread 0 4k",
    ),
    (
        "qemu-vdi",
        EngineKind::Fault,
        "config size-bytes=1M\nwrite 0 512",
        "config size-bytes=1M static=on\nwrite 0 512",
    ),
    // A repeat puts it right.
    (
        "qemu-vmdk",
        EngineKind::Fault,
        "config size-bytes=1M\nwrite 0 512",
        "config size-bytes=1M\nwrite -z 0 512",
    ),
];

/// The driver's description; that of QED with what is known to be wrong, which scenarios do not draw.
fn described(name: &str) -> Description {
    if name == "qemu-qed" {
        let text = include_str!("../drivers/qemu-qed.toml");
        return Description::parse(&text.replace("min = 2\n", "min = 1\n")).unwrap();
    }
    description(name).unwrap()
}

#[test]
fn known_findings_are_shown_by_programs_of_others_alone() {
    for (name, engine, wrong, right) in KNOWN {
        let Some(driver) = driver(described(name)) else { return };
        let (code, said) = run(*driver, engine, &scenario(wrong));
        assert!(code == Some(1) && said.contains("THE BUG SHOWS"), "{name}: {code:?}\n{said}");
        let (code, said) = run(*driver, engine, &scenario(right));
        assert_eq!(code, Some(good(engine)), "{name}: {said}");
        assert!(said.to_lowercase().contains("nothing is wrong"), "{name}: {said}");
        assert!(!said.contains("wrong at 0 of"), "{name}: {said}");
    }
}

/// No request tells of the first writes that fail, and what is left has a log to replay.
#[test]
fn a_failure_is_shown_behind_others_that_nobody_tells_of() {
    let Some(driver) = driver(described("qemu-vhdx")) else { return };
    let (code, said) = run(*driver, EngineKind::Fault, &scenario("config size-bytes=1M\nwrite 0 512"));
    assert!(code == Some(1) && said.contains("what the disk did not show"), "{code:?}\n{said}");
}

/// What a script ends with where nothing is wrong: of a crash it has tried no more than kills, of requests in
/// flight no more than break points, of failures no more than one write.
fn good(engine: EngineKind) -> i32 {
    if engine == EngineKind::Content { 0 } else { 2 }
}

/// A server of ours in a shell: its third write is lost.
const PLANTED: &str = r#"
name = "planted"
about = "A disk in a file, by nbdkit's eval plugin: the third write is lost"
programs = { nbdkit = "nbdkit" }
medium = { kind = "file" }
[process]
argv = [
    "nbdkit", "--foreground", "--unix", "{export}", "eval",
    "config=ln -sf $(realpath $3) $tmpdir/file",
    "get_size=stat -L -c %s $tmpdir/file",
    "pread=dd iflag=skip_bytes,count_bytes skip=$4 count=$3 if=$tmpdir/file",
    "can_write=exit 0",
    "can_flush=exit 0",
    "flush=exit 0",
    """pwrite=
    echo >> $tmpdir/count
    if [ $(wc -l < $tmpdir/count) = 3 ]; then cat > /dev/null
    else dd oflag=seek_bytes conv=notrunc seek=$4 of=$tmpdir/file; fi""",
    "file={file}",
]
[create]
argv = ["truncate", "--size", "{size}", "{file}"]
"#;

#[test]
fn a_planted_bug_of_a_server_is_shown_without_us() {
    let Some(driver) = driver(Description::parse(PLANTED).unwrap()) else { return };
    let (code, said) = run(*driver, EngineKind::Content, &scenario("write 0 4k\nwrite 8k 512\nwrite 4k 512"));
    assert!(code == Some(1) && said.contains("verification failed"), "{code:?}\n{said}");
    let (code, said) = run(*driver, EngineKind::Content, &scenario("write 0 4k\nwrite 8k 512"));
    assert!(code == Some(0), "{code:?}\n{said}");
}

/// A script ends, and leaves no server behind.
#[test]
fn a_server_that_ignores_that_it_is_to_end_is_killed_and_told() {
    let argv = r#"argv = [
    "sh", "-c", "trap '' TERM; nbdkit --exit-with-parent --foreground --unix {export} file {file}; true","#;
    let start = PLANTED.find("argv = [").unwrap();
    let end = PLANTED.find("\"file={file}\",").unwrap() + "\"file={file}\",".len();
    let text = format!("{}{argv}{}", &PLANTED[..start], &PLANTED[end..]);
    let Some(driver) = driver(Description::parse(&text).unwrap()) else { return };
    let started = Instant::now();
    let (code, said) = run(*driver, EngineKind::Content, &scenario("write 0 4k\nread 0 4k"));
    assert!(code == Some(1) && said.contains("does not end when it is asked to"), "{code:?}\n{said}");
    assert!((10..40).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// A format, one process for each open with and without a medium, and a file.
const CLEAN: [&str; 6] = ["qemu-qcow2", "qemu-vdi", "qemu-luks", "qemu-nbd", "nbdkit", "nbdkit-file"];

#[test]
fn scripts_of_clean_scenarios_end_well() {
    for name in CLEAN {
        let Some(driver) = driver(description(name).unwrap()) else { return };
        let limits = Limits {
            requests_max: 12,
            disk_bytes_max: 1 << 20,
            data_bytes_max: 128 << 10,
            ..Limits::default()
        };
        for scenario in Generator::new(driver.space(), 3, limits).take(5) {
            let (code, said) = run(*driver, EngineKind::Content, &scenario);
            assert!(code == Some(0), "{name}: {code:?}\n{said}");
        }
    }
}

#[test]
fn crashes_of_clean_scenarios_end_well() {
    for name in ["qemu-qcow2", "qemu-vdi"] {
        let Some(driver) = driver(description(name).unwrap()) else { return };
        let clean = scenario("config size-bytes=256k\nwrite 0 64k\nflush\nwrite -P 7 32k 512");
        let (code, said) = run(*driver, EngineKind::Crash, &clean);
        assert!(code == Some(2) && said.contains("Nothing is wrong"), "{name}: {code:?}\n{said}");
    }
}

#[test]
fn a_script_without_its_programs_tells_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("qemu-io");
    std::fs::write(&none, "#!/bin/sh\nexit 127\n").unwrap();
    std::fs::set_permissions(&none, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    for (name, engine) in [
        ("qemu-qcow2", EngineKind::Content),
        ("qemu-qcow2", EngineKind::Crash),
        ("nbdkit-memory", EngineKind::Content),
    ] {
        let Some(driver) = driver(description(name).unwrap()) else { return };
        let script = script(*driver, engine, &scenario("write 0 64k\nflush\nread 0 64k")).unwrap();
        let output = Command::new("sh").args(["-c", &script]).env("PATH", &path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains("qemu-io cannot run"), "{name}: {said}");
    }
}

#[test]
fn why_there_is_no_script_is_said() {
    for (name, engine, why) in
        [("nbdkit", EngineKind::Crash, "break points"), ("nbdkit", EngineKind::Fault, "blkdebug")]
    {
        let Some(driver) = driver(description(name).unwrap()) else { return };
        let error = script(*driver, engine, &scenario("flush")).unwrap_err().to_string();
        assert!(error.contains(why), "{name}: {error}");
    }
}
