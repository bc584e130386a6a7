//! Spellings of sizes and counts, in every place that takes one.

use std::fs::{self, File};

use super::tools::{Tools, compare};
use crate::qemu;

const SPELLINGS: &[&str] = &[
    "0",
    "1",
    "512",
    "1000",
    "+512",
    "-512",
    "-0",
    " 512",
    "\t512",
    "\n512",
    "512 ",
    "5 12",
    "",
    "1.5",
    "1.0",
    "1.",
    "1.0b",
    "1.5b",
    ".5",
    "0.5k",
    ".5k",
    "1.5k",
    "1.9999k",
    "1.9999999999999999999k",
    "0.0001k",
    "0.00048828125k",
    "0.000488281249k",
    "0.00146484375k",
    "1.k",
    "k",
    ".k",
    ".",
    "1b",
    "1B",
    "1K",
    "1m",
    "1G",
    "1t",
    "1P",
    "1e",
    "1e3",
    "1.5e1",
    "1e+3",
    "7E",
    "8E",
    "16E",
    "0.1E",
    "7.9999999999999999999E",
    "15.9E",
    "8191P",
    "8192P",
    "0x200",
    "0X200",
    "0x",
    "0x1k",
    "0x1.8",
    "0x1p3",
    "0x1e",
    "0x1b",
    "0xg",
    "-0x1",
    "+0x10",
    "010",
    "08",
    "0b1",
    "0o17",
    "1_000",
    "1,5",
    "1kb",
    "1KiB",
    "64kk",
    "64 k",
    "64k ",
    "1x",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854774784",
    "0xffffffffffffffff",
    "0x7fffffffffffffff",
    "0x10000000000000000",
    "99999999999999999999",
    "0.1",
    "0.0",
    "00",
    "0.9M",
    "3.14159M",
    "1.0000000001k",
    "inf",
    "nan",
    "1é",
    "--5",
    "+-5",
    "-1",
    "-1k",
    "-1.5k",
    "- 5",
    "+ 5",
    "++5",
    "0.000000000000000000000000000001E",
    "000000000000000000000000000000001k",
    "1s",
    "2w",
];

/// A place that takes a size or a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Create,
    CreateOption,
    ClusterSize,
    RefcountBits,
    Resize,
    Grow,
    Shrink,
    ReadOffset,
    WriteLength,
    WindowSize,
    WindowOffset,
    JsonSize,
    NullSize,
    DdBlock,
    DdCount,
    DdSkip,
    Measure,
    SparseSize,
    Parallel,
    BenchCount,
    MapStart,
}

const PLACES: &[Place] = &[
    Place::Create,
    Place::CreateOption,
    Place::ClusterSize,
    Place::RefcountBits,
    Place::Resize,
    Place::Grow,
    Place::Shrink,
    Place::ReadOffset,
    Place::WriteLength,
    Place::WindowSize,
    Place::WindowOffset,
    Place::JsonSize,
    Place::NullSize,
    Place::DdBlock,
    Place::DdCount,
    Place::DdSkip,
    Place::Measure,
    Place::SparseSize,
    Place::Parallel,
    Place::BenchCount,
    Place::MapStart,
];

fn prepare(tools: &Tools) {
    for (name, length) in [("huge", 1 << 40), ("small", 3000)] {
        File::create(tools.path(name)).unwrap().set_len(length).unwrap();
    }
}

/// The size of the file that a command leaves, if it does its work.
fn made(tools: &Tools, name: &str, command: &[&str]) -> Option<String> {
    tools.img(command)?;
    Some(fs::metadata(tools.path(name)).unwrap().len().to_string())
}

/// What follows `key` in the output, up to a blank.
fn value(output: Option<String>, key: &str) -> Option<String> {
    let output = output?;
    let at = output.find(key)? + key.len();
    Some(output[at..].chars().take_while(char::is_ascii_alphanumeric).collect())
}

/// What is printed, without the text that was given and the times.
fn said(tools: &Tools, arguments: &[&str]) -> String {
    let output = tools.run("qemu-io", arguments);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().filter(|line| !line.contains("ops; "));
    let first = |line: &str| line.split(" -- ").next().unwrap_or_default().to_owned();
    format!("{:?} {:?}", output.status.code(), lines.map(first).collect::<Vec<_>>())
}

fn resized(tools: &Tools, change: &str) -> Option<String> {
    File::create(tools.path("z")).unwrap().set_len(1 << 20).unwrap();
    made(tools, "z", &["resize", "-q", "--shrink", "-f", "raw", "z", change])
}

fn copied(tools: &Tools, operands: &[&str]) -> Option<String> {
    let _ = fs::remove_file(tools.path("x"));
    made(tools, "x", &[&["dd", "-f", "raw", "-O", "raw", "if=small", "of=x"], operands].concat())
}

fn ask(tools: &Tools, &(place, text): &(Place, &'static str)) -> Option<String> {
    let window = |option: &str| {
        let name = format!("driver=raw,{option}={text},file.filename=huge");
        tools.io(&["-r", "--image-opts", "-c", "length", &name])
    };
    match place {
        Place::Create => made(tools, "x", &["create", "-q", "-f", "raw", "x", text]),
        Place::CreateOption => {
            made(tools, "x", &["create", "-q", "-f", "raw", "-o", &format!("size={text}"), "x"])
        }
        Place::ClusterSize => {
            let option = format!("cluster_size={text}");
            value(tools.img(&["create", "-f", "qcow2", "-o", &option, "x", "1M"]), "cluster_size=")
        }
        Place::RefcountBits => {
            let option = format!("refcount_bits={text}");
            value(tools.img(&["create", "-f", "qcow2", "-o", &option, "x", "1M"]), "refcount_bits=")
        }
        Place::Resize => resized(tools, text),
        Place::Grow => resized(tools, &format!("+{text}")),
        Place::Shrink => resized(tools, &format!("-{text}")),
        Place::ReadOffset => {
            Some(said(tools, &["-r", "-f", "raw", "-c", &format!("read -q \"{text}\" 0"), "huge"]))
        }
        Place::WriteLength => {
            Some(said(tools, &["-f", "raw", "-c", &format!("write -q 0 \"{text}\""), "small"]))
        }
        Place::WindowSize => window("size"),
        Place::WindowOffset => window("offset"),
        Place::JsonSize => {
            let text = text.replace('\t', "\\t").replace('\n', "\\n");
            let name = format!("json:{{\"driver\":\"raw\",\"size\":\"{text}\",\"file.filename\":\"huge\"}}");
            tools.io(&["-r", "-c", "length", &name])
        }
        Place::NullSize => {
            tools.io(&["-r", "--image-opts", "-c", "length", &format!("driver=null-co,size={text}")])
        }
        Place::DdBlock => copied(tools, &["count=2", &format!("bs={text}")]),
        Place::DdCount => copied(tools, &["bs=1", &format!("count={text}")]),
        Place::DdSkip => copied(tools, &["bs=1", &format!("skip={text}")]),
        Place::Measure => tools.img(&["measure", "--size", text, "-O", "raw"]),
        Place::SparseSize => tools.img(&["convert", "-f", "raw", "-O", "raw", "-S", text, "small", "x"]),
        Place::Parallel => tools.img(&["convert", "-f", "raw", "-O", "raw", "-m", text, "small", "x"]),
        Place::BenchCount => {
            let length = if text.len() > 8 { "refused anyway" } else { text };
            value(tools.img(&["bench", "-f", "raw", "-s", "512", "-c", length, "huge"]), "Sending ")
        }
        Place::MapStart => tools.img(&["map", "-f", "raw", "--output=json", "--start-offset", text, "small"]),
    }
}

/// QEMU lets the sum of a size and a change, and the size of a null device, overflow.
fn overflows_in_qemu(&(place, text): &(Place, &'static str)) -> bool {
    match place {
        Place::Grow => matches!(text, "18446744073709551615" | "0xffffffffffffffff"),
        Place::Shrink => matches!(text, "18446744073709551615" | "0xffffffffffffffff"),
        Place::NullSize => {
            matches!(text, "8E" | "7.9999999999999999999E" | "15.9E" | "8192P" | "9223372036854775808")
        }
        _ => false,
    }
}

#[test]
fn every_place_reads_sizes_as_qemu_does() {
    if !qemu::available() {
        return;
    }
    let all = PLACES.iter().flat_map(|place| SPELLINGS.iter().map(|text| (*place, *text)));
    // It overflows to a size that some file systems have and others do not.
    let cells: Vec<_> = all.filter(|cell| *cell != (Place::Shrink, "15.9E")).collect();
    compare(cells, prepare, ask, overflows_in_qemu);
}
