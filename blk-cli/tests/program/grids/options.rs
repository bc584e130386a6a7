//! Options of new images: each with values of every form, and pairs of options that may contradict each
//! other.

use super::tools::{Tools, compare};
use crate::qemu;

const VALUES: &[&str] = &[
    "on", "off", "y", "no", "true", "ON", "1", "0", "", "16", "0x10", "010", "17", "4k", "1.5k", "3000",
    "2M", "4M", "16E", "foo", "v2", "1.1", "zstd", "metadata", "falloc", "64", " 64", "64 ",
];
const OF_QCOW2: &[&str] = &[
    "cluster_size",
    "refcount_bits",
    "lazy_refcounts",
    "preallocation",
    "compression_type",
    "compat",
    "size",
];
const OF_RAW: &[&str] = &["size", "preallocation", "cluster_size"];
const PAIRED: &[&str] = &[
    "compat=0.10",
    "compat=v3",
    "lazy_refcounts=on",
    "refcount_bits=8",
    "refcount_bits=16",
    "compression_type=zstd",
    "cluster_size=512",
    "preallocation=metadata",
    "preallocation=full",
    "extended_l2=off",
    "nocow=off",
];

#[derive(Debug)]
struct Cell {
    command: &'static str,
    format: &'static str,
    options: String,
    size: &'static [&'static str],
}

/// The exit code and what is printed, the options as they are shown among it.
fn ask(tools: &Tools, cell: &Cell) -> (Option<i32>, String) {
    let format = if cell.command == "create" { "-f" } else { "-O" };
    let file: &[&str] = if cell.command == "create" { &["image"] } else { &[] };
    let words = [&[cell.command, format, cell.format, "-o", &cell.options], file, cell.size].concat();
    let output = tools.run("qemu-img", &words);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// QEMU measures images that it cannot make, and does not know the names `v2` and `v3` there.
fn known(cell: &Cell) -> bool {
    let last = |wanted| {
        let options = cell.options.split(',').filter_map(|option| option.split_once('='));
        options.filter(|(name, _)| *name == wanted).map(|(_, value)| value).next_back()
    };
    let is_illegal = |name, legal: &[&str]| last(name).is_some_and(|value| !legal.contains(&value));
    cell.command == "measure"
        && (last("compat").is_some_and(|version| version.starts_with('v'))
            || is_illegal("compression_type", &["zlib", "zstd"])
            || (cell.format == "raw" && is_illegal("preallocation", &["off", "falloc", "full"])))
}

#[test]
fn options_are_taken_shown_and_refused_as_by_qemu() {
    if !qemu::available() {
        return;
    }
    let mut cells = Vec::new();
    for (command, size) in [("create", &["64k"][..]), ("measure", &["--size", "64k"])] {
        let cell = |format, name: &str, options| Cell {
            command,
            format,
            options,
            size: if name == "size" && command == "create" { &[] } else { size },
        };
        for (format, names) in [("qcow2", OF_QCOW2), ("raw", OF_RAW)] {
            for name in names {
                cells.extend(VALUES.iter().map(|value| cell(format, name, format!("{name}={value}"))));
            }
        }
        for one in PAIRED {
            cells.extend(PAIRED.iter().map(|other| cell("qcow2", "", format!("{one},{other}"))));
        }
    }
    compare(cells, |_| (), ask, known);
}
