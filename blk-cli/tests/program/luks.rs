//! Encrypted images: what a wrong command line leaves alone, and what it does not show.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A passphrase that would be seen.
const DATA: &str = "open";
const REST: &str = "sesame";

fn blk<S: AsRef<OsStr>>(folder: &Path, arguments: &[S]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn done(folder: &Path, line: &str) {
    let output = blk(folder, &words(line));
    assert!(output.status.success(), "{line}: {}", stderr(&output));
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The rehearsal in memory refused no value that it replaced: the file was lost before the value was seen.
#[test]
fn a_wrong_option_leaves_the_file_that_was_there() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("source"), [1; 4096]).unwrap();
    for command in [
        "img create -f luks --object secret,id=s,data=abc -o key-secret=s,OPTION target 64k",
        "img convert -f raw -O luks --object secret,id=s,data=abc -o key-secret=s,OPTION source target",
        "img dd -f raw -O luks --object secret,id=s,data=abc -o key-secret=s,OPTION if=source of=target",
    ] {
        for option in [
            "iter-time=3600001",
            "iter-time=x",
            "iter-time=-1",
            "preallocation=some",
            "hash-alg=md5",
            "cipher-alg=x",
            "key-secret=t",
        ] {
            let target = folder.path().join("target");
            std::fs::write(&target, "kept").unwrap();
            let line = command.replace("OPTION", option);
            let output = blk(folder.path(), &words(&line));
            assert!(!output.status.success(), "{line}");
            assert_eq!(std::fs::read(&target).unwrap(), b"kept", "{line}: {}", stderr(&output));
        }
    }
}

/// clap's errors show the value of an option.
#[test]
fn no_error_shows_a_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.raw"), [0; 4096]).unwrap();
    let long = "sesame".repeat(1000);
    let forms = [
        "secret,id=s,data=open,sesame",
        "secret,id=s,data=open,nosesame",
        "secret,id=s,data=open,=sesame",
        "secret,id=s,data=open,sesame=1",
        &format!("secret,id=s,data=open,{long}"),
        "secret,data=open",
        "secret,id=s,data=open,file=a.raw",
        "secret,id=s,data=open,file=/nowhere",
        "secret,id=s,data=open,format=hex",
        "secret,id=s,data=open,loaded=2",
        "secret,id=s,data=open,keyid=t",
        "secret,id=s,data=open,keyid=t,iv=*",
        "secret,id=s,data=open,keyid=t,iv=Zg==",
        "secret,id=s,keyid=t,iv=open*",
        "sercet,id=s,data=open",
        "id=s,data=open",
        "data=open,sesame",
        "secretid=s,data=open",
        r#"{"qom-type":"secret","id":"s","data":"open"#,
        r#"{"qom-type":"secret","id":"s","data":"open",sesame}"#,
        r#"{"qom-type":"secret","id":"s","data":"open","sesame":1}"#,
        r#"{"qom-type":"secret","id":"s","data":"open","sesame":1,"sesame":1}"#,
        r#"{"qom-type":"secret","id":"s","data":["open","sesame"]}"#,
        r#"{"qom-type":"secret","id":"s","data":"open\sesame"}"#,
        r#" {"data":"open","qom-type":"secret","id":"s"}"#,
        r#"["qom-type","secret","data","open"]"#,
    ];
    for form in forms.map(OsStr::new) {
        for line in
            ["img info a.raw", "img create -f raw new.raw 1M", "io -f raw -c quit a.raw", "nbd -f raw a.raw"]
        {
            for joined in [false, true] {
                let mut arguments: Vec<&OsStr> = words(line).into_iter().map(OsStr::new).collect();
                let mut whole = OsStr::new("--object=").to_owned();
                whole.push(form);
                if joined {
                    arguments.push(&whole);
                } else {
                    arguments.extend([OsStr::new("--object"), form]);
                }
                let output = blk(folder.path(), &arguments);
                let said = stderr(&output);
                assert!(!output.status.success() && !said.is_empty(), "{line} {form:?}");
                assert!(!said.contains(DATA) && !said.contains(REST), "{line} {form:?}: {said}");
            }
        }
    }
    assert!(!folder.path().join("new.raw").exists());
}

/// The server in the background is another process, and a pipe is read once.
#[test]
fn a_server_in_the_background_gets_a_secret_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    done(
        folder.path(),
        "img create -q -f luks --object secret,id=s,data=abc -o key-secret=s,iter-time=10 a.luks 1M",
    );
    let socket = folder.path().join("socket");
    let line = "nbd --fork --object secret,id=s,file=/dev/stdin --image-opts \
                driver=luks,key-secret=s,file.driver=file,file.filename=a.luks -k";
    let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
    command.args(words(line)).arg(&socket).current_dir(folder.path());
    // What the server says ends when it has detached from its terminal.
    let mut server = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    server.stdin.take().unwrap().write_all(b"abc").unwrap();
    let output = server.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    // The last client that leaves ends it.
    let uri = format!("nbd+unix:///?socket={}", socket.display());
    done(folder.path(), &format!("img info {uri}"));
}

/// What is described is the format on top: what it lies in is read, with its key.
#[test]
fn an_image_inside_an_encrypted_one_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "--object secret,id=s,data=abc";
    done(folder.path(), &format!("img create -q -f luks {secret} -o key-secret=s,iter-time=10 a.luks 1M"));
    done(folder.path(), "img create -q -f qcow2 b.qcow2 64k");
    let luks = "driver=luks,key-secret=s,file.driver=file,file.filename=a.luks";
    done(folder.path(), &format!("img convert -n -f raw b.qcow2 {secret} --target-image-opts {luks}"));
    let inner = "file.driver=luks,file.key-secret=s,file.file.driver=file,file.file.filename=a.luks";
    for outer in ["driver=qcow2,", ""] {
        let line = format!("img info {secret} --image-opts {outer}{inner}");
        let output = blk(folder.path(), &words(&line));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains("file format: qcow2"),
            "{line}: {said}{}",
            stderr(&output)
        );
    }
    // The format on top needs no key.
    done(folder.path(), "img info a.luks");
}
