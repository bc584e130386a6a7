//! A scenario for qcow2 as a shell script for QEMU's own tools, to see what they do with it.

mod chain;
mod content;

use std::fmt::Write as _;

use content::{BASE_BYTE, Content, MIDDLE_BYTE};

use crate::data_file::DataFile;
use crate::tall;

use blk_core::slot_name;
use blk_harness::scenario::{Backing, Config, Fill, OnBitmap, OnSnapshot, Repair, Request, Scenario};

/// A POSIX shell script that makes the image with `qemu-img create` and runs the requests with `qemu-io`,
/// in the current directory. Stamps become `-P` with a byte that tells the request: its number from 1,
/// modulo 255, never zero.
///
/// Reads, and one of the whole disk at the end, hold what they show against what was written (`-P`),
/// piece by piece, but for what a discard or a resize leaves open. So the script fails where QEMU's
/// driver does.
///
/// An image that scenarios start from (the option `x-image`) is unpacked from the folder that
/// `BLK_IMAGES` names; what it shows is not known here, and not compared.
///
/// What QEMU's tools cannot be asked for, or would refuse, stands in the script as a comment: of a disk with
/// the state of a machine behind it, all that lies in that.
pub fn qemu_io_script(scenario: &Scenario) -> String {
    let mut scenario = scenario.clone();
    if scenario.config.options.is_on(tall::OPTION) {
        scenario.config.size_bytes = tall::disk_bytes(scenario.config.size_bytes);
    }
    let scenario = &scenario;
    let mut script = String::from("#!/bin/sh\nset -e\n");
    create(&mut script, &scenario.config);
    let open = open_command(&scenario.config);
    let mut content = Content::of(&scenario.config);
    let mut chain = chain::Chain::default();
    // One qemu-io for all requests up to a reopen or check: what is cached stays cached.
    for run in numbered(scenario).split_inclusive(|(_, request)| closes(request)) {
        let mut commands = String::new();
        for (number, request) in run {
            let request = marked(*number, request);
            if content.takes(&request, &scenario.config) {
                commands.push_str(&command(&request, &content, &scenario.config));
                content.make(&request, &scenario.config);
            } else {
                let _ = writeln!(script, "# refused: {request}");
            }
        }
        if !commands.is_empty() {
            writeln!(script, "{open}{commands}").expect("writing to a string");
        }
        if let Some((_, Request::Snapshot { act, slot })) = run.last() {
            writeln!(script, "{}", snapshot_command(*act, *slot, &scenario.config))
                .expect("writing to a string");
        }
        if let Some((_, request @ Request::Amend { option })) = run.last() {
            let command = chain.command(option.as_str(), &scenario.config, &content);
            let command = command.unwrap_or_else(|| format!("# refused: {request}"));
            writeln!(script, "{command}").expect("writing to a string");
        }
        if let Some((_, Request::Bitmap { act, slot })) = run.last() {
            chain.has_bitmaps = true;
            writeln!(script, "{}", bitmap_command(*act, *slot, &scenario.config))
                .expect("writing to a string");
        }
        if let Some((_, Request::Check { repair })) = run.last() {
            let leaks = permitted_leaks(&scenario.config);
            writeln!(script, "qemu-img check{} {}{leaks}", repair_flag(*repair), image(&scenario.config))
                .expect("writing to a string");
        }
    }
    let whole = verified_reads(&content, 0, content.size());
    if !whole.is_empty() {
        writeln!(script, "{open}{whole}").expect("writing to a string");
    }
    let (image, leaks) = (image(&scenario.config), permitted_leaks(&scenario.config));
    let _ = writeln!(script, "qemu-img check {image}{leaks}");
    script
}

/// Bitmaps that nobody vouches for are leaks to a check, whose exit code is 3 then.
fn permitted_leaks(config: &Config) -> &'static str {
    if start_image(config).is_some_and(|name| name == "bitmaps-stale") { " || [ $? -eq 3 ]" } else { "" }
}

fn numbered(scenario: &Scenario) -> Vec<(u64, Request)> {
    (1..).zip(scenario.requests.iter().copied()).collect()
}

fn closes(request: &Request) -> bool {
    matches!(
        request,
        Request::Reopen { .. }
            | Request::Check { .. }
            | Request::Snapshot { .. }
            | Request::Amend { .. }
            | Request::Bitmap { .. }
    )
}

/// What is there already, or is not there, is refused by qemu-img or is another one: the script goes on.
fn snapshot_command(act: OnSnapshot, slot: u8, config: &Config) -> String {
    let (name, image) = (slot_name(slot), image(config));
    match act {
        OnSnapshot::Create => format!("qemu-img snapshot -c {name} {image} || true"),
        OnSnapshot::Apply => format!("qemu-img snapshot -a {name} {image} || true"),
        OnSnapshot::Delete => format!("qemu-img snapshot -d {name} {image} || true"),
        OnSnapshot::Read => format!("qemu-img convert -l {name} -O raw {image} {name}.raw || true"),
    }
}

/// The same of a dirty bitmap. What one has is not printed by qemu-img, but how it is.
fn bitmap_command(act: OnBitmap, slot: u8, config: &Config) -> String {
    let (name, image) = (slot_name(slot), image(config));
    let changed = |flag: &str| format!("qemu-img bitmap {flag} {image} {name} || true");
    match act {
        OnBitmap::Add => changed("--add"),
        OnBitmap::Remove => changed("--remove"),
        OnBitmap::Clear => changed("--clear"),
        OnBitmap::Enable => changed("--enable"),
        OnBitmap::Disable => changed("--disable"),
        OnBitmap::Merge(from) => changed(&format!("--merge {}", slot_name(from))),
        OnBitmap::Read => format!("qemu-img info {image}"),
    }
}

/// How an image is encrypted.
fn encryption(config: &Config) -> Option<String> {
    config.options.get("encrypt.format").map(ToString::to_string)
}

/// The secret of an encrypted image, for any of the programs.
const SECRET: &str = "--object secret,id=key,data=passphrase";

/// What names the image to `qemu-img`.
fn image(config: &Config) -> String {
    if encryption(config).is_none() {
        return "test.qcow2".to_owned();
    }
    let options = "driver=qcow2,file.driver=file,file.filename=test.qcow2,encrypt.key-secret=key";
    format!("{SECRET} --image-opts {options}")
}

fn repair_flag(repair: Repair) -> &'static str {
    match repair {
        Repair::None => "",
        Repair::Leaks => " -r leaks",
        Repair::All => " -r all",
    }
}

/// Bytes of a cluster of the image.
fn cluster_bytes(config: &Config) -> u64 {
    config.options.number("cluster_size").filter(|bytes| *bytes > 0).unwrap_or(64 << 10)
}

/// The image that a scenario starts from, where that is no new one.
fn start_image(config: &Config) -> Option<String> {
    config.options.get("x-image").map(ToString::to_string).filter(|name| name != "off")
}

/// Unpacks an image that others have made, and makes its disk larger where the scenario's is.
fn unpack(script: &mut String, name: &str, size: u64) {
    let _ = writeln!(
        script,
        ": \"${{BLK_IMAGES:?names the folder of the images that scenarios start from: blk-testbed/images}}\"\n\
         zstd -d -q \"$BLK_IMAGES/{name}.qcow2.zst\" -o test.qcow2\n\
         qemu-img resize -q test.qcow2 {size}"
    );
}

fn create(script: &mut String, config: &Config) {
    if let Some(name) = start_image(config) {
        return unpack(script, &name, config.size_bytes);
    }
    let backing_bytes = config.backing_bytes;
    let (clusters, cluster) = (config.backing_bytes / cluster_bytes(config), cluster_bytes(config));
    let options = create_options(config);
    if matches!(config.backing, Backing::Raw | Backing::Chain) {
        let _ = writeln!(script, "qemu-img create -q -f raw base.raw {backing_bytes}");
        let _ = writeln!(script, "qemu-io -f raw -c 'write -q -P {BASE_BYTE:#x} 0 {backing_bytes}' base.raw");
    }
    let below = match config.backing {
        Backing::None => "",
        Backing::Raw => " -b base.raw -F raw",
        Backing::Format | Backing::Chain => {
            let base = if config.backing == Backing::Chain { " -b base.raw -F raw" } else { "" };
            let _ = writeln!(
                script,
                "qemu-img create -q -f qcow2{base} -o {options} middle.qcow2 {backing_bytes}"
            );
            let _ = writeln!(
                script,
                "i=0; while [ $i -lt {clusters} ]; do \
                 qemu-io -c \"write -q -P {MIDDLE_BYTE:#x} $((i * {cluster})) {cluster}\" middle.qcow2; i=$((i + 2)); done"
            );
            " -b middle.qcow2 -F qcow2"
        }
    };
    let preallocation = match config.options.get("preallocation") {
        Some(mode) => format!(",preallocation={mode}"),
        None => String::new(),
    };
    let size = config.size_bytes;
    if !size.is_multiple_of(512) {
        script.push_str("# qemu-img rounds the size up to whole sectors\n");
    }
    let encryption = encryption(config);
    let encrypted = encryption
        .as_ref()
        .map_or_else(String::new, |format| format!(",encrypt.format={format},encrypt.key-secret=key"));
    let secret = encryption.map_or_else(String::new, |_| format!(" {SECRET}"));
    let data_file = match DataFile::of(&config.options) {
        DataFile::Inside => "",
        DataFile::Plain => ",data_file=test.data",
        DataFile::Raw => ",data_file=test.data,data_file_raw=on",
    };
    let _ = writeln!(
        script,
        "qemu-img create -q -f qcow2{secret}{below} -o {options}{preallocation}{encrypted}{data_file} test.qcow2 {size}"
    );
}

/// Options that images under the one of the scenario have too, named as the driver under test names them: as
/// QEMU does.
fn create_options(config: &Config) -> String {
    let given = &config.options;
    let compat = given.get("compat").map_or_else(|| "1.1".to_owned(), ToString::to_string);
    let mut options = format!("compat={compat},cluster_size={}", cluster_bytes(config));
    if compat != "0.10" {
        let _ = write!(options, ",refcount_bits={}", given.number("refcount_bits").unwrap_or(16));
    }
    for name in ["lazy_refcounts", "compression_type"] {
        if let Some(value) = given.get(name) {
            let _ = write!(options, ",{name}={value}");
        }
    }
    options
}

/// Caches have a size in bytes with QEMU, and a number of slices with the driver under test.
fn open_command(config: &Config) -> String {
    let mut options = String::from("driver=qcow2,file.driver=file,file.filename=test.qcow2");
    options.push_str(if config.discard { ",discard=unmap" } else { ",discard=ignore" });
    let entry_bytes = config.options.number("l2-cache-entry-size");
    if let Some(bytes) = entry_bytes {
        let _ = write!(options, ",l2-cache-entry-size={bytes}");
    }
    let slice_bytes = entry_bytes.unwrap_or(cluster_bytes(config));
    let caches = [
        ("l2-cache-slices", "l2-cache-size", slice_bytes),
        ("refcount-cache-slices", "refcount-cache-size", cluster_bytes(config)),
    ];
    for (name, qemu_name, bytes) in caches {
        if let Some(slices) = config.options.number(name).filter(|slices| *slices > 0) {
            let _ = write!(options, ",{qemu_name}={}", slices.saturating_mul(bytes));
        }
    }
    if encryption(config).is_none() {
        return format!("qemu-io --image-opts {options}");
    }
    format!("qemu-io {SECRET} --image-opts {options},encrypt.key-secret=key")
}

/// The request with a byte in place of stamps, which tells its number.
fn marked(number: u64, request: &Request) -> Request {
    let mut request = *request;
    if let Request::Write { fill, .. } | Request::WriteCompressed { fill, .. } = &mut request
        && *fill == Fill::Stamp
    {
        // The remainder of a division by 255 is at most 254.
        *fill = Fill::Byte((number.saturating_sub(1) % 255) as u8 + 1);
    }
    request
}

/// ` -c 'COMMAND'`, or nothing for what ends a run of commands.
fn command(request: &Request, content: &Content, config: &Config) -> String {
    let growth = config.options.get("x-growth").filter(|mode| mode.to_string() != "off");
    let text = match *request {
        ref request if closes(request) => return String::new(),
        // qemu-io's map takes no range.
        Request::Status { .. } => "map".to_owned(),
        Request::Read { offset, length } => return verified_reads(content, offset, length),
        Request::Resize { size } if size > content.size() && growth.is_some() => {
            format!("truncate -m {} {size}", growth.expect("there is one"))
        }
        ref other => other.to_string(),
    };
    format!(" \\\n    -c '{text}'")
}

/// Reads of a range, a command for each piece that is filled with one byte.
fn verified_reads(content: &Content, offset: u64, length: u64) -> String {
    /// qemu-io takes less than 2 GiB at a time.
    const LENGTH_MAX: u64 = 1 << 30;
    let mut commands = String::new();
    for (start, end, byte) in content.pieces(offset, length) {
        for at in (start..end).step_by(LENGTH_MAX as usize) {
            let length = (end - at).min(LENGTH_MAX);
            let pattern = byte.map_or_else(String::new, |byte| format!(" -P {byte:#04x}"));
            let _ = write!(commands, " \\\n    -c 'read{pattern} {at} {length}'");
        }
    }
    commands
}
