//! What `docs/findings` tells of imago, as it is in the version that is pinned here, through the crate alone.
//! A test that fails after an update is good news: mend the document, and take the deviation out of
//! `known.rs`.

#[path = "../examples/imago_io.rs"]
mod imago_io;
mod qemu;

#[test]
#[should_panic(expected = "attempt to subtract with overflow")]
fn imago_partial_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let _ = imago_io::run(
        &folder.path().join("a.qcow2"),
        &["create 1024 65536", "write 0 512 0x11", "zero 0 512"],
    );
}

#[test]
fn imago_l1_before_refcount() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.qcow2");
    let name = path.display().to_string();
    let create = ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", &name, "16M"];
    if qemu::run("qemu-img", &create).is_none() {
        return;
    }
    let check = || qemu::answer("qemu-img", &["check", &name]).unwrap().1;
    imago_io::run(&path, &["write 0 4096 0x11", "flush"]).unwrap();
    assert!(check().contains("No errors were found"));
    // A second L2 table is needed, and the process is killed.
    imago_io::run(&path, &["write 0x400000 4096 0x22", "kill"]).unwrap();
    assert!(check().contains("ERROR cluster 6 refcount=0 reference=1"), "{}", check());
    // The next process takes the cluster of the table for data.
    let _ = imago_io::run(&path, &["write 0x1000 4096 0x33", "write 0x400000 4096 0x44"]);
    assert!(check().contains("l2 entry with reserved bits set: 3333333333333333"));
}
