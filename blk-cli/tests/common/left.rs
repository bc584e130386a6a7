//! What scripts leave behind: the same files, with the same content as a guest sees it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What differs between the files in two folders.
pub(crate) fn differences(theirs: &Path, ours: &Path) -> Vec<String> {
    let (theirs, ours) = (files(theirs), files(ours));
    let mut differences = Vec::new();
    for name in theirs.keys().filter(|name| !ours.contains_key(*name)) {
        differences.push(format!("{name} is missing"));
    }
    for (name, path) in &ours {
        match theirs.get(name) {
            Some(their_path) => differences.extend(difference(name, their_path, path)),
            None => differences.push(format!("{name} should not be there")),
        }
    }
    differences
}

fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there").flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
}

fn difference(name: &str, theirs: &Path, ours: &Path) -> Option<String> {
    if theirs.is_dir() {
        return differences(theirs, ours).first().map(|first| format!("{name}: {first}"));
    }
    let (is_qcow2, is_small) = (is_qcow2(theirs), fs::metadata(theirs).ok()?.len() < 1 << 20);
    if is_qcow2 != self::is_qcow2(ours) {
        return Some(format!("{name} has another format"));
    }
    if !is_qcow2 && is_small {
        let same = fs::read(theirs).ok()? == fs::read(ours).ok()?;
        return (!same).then(|| format!("{name} has another content"));
    }
    let format = if is_qcow2 { "qcow2" } else { "raw" };
    let compared = qemu_img(&["compare", "-U", "-f", format, "-F", format], &[theirs, ours]);
    // 2 and more: an image that neither can be opened with, as scripts about damage leave.
    if compared.0 == 1
        || (compared.0 > 1 && fs::read(theirs).ok()? != fs::read(ours).ok()? && opens(theirs, format))
    {
        return Some(format!("{name}: {}", compared.1.trim()));
    }
    if is_qcow2 {
        let check = |image: &Path| qemu_img(&["check", "-U", "-f", "qcow2"], &[image]).0;
        let (before, after) = (check(theirs), check(ours));
        if before != after {
            return Some(format!(
                "{name}: qemu-img check ends with {after}, of QEMU's own image with {before}"
            ));
        }
    }
    None
}

fn opens(image: &Path, format: &str) -> bool {
    qemu_img(&["info", "-U", "-f", format], &[image]).0 == 0
}

fn is_qcow2(path: &Path) -> bool {
    let mut start = [0; 4];
    fs::File::open(path).is_ok_and(|mut file| {
        std::io::Read::read_exact(&mut file, &mut start).is_ok() && start == *b"QFI\xfb"
    })
}

/// Exit code and output of the real program.
fn qemu_img(arguments: &[&str], images: &[&Path]) -> (i32, String) {
    let mut command = Command::new("qemu-img");
    command.args(arguments).args(images);
    // Backing files are named relative to the folder of the first image.
    if let Some(folder) = images.first().and_then(|image| image.parent()) {
        command.current_dir(folder);
    }
    let output = command.output().expect("qemu-img runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}
