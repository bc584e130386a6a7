//! What `docs/findings` tells of qcow2-rs, as it is in the version that is pinned here, through the crate
//! alone.
//! A test that fails after an update is good news: mend the document, and take the deviation out of
//! `known.rs`.

#[path = "../examples/qcow2_rs_failing.rs"]
mod qcow2_rs_failing;
#[path = "../examples/qcow2_rs_io.rs"]
mod qcow2_rs_io;
mod qemu;

use std::path::PathBuf;

use tempfile::TempDir;

/// A folder for images.
struct Images(TempDir);

impl Images {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `qemu-img create -f qcow2 OPTIONS NAME SIZE`; `None` without QEMU's tools.
    fn create(&self, options: &[&str], name: &str, size: &str) -> Option<()> {
        let path = self.text(name);
        let mut arguments = vec!["create", "-q", "-f", "qcow2"];
        arguments.extend(options);
        arguments.extend([path.as_str(), size]);
        qemu::run("qemu-img", &arguments)
    }

    /// `qemu-io -c COMMAND NAME`: whether all has gone well.
    fn io(&self, name: &str, command: &str) -> bool {
        let path = self.text(name);
        let (is_good, said) = qemu::answer("qemu-io", &["-f", "qcow2", "-c", command, &path]).unwrap();
        is_good && !said.contains("verification failed")
    }

    /// What `qemu-img check` prints.
    fn check(&self, name: &str) -> String {
        qemu::answer("qemu-img", &["check", &self.text(name)]).unwrap().1
    }

    fn requests(&self, name: &str, requests: &[&str]) -> Vec<String> {
        qcow2_rs_io::run(&self.path(name), requests).unwrap()
    }
}

#[test]
fn qcow2_rs_snapshots() {
    let images = Images::new();
    let Some(()) = images.create(&[], "a.qcow2", "1M") else { return };
    assert!(images.io("a.qcow2", "write -P 0x11 0 64k"));
    qemu::run("qemu-img", &["snapshot", "-c", "before", &images.text("a.qcow2")]);
    images.requests("a.qcow2", &["write 0 512 0x22", "flush"]);
    assert!(images.io("a.qcow2", "read -P 0 512 65024"), "the rest of the cluster is lost");
    qemu::run("qemu-img", &["snapshot", "-a", "before", &images.text("a.qcow2")]);
    assert!(!images.io("a.qcow2", "read -P 0x11 0 64k"), "so is the snapshot");
}

/// 64 clusters of 4 KiB, of which some 1.5 to 3.4 KiB each cannot be compressed.
fn half_random() -> Vec<u8> {
    let mut state: u32 = 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let mut content = Vec::new();
    for cluster in 1..=64 {
        let noise = 1500 + next() % 2000;
        content.extend((0..noise).map(|_| (next() >> 16) as u8));
        content.resize(cluster * 4096, 0);
    }
    content
}

#[test]
fn qcow2_rs_compressed_overfree() {
    let images = Images::new();
    std::fs::write(images.path("a.raw"), half_random()).unwrap();
    let (raw, packed) = (images.text("a.raw"), images.text("packed.qcow2"));
    let convert = ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4096", &raw, &packed];
    let Some(()) = qemu::run("qemu-img", &convert) else { return };
    assert!(images.check("packed.qcow2").contains("No errors were found"));
    let is_wrong = |cluster: &u32| {
        std::fs::copy(&packed, images.path("a.qcow2")).unwrap();
        images.requests("a.qcow2", &[&format!("write {} 512 0x22", cluster * 4096), "flush"]);
        images.check("a.qcow2").contains("refcount=1 reference=2")
    };
    let wrong: Vec<u32> = (0..64).filter(is_wrong).collect();
    assert!(!wrong.is_empty(), "a neighbour has lost a reference after a write to one of these clusters");
    eprintln!("writes to these clusters free a neighbour's host cluster: {wrong:?}");
}

#[test]
fn qcow2_rs_short_backing() {
    let images = Images::new();
    let Some(()) = images.create(&["-o", "cluster_size=4096"], "base.qcow2", "51200") else { return };
    assert!(images.io("base.qcow2", "write -P 0x11 0 51200"));
    let base = images.text("base.qcow2");
    images.create(&["-b", &base, "-F", "qcow2"], "top.qcow2", "51200").unwrap();
    assert!(images.io("top.qcow2", "read -P 0x11 0 51200"));
    images.requests("top.qcow2", &["write 0 512 0x22", "flush"]);
    assert!(!images.io("top.qcow2", "read -P 0x11 512 50688"), "what the base had is gone");
}

#[test]
fn qcow2_rs_narrow_refcounts() {
    for (bits, is_right) in [("1", true), ("2", false), ("4", false), ("8", true), ("64", true)] {
        let images = Images::new();
        let option = format!("refcount_bits={bits}");
        let Some(()) = images.create(&["-o", &option], "a.qcow2", "1M") else { return };
        images.requests("a.qcow2", &["write 0 512 0x22", "flush"]);
        let said = images.check("a.qcow2");
        assert_eq!(said.contains("No errors were found"), is_right, "{bits} bits: {said}");
    }
}

#[test]
fn qcow2_rs_stale_bitmaps() {
    let images = Images::new();
    let Some(()) = images.create(&[], "a.qcow2", "1M") else { return };
    qemu::run("qemu-img", &["bitmap", "--add", &images.text("a.qcow2"), "backup"]);
    images.requests("a.qcow2", &["write 0 512 0x22", "flush"]);
    let header = std::fs::read(images.path("a.qcow2")).unwrap();
    assert_eq!(header[88..96], [0, 0, 0, 0, 0, 0, 0, 1], "the bitmaps are said to be up to date");
}

/// One write of the flush fails, once; the next flush succeeds.
#[test]
fn qcow2_rs_failed_flush() {
    let images = Images::new();
    let mut lost = Vec::new();
    for number in 1..=4 {
        let name = format!("{number}.qcow2");
        let Some(()) = images.create(&[], &name, "1M") else { return };
        let answers = qcow2_rs_failing::run(&images.path(&name), number).unwrap();
        if answers == [false, true] && !images.io(&name, "read -P 0x22 0 512") {
            lost.push(number);
        }
    }
    assert!(!lost.is_empty(), "a sector is lost that a flush has answered for");
    eprintln!("with these writes failing, once each: {lost:?}");
}
