//! Requests on an image through imago alone, over its own files, as a program of its users would make them:
//! `imago_io IMAGE REQUEST...`, such as `imago_io disk.qcow2 'write 0x1000 512 0x11' flush`.
//!
//! ```text
//! create SIZE CLUSTER_SIZE    write OFFSET LENGTH BYTE    read OFFSET LENGTH    flush
//! zero OFFSET LENGTH          unmap OFFSET LENGTH         discard OFFSET LENGTH resize SIZE
//! ```
//! `zero` is `write_zeroes`, `unmap` is `discard_to_zero`, `discard` is `discard_to_any`, `kill` leaves the
//! image as a process does that is killed. A read prints its runs of equal bytes. Findings in `docs/findings`
//! are told as calls of this program.

use std::io;
use std::path::Path;

use imago::file::File;
use imago::format::PreallocateMode;
use imago::qcow2::Qcow2;
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder as _, FormatDriverBuilder as _, Storage as _,
    StorageCreateOptions, StorageOpenOptions,
};

/// Makes requests, one after the other; returns what reads have found, a line each.
///
/// # Errors
/// The first one of the crate.
pub(crate) fn run(path: &Path, requests: &[&str]) -> io::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let mut requests =
            requests.iter().map(|request| request.split_whitespace().collect::<Vec<_>>()).peekable();
        if let Some(words) = requests.next_if(|words| words[0] == "create") {
            create(path, number(words[1]), number(words[2])).await?;
        }
        let storage = File::open(StorageOpenOptions::new().write(true).filename(path)).await?;
        let image = Qcow2::<File>::builder(storage).write(true).open(DenyImplicitOpenGate::default()).await?;
        let mut image = FormatAccess::new(image);
        let mut found = Vec::new();
        for words in requests {
            if words == ["kill"] {
                std::mem::forget(image);
                break;
            }
            found.extend(request(&mut image, &words).await?);
        }
        Ok(found)
    })
}

async fn create(path: &Path, size: u64, cluster_bytes: u64) -> io::Result<()> {
    let options = StorageCreateOptions::new().filename(path).overwrite(true);
    let storage = File::create_open(options).await?;
    let builder = Qcow2::<File>::create_builder(storage).size(size);
    builder.cluster_size(cluster_bytes as usize).create().await
}

async fn request(image: &mut FormatAccess<File>, words: &[&str]) -> io::Result<Option<String>> {
    match *words {
        ["write", offset, length, byte] => {
            let buf = vec![number(byte) as u8; number(length) as usize];
            image.write(&buf, number(offset)).await?;
        }
        ["read", offset, length] => {
            let mut buf = vec![0xee; number(length) as usize];
            image.read(&mut buf, number(offset)).await?;
            return Ok(Some(runs(&buf)));
        }
        ["zero", offset, length] => image.write_zeroes(number(offset), number(length)).await?,
        ["unmap", offset, length] => image.discard_to_zero(number(offset), number(length)).await?,
        ["discard", offset, length] => image.discard_to_any(number(offset), number(length)).await?,
        ["resize", size] => image.resize(number(size), PreallocateMode::Zero).await?,
        ["flush"] => {
            image.flush().await?;
            image.sync().await?;
        }
        _ => panic!("no request: {words:?}"),
    }
    Ok(None)
}

fn number(text: &str) -> u64 {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    parsed.unwrap_or_else(|_| panic!("no number: {text}"))
}

/// Such as `512 x 0x11, 3584 x 0x00`.
fn runs(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|one, other| one == other);
    runs.map(|run| format!("{} x {:#04x}", run.len(), run[0])).collect::<Vec<_>>().join(", ")
}

#[allow(dead_code, reason = "tests call what is above")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, requests @ ..] = &arguments[..] else { panic!("imago_io IMAGE REQUEST...") };
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    match run(Path::new(image), &requests) {
        Ok(found) => found.iter().for_each(|line| println!("{line}")),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
