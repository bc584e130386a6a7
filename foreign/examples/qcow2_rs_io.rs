//! Requests on an image through qcow2-rs alone, over its own files, as a program of its users would make
//! them: `qcow2_rs_io IMAGE REQUEST...`, such as `qcow2_rs_io disk.qcow2 'write 0x1000 512 0x11' flush`.
//!
//! ```text
//! write OFFSET LENGTH BYTE    read OFFSET LENGTH    flush
//! ```
//! A read prints how many bytes it has read, and the runs of equal bytes in its buffer; what it leaves as it
//! was is 0xee. Findings in `docs/findings` are told as calls of this program.

use std::path::Path;

use qcow2_rs::dev::Qcow2DevParams;
use qcow2_rs::error::Qcow2Result;
use qcow2_rs::helpers::Qcow2IoBuf;
use qcow2_rs::utils::qcow2_setup_dev_tokio;

/// Makes requests, one after the other; returns what reads have found, a line each.
///
/// # Errors
/// The first one of the crate.
pub(crate) fn run(path: &Path, requests: &[&str]) -> Qcow2Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let params = Qcow2DevParams::new(9, None, None, false, false);
        let dev = qcow2_setup_dev_tokio(path, &params).await?;
        let mut found = Vec::new();
        for request in requests {
            let words: Vec<&str> = request.split_whitespace().collect();
            match words[..] {
                ["write", offset, length, byte] => {
                    let mut buf = Qcow2IoBuf::<u8>::new(number(length) as usize);
                    buf.fill(number(byte) as u8);
                    dev.write_at(&buf, number(offset)).await?;
                }
                ["read", offset, length] => {
                    let mut buf = Qcow2IoBuf::<u8>::new(number(length) as usize);
                    buf.fill(0xee);
                    let read = dev.read_at(&mut buf, number(offset)).await?;
                    found.push(format!("{read}: {}", runs(&buf)));
                }
                ["flush"] => {
                    dev.flush_meta().await?;
                    dev.fsync_range(0, 0).await?;
                }
                _ => panic!("no request: {request}"),
            }
        }
        Ok(found)
    })
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
    let [image, requests @ ..] = &arguments[..] else { panic!("qcow2_rs_io IMAGE REQUEST...") };
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    match run(Path::new(image), &requests) {
        Ok(found) => found.iter().for_each(|line| println!("{line}")),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
