//! The long jobs of `cargo blk` on the driver of an outside author, right and with bugs planted in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// The example in a folder of its own, where its source can be broken.
struct Example {
    folder: tempfile::TempDir,
    /// The driver as it is right.
    source: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Copies a folder but for what is built and found there; manifests find the crates of this workspace.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["target", "corpus", "artifacts", "repros", "exhaust"].contains(&name) {
                copy(&path, &target);
            }
        } else if name == "Cargo.toml" {
            let text = fs::read_to_string(&path).unwrap();
            let crates = format!("\"{}/blk-", root().display());
            let text = text.replace("\"../../../blk-", &crates).replace("\"../../blk-", &crates);
            fs::write(target, text).unwrap();
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

impl Example {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&root().join("examples/log-disk"), folder.path());
        let source = fs::read_to_string(folder.path().join("src/disk.rs")).unwrap();
        Self { folder, source }
    }

    /// Writes the driver with each of these texts, which stand in it once or more, replaced.
    fn plant(&self, bug: &[(&str, &str)]) {
        let mut text = self.source.clone();
        for (right, wrong) in bug {
            assert!(text.contains(right), "the driver has no '{right}'");
            text = text.replacen(right, wrong, 1);
        }
        fs::write(self.folder.path().join("src/disk.rs"), text).unwrap();
    }

    /// Runs `cargo blk` with these words; returns its exit code and all that it says.
    fn blk(&self, words: &str) -> (Option<i32>, String) {
        self.run(Command::new(env!("CARGO_BIN_EXE_cargo-blk")).arg("blk").args(words.split(' ')))
    }

    /// Runs a command in the example's folder; returns its exit code and all that it says.
    fn run(&self, command: &mut Command) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.output(command);
        (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }

    fn output(&self, command: &mut Command) -> Output {
        // Programs of the same name, with other bugs in them, lie in the same place.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // What is built stays for the next time, and for the other tests that build a project. It need not be
        // fast.
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("outside");
        command
            .current_dir(self.folder.path())
            .env("CARGO_TARGET_DIR", target)
            .env("RUST_BACKTRACE", "0")
            .env("BLK_PROFILE", "dev");
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "false");
        command.env("CARGO_INCREMENTAL", "0");
        command.output().unwrap()
    }

    #[track_caller]
    fn expect(&self, words: &str, code: i32, texts: &[&str]) {
        let (ended, said) = self.blk(words);
        assert_eq!(ended, Some(code), "{words}\n{said}");
        for text in texts {
            assert!(said.contains(text), "{words}: no '{text}' in\n{said}");
        }
    }

    /// The finding of a trace is told as JSON: in a file, and alone on standard output.
    #[track_caller]
    fn expect_json(&self, trace: &str, target: &str) {
        let read = |text: &[u8]| -> serde_json::Value { serde_json::from_slice(text).unwrap() };
        self.expect(&format!("repro --plain {trace} --json told.json"), 0, &["proven:", "contents mismatch"]);
        let told = read(&fs::read(self.folder.path().join("told.json")).unwrap());
        assert_eq!((&told["target"], &told["engine"]), (&target.into(), &"sequence".into()), "{told}");
        assert!(told["difference"]["expected"][0]["source"]["number"].is_u64(), "{told}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-blk"));
        let Output { stdout, .. } =
            self.output(command.args(["blk", "repro", "--plain", trace, "--json", "-"]));
        assert_eq!(read(&stdout), told);
    }

    /// The test that was written for a finding compiles in the driver's own crate, fails with the bug that is
    /// planted now, and passes without.
    #[track_caller]
    fn expect_test(&self, written: &str) {
        fs::copy(self.folder.path().join(written), self.folder.path().join("tests/finding.rs")).unwrap();
        let broken = fs::read_to_string(self.folder.path().join("src/disk.rs")).unwrap();
        let (ended, said) = self.run(Command::new("cargo").args(["test", "--test", "finding"]));
        assert!(ended == Some(101) && said.contains("contents mismatch"), "{said}");
        self.plant(&[]);
        let (ended, said) = self.run(Command::new("cargo").args(["test", "--test", "finding"]));
        assert!(ended == Some(0) && said.contains("1 passed"), "{said}");
        fs::write(self.folder.path().join("src/disk.rs"), broken).unwrap();
    }

    /// The names of the traces that were written for findings.
    fn repros(&self) -> Vec<String> {
        let folder = self.folder.path().join("fuzz/repros");
        let names = fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect();
        names.retain(|name| Path::new(name).extension().is_some_and(|extension| extension == "trace"));
        names
    }

    fn forget_repros(&self) {
        fs::remove_dir_all(self.folder.path().join("fuzz/repros")).unwrap();
    }
}

/// A partial write forgets the rest of its block.
const LOST_BLOCK: [(&str, &str); 1] = [("if part.len() < data.len() {", "if part.len() > data.len() {")];
/// A flush that flushes nothing.
const NO_FLUSH: [(&str, &str); 1] = [("self.storage.sync().inspect_err(", "Ok(()).inspect_err(")];
/// A block is read before the lock is taken under which it is written.
const LOST_UPDATE: [(&str, &str); 2] = [
    (
        "        refuse_compressed(flags)?;\n        let mut log = self.log.write();\n",
        "        refuse_compressed(flags)?;\n",
    ),
    (
        "            self.write_part(&mut log, block, within, &rest[..length])?;\n",
        "            let mut data = vec![0; self.block_bytes as usize];
            self.read_block(&self.log.read(), block, 0, &mut data)?;
            data[within..within + length].copy_from_slice(&rest[..length]);
            let mut log = self.log.write();
            let record = Record::write(log.sequence, block);
            self.append(&mut log, record, &data)?;\n",
    ),
];
const READS: &str = "Some(at) => self.storage.read_at(at + within as u64, buf),";
/// A read that never ends.
const ENDLESS: [(&str, &str); 1] = [(READS, "Some(_) => loop { std::thread::yield_now() },")];
/// A lock that the scheduler does not know, held across a call of the storage.
const STD_LOCK: [(&str, &str); 2] = [
    (READS, "Some(at) => { let _held = HELD.lock(); self.storage.read_at(at + within as u64, buf) }"),
    (
        "/// An open image.\n",
        "static HELD: std::sync::Mutex<()> = std::sync::Mutex::new(());\n/// An open image.\n",
    ),
];

#[test]
fn a_right_driver_is_clean() {
    let example = Example::new();
    example.expect("soak log_sequence --requests 3k --jobs 2", 0, &["bytes compared", "clean: log_sequence"]);
    example.expect("soak log_fault --until faults=300 --seed 3", 0, &["clean: log_fault"]);
    example.expect("soak log_fault --until colours=3", 2, &["does not count 'colours'", "faults"]);
    example.expect("race log_race --schedules 2k", 0, &["interleaved", "clean: log_race"]);
    example.expect("race log_race --schedules 20 --threads 3", 0, &["clean: log_race"]);
    example.expect("race log_sequence --schedules 20", 2, &["no requests in flight together"]);
    example.expect("exhaust log_crash --length 1 --step 3", 0, &["units done", "clean: log_crash"]);
    example.expect("exhaust log_crash --length 1 --step 3", 0, &["goes on after", "clean: log_crash"]);
    example.expect("exhaust log_race --points 2 --step 5", 0, &["clean: log_race"]);
    example.expect("corpus list", 0, &["race-read-modify-write", "4 traces"]);
    example.expect("corpus check --plain", 0, &["4 traces of", "all pass"]);
    example.expect("corpus check nothing", 2, &["no trace 'nothing'"]);
    example.expect("corpus show --plain race-read-modify-write", 0, &["# target: log_race", "blk-scenario"]);
    let artifact = "fuzz/artifacts/log_sequences/crash-1";
    fs::create_dir_all(example.folder.path().join(artifact).parent().unwrap()).unwrap();
    fs::write(example.folder.path().join(artifact), "x").unwrap();
    let words = format!("repro --plain {artifact}");
    example.expect(&words, 2, &["was not tried", "no fuzz target 'log_sequences'", "'log_sequence'?"]);
    example.expect("soak log_sequences", 2, &["did you mean 'log_sequence'?"]);
    assert_eq!(example.repros(), [""; 0]);
}

/// A driver that opens nothing.
const SHUT: [(&str, &str); 1] = [(
    "let block_bytes = read_header(&*storage)?;",
    "if storage.len()? > 0 { return Err(Error::unsupported(\"opening\")); }\n let block_bytes = read_header(&*storage)?;",
)];

#[test]
fn a_driver_that_cannot_open_its_own_image_is_never_clean() {
    let example = Example::new();
    example.plant(&SHUT);
    example.expect("soak log_sequence --time 1s", 2, &["prove nothing", "no verdict"]);
    for job in ["soak log_crash", "race log_race"] {
        example.expect(job, 1, &["opening the image", "NOT CLEAN"]);
        example.forget_repros();
    }
}

#[test]
fn planted_bugs_are_found_proven_and_shrunk() {
    let example = Example::new();
    example.plant(&LOST_BLOCK);
    example.expect(
        "soak log_sequence --seed 2",
        1,
        &["found: blkverify:", "proven:", "shrunk:", "NOT CLEAN"],
    );
    let [trace] = &example.repros()[..] else { panic!("one finding: {:?}", example.repros()) };
    let trace = format!("fuzz/repros/{trace}");
    example.expect_test(&trace.replace(".trace", ".rs"));
    example.expect_json(&trace, "log_sequence");
    example.expect(&format!("corpus add --plain lost-block {trace}"), 0, &["saved"]);
    example.expect("corpus check --plain lost-block", 1, &["FINDING", "findings in"]);
    example.forget_repros();
    example.plant(&NO_FLUSH);
    example.expect("exhaust log_crash --restart", 1, &["found: blkverify:", "shrunk:", "NOT CLEAN"]);
    example.forget_repros();
    example.plant(&LOST_UPDATE);
    example.expect("race log_race", 1, &["found: blkverify:", "shrunk:", "NOT CLEAN"]);
    example.expect("race log_race --all", 1, &["found: blkverify:", "NOT CLEAN"]);
    example.forget_repros();
}

#[test]
fn drivers_that_hang_are_findings() {
    let example = Example::new();
    example.plant(&ENDLESS);
    let hangs = ["the driver hangs: request #", "has not completed for 2 s", "blk_core::sync"];
    example.expect("soak log_sequence --hang 2s", 1, &hangs);
    let [trace] = &example.repros()[..] else { panic!("one finding: {:?}", example.repros()) };
    let trace = format!("fuzz/repros/{trace}");
    example.expect(&format!("repro --plain --hang 2s {trace} --save endless"), 0, &["hangs", "saved"]);
    example.expect("corpus check --plain --hang 2s endless", 1, &["hangs"]);
    example.forget_repros();
    example.plant(&STD_LOCK);
    example.expect("race log_race --hang 2s", 1, &hangs);
    assert_eq!(example.repros().len(), 1);
}
