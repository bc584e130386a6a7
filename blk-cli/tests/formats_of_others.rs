//! The program `blk` with a format of somebody else: this file is what its author would write, a driver and a
//! `main`.
//!
//! The program is the test itself, called by the name `blk`.

mod tail;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode};

use blk_core::Registry;

/// Set for the process that is the program.
const AS_PROGRAM: &str = "BLK_TEST_IS_PROGRAM";

fn main() -> ExitCode {
    if std::env::var_os(AS_PROGRAM).is_some() {
        return blk_cli::main_with(Registry::new(
            [tail::FORMAT].into_iter().chain(blk_cli::formats::ours().formats()),
        ));
    }
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let blk = Blk::new();
    an_image_is_created_written_read_and_converted(&blk);
    options_come_from_the_list(&blk);
    names_and_nodes_know_the_format(&blk);
    a_guest_cannot_make_a_raw_disk_an_image(&blk);
    an_image_is_checked_by_its_format(&blk);
    println!("formats_of_others: 5 tests passed");
    ExitCode::SUCCESS
}

/// The program, in a folder of its own.
struct Blk(tempfile::TempDir);

impl Blk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(std::env::current_exe().unwrap(), folder.path().join("blk")).unwrap();
        Self(folder)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Runs it with these words as arguments; what it printed, and whether it succeeded.
    fn run(&self, arguments: &[&str]) -> (String, bool) {
        let mut command = Command::new(self.folder().join("blk"));
        let output =
            command.args(arguments).current_dir(self.folder()).env(AS_PROGRAM, "1").output().unwrap();
        let printed = [&output.stdout[..], &output.stderr].concat();
        (String::from_utf8_lossy(&printed).into_owned(), output.status.success())
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let (printed, succeeded) = self.run(arguments);
        assert!(succeeded, "{arguments:?}: {printed}");
        printed
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], says: &str) {
        let (printed, succeeded) = self.run(arguments);
        assert!(!succeeded && printed.contains(says), "{arguments:?}: {printed}");
    }
}

fn an_image_is_created_written_read_and_converted(blk: &Blk) {
    let created = blk.succeeds(&["img", "create", "-f", "tail", "-o", "fill=7", "a", "1M"]);
    assert_eq!(created, "Formatting 'a', fmt=tail size=1048576 fill=7\n");
    let io = ["io", "-c", "read -P 7 0 1M", "-c", "write -P 1 64k 64k", "-c", "read -P 1 64k 64k", "a"];
    assert!(blk.succeeds(&io).contains("wrote 65536/65536"));
    // Found out by its footer, not said.
    assert!(blk.succeeds(&["img", "info", "a"]).contains("file format: tail"));
    blk.succeeds(&["img", "convert", "-O", "qcow2", "a", "b"]);
    blk.succeeds(&["img", "convert", "-O", "tail", "b", "c"]);
    assert!(blk.succeeds(&["img", "compare", "a", "c"]).contains("Images are identical"));
    blk.succeeds(&["img", "compare", "-f", "tail", "-F", "qcow2", "a", "b"]);
    blk.succeeds(&["img", "create", "-q", "-f", "qcow2", "-b", "a", "-F", "tail", "over"]);
    assert!(blk.succeeds(&["io", "-c", "read -P 1 64k 64k", "over"]).contains("read 65536/65536"));
    assert_eq!(
        blk.succeeds(&["img", "measure", "-O", "tail", "--size", "1M"]),
        "required size: 1049088\nfully allocated size: 1049088\n"
    );
    blk.succeeds(&["img", "convert", "-O", "raw", "a", "r"]);
    blk.succeeds(&["verify", "--requests", "200", "--seed", "1", "r", "a"]);
}

fn options_come_from_the_list(blk: &Blk) {
    let help = blk.succeeds(&["img", "create", "-f", "tail", "-o", "help"]);
    let expected = "Supported tail options:\n  \
        fill=<num>             - Byte of a new disk (a number from 0 to 255; default: 0)\n  \
        label=<str>            - Name of the disk\n  \
        sealed=<bool (on/off)> - No byte changes any more\n  \
        size=<size>            - Virtual disk size\n";
    assert_eq!(help, expected);
    for (option, says) in [
        ("fill=256", "option 'fill': 256 is not a number from 0 to 255"),
        ("fill=x", "option 'fill': 'x' is not a whole number"),
        ("sealed=perhaps", "option 'sealed': 'perhaps' is neither on nor off"),
        ("sealed=on", "option 'sealed': 'on' needs label: who seals a disk signs it"),
        ("colour=red", "format 'tail' has no option 'colour'"),
        ("cluster_size=4k", "format 'tail' has no option 'cluster_size'"),
        ("nocow=on", "not supported: file option 'nocow'"),
        ("backing_file=a,backing_fmt=raw", "format 'tail' has no option 'backing_file'"),
    ] {
        blk.fails(&["img", "create", "-f", "tail", "-o", option, "new", "1M"], says);
        assert!(!blk.folder().join("new").exists(), "{option}: nothing is made");
    }
    blk.fails(
        &["img", "create", "-f", "tail", "-b", "a", "-F", "raw", "new"],
        "does not support backing files",
    );
    blk.fails(&["img", "convert", "-c", "-O", "tail", "a", "new"], "compressed writes to format 'tail'");
    blk.fails(&["img", "amend", "-f", "tail", "-o", "fill=1", "a"], "does not support option amendment");
    assert!(blk.succeeds(&["img", "--help"]).contains("Formats: tail qcow2 luks raw"));
    assert!(blk.succeeds(&["completions", "bash"]).contains("tail qcow2 luks raw"));
}

fn names_and_nodes_know_the_format(blk: &Blk) {
    let read = ["-c", "read -P 1 64k 512"];
    let list = "driver=tail,invert=off,file.filename=a";
    assert!(blk.succeeds(&[&["io", "--image-opts", list], &read[..]].concat()).contains("read 512/512"));
    let inverted = "driver=tail,invert=y,file.filename=a";
    assert!(
        blk.succeeds(&["io", "--image-opts", inverted, "-c", "read -P 254 64k 512"]).contains("read 512/512")
    );
    let json =
        r#"json:{"driver":"tail","file":{"driver":"blkdebug","image":{"driver":"file","filename":"a"}}}"#;
    assert!(blk.succeeds(&[&["io", json], &read[..]].concat()).contains("read 512/512"));
    blk.fails(&["io", "--image-opts", "driver=tail,invert=2,file.filename=a"], "'2' is neither on nor off");
    blk.fails(&["io", "--image-opts", "driver=tail,foo=1,file.filename=a"], "unknown to the driver 'tail'");
    blk.fails(&["io", "-f", "tail", "b"], "no footer");
}

/// What is written through a guess must not be found to be another format next time, wherever that has its
/// header.
fn a_guest_cannot_make_a_raw_disk_an_image(blk: &Blk) {
    let image = std::fs::read(blk.folder().join("a")).unwrap();
    std::fs::write(blk.folder().join("footer"), &image[image.len() - 512..]).unwrap();
    std::fs::write(blk.folder().join("raw"), vec![0; image.len()]).unwrap();
    let end = (image.len() - 512).to_string();
    let write = format!("write -s footer {end} 512");
    blk.fails(&["io", "-c", &write, "raw"], "Operation not permitted");
    assert!(blk.succeeds(&["img", "info", "raw"]).contains("file format: raw"));
    // Nor by cutting the disk so that its bytes come to lie at the end.
    let inside = format!("write -s footer {} 512", image.len() - 1024);
    blk.succeeds(&["io", "-c", &inside, "raw"]);
    blk.fails(&["io", "-c", &format!("truncate {end}"), "raw"], "Operation not permitted");
    blk.succeeds(&["io", "-c", "truncate 64k", "raw"]);
    // Who says that it is raw means it.
    std::fs::write(blk.folder().join("raw"), vec![0; image.len()]).unwrap();
    blk.succeeds(&["io", "-f", "raw", "-c", &write, "raw"]);
    assert!(blk.succeeds(&["img", "info", "raw"]).contains("file format: tail"));
}

/// The disk has no check of its own: the format judges the file.
fn an_image_is_checked_by_its_format(blk: &Blk) {
    blk.succeeds(&["img", "create", "-q", "-f", "tail", "checked", "64k"]);
    assert!(blk.succeeds(&["img", "check", "checked"]).contains("No errors were found"));
    let file = std::fs::File::options().write(true).open(blk.folder().join("checked")).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"x", (64 << 10) + 100).unwrap();
    let (printed, succeeded) = blk.run(&["img", "check", "-f", "tail", "checked"]);
    assert!(!succeeded && printed.contains("ERROR the footer is not empty"), "{printed}");
    let repaired = blk.succeeds(&["img", "check", "-f", "tail", "-r", "all", "checked"]);
    assert!(repaired.contains("1 corruptions"), "{repaired}");
    assert!(blk.succeeds(&["img", "check", "checked"]).contains("No errors were found"));
    blk.succeeds(&["img", "create", "-q", "-f", "raw", "unchecked", "64k"]);
    let (printed, succeeded) = blk.run(&["img", "check", "-f", "raw", "unchecked"]);
    assert!(!succeeded && printed.contains("does not support checks"), "{printed}");
}
