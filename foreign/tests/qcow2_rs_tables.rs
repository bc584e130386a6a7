//! What `docs/findings` tells of the tables of qcow2-rs, as it is in the version that is pinned here, through
//! the crate alone. A test that fails after an update is good news: mend the document.

#[path = "../examples/qcow2_rs_failed_read.rs"]
mod qcow2_rs_failed_read;
#[path = "../examples/qcow2_rs_io.rs"]
mod qcow2_rs_io;
mod qemu;

use std::path::Path;
use std::process::Command;

/// The image that a child process writes to.
const IMAGE: &str = "FOREIGN_TEST_IMAGE";

#[test]
fn qcow2_rs_failed_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.qcow2");
    let name = path.display().to_string();
    if qemu::run("qemu-img", &["create", "-q", "-f", "qcow2", &name, "128M"]).is_none() {
        return;
    }
    qemu::run("qemu-io", &["-f", "qcow2", "-c", "write -P 0x11 0 1M", "-c", "write -P 0x22 64M 1M", &name]);
    let requests = ["fail", "read 0", "read 0", "read 67108864", "read 0", "write 1048576", "flush"];
    let answers = qcow2_rs_failed_read::run(&path, &requests).unwrap();
    assert!(answers[0].starts_with("failed") && answers[1].starts_with("failed"), "{answers:?}");
    assert_eq!(answers[2..], ["0x22", "0x00", "written", "flushed"], "the first cluster has 0x11");
    let (_, said) =
        qemu::answer("qemu-io", &["-r", "-f", "qcow2", "-c", "read -P 0x11 0 1M", &name]).unwrap();
    assert!(said.contains("Pattern verification failed"), "the megabyte is lost: {said}");
}

/// The crate ends the process, so a child has to make the request.
#[test]
fn qcow2_rs_refcount_table() {
    const TEST: &str = "qcow2_rs_refcount_table";
    if let Some(image) = std::env::var_os(IMAGE) {
        qcow2_rs_io::run(Path::new(&image), &["write 1065353216 12582912 0x11", "flush"]).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.qcow2");
    let name = path.display().to_string();
    let options = "cluster_size=4096,refcount_bits=64,preallocation=metadata";
    if qemu::run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, &name, "1016M"]).is_none() {
        return;
    }
    qemu::run("qemu-img", &["resize", "-q", &name, "1100M"]);
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args([TEST, "--exact", "--nocapture"]).env(IMAGE, &path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("assertion failed: size != 0"), "{said}");
}
