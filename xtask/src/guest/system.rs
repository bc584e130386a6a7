//! What the guest boots, and what it unpacks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use super::cpio::Archive;
use super::packages::only;

/// What the kernel needs to find disks and xfs, each after what it rests on. ext4 is built in.
const MODULES: [&str; 8] = [
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
    "lib/libcrc32c.ko",
    "fs/xfs/xfs.ko",
];

/// Programs that busybox lacks.
const PROGRAMS: [&str; 5] = ["sbin/mkfs.ext4", "sbin/e2fsck", "sbin/mkfs.xfs", "sbin/xfs_repair", "bin/tar"];

/// The kernel, and its first file system.
pub(super) struct System {
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
}

/// Makes the first file system from unpacked packages.
pub(super) fn build(shell: &Shell, root: &Path, initramfs: PathBuf) -> Result<System> {
    let mut archive = Archive::default();
    for folder in [
        "bin", "dev", "etc", "lib64", "mnt", "modules", "proc", "run", "sys", "tmp", "usr", "usr/bin",
        "usr/lib",
    ] {
        archive.folder(folder);
    }
    archive.device("dev/console", [5, 1]);
    archive.file("init", include_bytes!("init.sh"));
    archive.file("booted.sh", include_bytes!("booted.sh"));
    archive.file("booted.service", include_bytes!("booted.service"));
    let mut add = |name: &str, file: &Path| -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        archive.file(name, &bytes);
        Ok(())
    };
    add("bin/busybox", &root.join("bin/busybox"))?;
    add("etc/mke2fs.conf", &root.join("etc/mke2fs.conf"))?;
    let modules = only(&root.join("lib/modules"), "")?.join("kernel");
    for module in MODULES {
        let name = Path::new(module).file_name().unwrap_or_default().to_string_lossy();
        add(&format!("modules/{name}"), &modules.join(module))?;
    }
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        add(&format!("usr/bin/{name}"), &root.join(program))?;
        libraries.extend(libraries_of(shell, root, &root.join(program))?);
    }
    for library in libraries {
        let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        add(&format!("usr/lib/{name}"), &library)?;
    }
    add("lib64/ld-linux-x86-64.so.2", &root.join("lib64/ld-linux-x86-64.so.2"))?;
    archive.link("bin/sh", "busybox");
    archive.link("lib", "usr/lib");
    let order = MODULES.map(|module| module.rsplit('/').next().unwrap_or(module));
    archive.file("modules/order", order.join("\n").as_bytes());
    fs::write(&initramfs, archive.end())?;
    Ok(System { kernel: only(&root.join("boot"), "vmlinuz-")?, initramfs })
}

/// The libraries of a program, as its own packages have them.
fn libraries_of(shell: &Shell, root: &Path, program: &Path) -> Result<Vec<PathBuf>> {
    let loader = root.join("lib64/ld-linux-x86-64.so.2");
    let path = library_path(root);
    let listed = cmd!(shell, "{loader} --library-path {path} --list {program}").quiet().read()?;
    let named = listed.lines().filter_map(|line| line.split(" => ").nth(1)?.split(" (").next());
    let libraries: Vec<PathBuf> = named.map(PathBuf::from).filter(|path| !path.ends_with(LOADER)).collect();
    match libraries.iter().find(|library| !library.starts_with(root)) {
        Some(other) => bail!("{} wants {}", program.display(), other.display()),
        None => Ok(libraries),
    }
}

const LOADER: &str = "ld-linux-x86-64.so.2";

/// Where the libraries of unpacked packages are.
pub(super) fn library_path(root: &Path) -> String {
    let folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
    folders.map(|folder| root.join(folder).display().to_string()).join(":")
}

/// Packs a tree of files, and their checksums: what is in these folders of `root`.
pub(super) fn pack_tree(shell: &Shell, root: &Path, sources: &[&str], archive: &Path) -> Result<()> {
    let staged = archive.with_extension("staged");
    let _ = fs::remove_dir_all(&staged);
    let tree = staged.join("tree");
    fs::create_dir_all(&tree)?;
    for source in sources {
        for entry in fs::read_dir(root.join(source))?.flatten() {
            let from = entry.path();
            cmd!(shell, "cp -al {from} {tree}").quiet().run()?;
        }
    }
    let sums = {
        let _here = shell.push_dir(&staged);
        let sums = cmd!(shell, "find tree -type f -exec sha256sum '{}' +").quiet().read()?;
        fs::write(staged.join("SUMS"), format!("{sums}\n"))?;
        sums
    };
    cmd!(shell, "tar --create --owner=0 --group=0 --file {archive} --directory {staged} SUMS tree")
        .quiet()
        .run()?;
    fs::remove_dir_all(&staged)?;
    let bytes = fs::metadata(archive)?.len();
    println!("a tree of {} files, {} MiB, is packed", sums.lines().count(), bytes >> 20);
    Ok(())
}

/// Packs the packages of a system; and the files of those that are `essential`, which are unpacked before
/// anything is installed: by the host, which is faster at it.
pub(super) fn pack_packages(
    shell: &Shell,
    packages: &[(String, PathBuf)],
    essential: &[(String, PathBuf)],
    archive: &Path,
) -> Result<()> {
    let staged = archive.with_extension("staged");
    let _ = fs::remove_dir_all(&staged);
    for folder in ["debs", "essential"] {
        fs::create_dir_all(staged.join(folder))?;
    }
    for (_, file) in packages {
        fs::hard_link(file, staged.join("debs").join(file.file_name().unwrap_or_default()))?;
    }
    for (name, file) in essential {
        let files = fs::File::create(staged.join("essential").join(format!("{name}.tar")))?;
        let unpacked = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(file).stdout(files).status()?;
        if !unpacked.success() {
            bail!("cannot unpack {name}");
        }
    }
    cmd!(shell, "tar --create --owner=0 --group=0 --file {archive} --directory {staged} debs essential")
        .quiet()
        .run()?;
    fs::remove_dir_all(&staged)?;
    println!("{} packages, {} MiB, are packed", packages.len(), fs::metadata(archive)?.len() >> 20);
    Ok(())
}
