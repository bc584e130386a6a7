//! A read of qcow2-rs's storage fails once: `qcow2_rs_failed_read IMAGE REQUEST...`.
//!
//! Requests are `read OFFSET` and `write OFFSET`, of a sector (0x33 is written), `flush`, and `fail`: the
//! next read of the storage fails. It prints what each request has answered.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use qcow2_rs::dev::Qcow2DevParams;
use qcow2_rs::error::Qcow2Result;
use qcow2_rs::helpers::Qcow2IoBuf;
use qcow2_rs::ops::Qcow2IoOps;
use qcow2_rs::tokio_io::Qcow2IoTokio;
use qcow2_rs::utils::qcow2_alloc_dev;

/// The crate's own file, of which the next read can fail.
struct Failing {
    file: Qcow2IoTokio,
    fails: Rc<Cell<bool>>,
}

impl Qcow2IoOps for Failing {
    async fn read_to(&self, offset: u64, buf: &mut [u8]) -> Qcow2Result<usize> {
        if self.fails.take() {
            return Err("input/output error".into());
        }
        self.file.read_to(offset, buf).await
    }

    async fn write_from(&self, offset: u64, buf: &[u8]) -> Qcow2Result<()> {
        self.file.write_from(offset, buf).await
    }

    async fn fallocate(&self, offset: u64, len: usize, flags: u32) -> Qcow2Result<()> {
        self.file.fallocate(offset, len, flags).await
    }

    async fn fsync(&self, offset: u64, len: usize, flags: u32) -> Qcow2Result<()> {
        self.file.fsync(offset, len, flags).await
    }
}

/// Makes requests, one after the other; returns what each has answered.
///
/// # Errors
/// Those of the open.
pub(crate) fn run(path: &Path, requests: &[&str]) -> Qcow2Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let params = Qcow2DevParams::new(9, None, None, false, false);
        let fails = Rc::new(Cell::new(false));
        let file = Qcow2IoTokio::new(path, false, false).await;
        let storage = Failing { file, fails: Rc::clone(&fails) };
        let (dev, _) = qcow2_alloc_dev(path, storage, &params).await?;
        dev.qcow2_prep_io().await?;
        let mut buf = Qcow2IoBuf::<u8>::new(512);
        let mut answers = Vec::new();
        for request in requests {
            let (verb, offset) = request.split_once(' ').unwrap_or((request, "0"));
            let offset = offset.parse().expect("a number");
            let answer = match verb {
                "fail" => {
                    fails.set(true);
                    continue;
                }
                "read" => dev.read_at(&mut buf, offset).await.map(|_| format!("{:#04x}", buf[0])),
                "write" => {
                    buf.fill(0x33);
                    dev.write_at(&buf, offset).await.map(|()| "written".to_owned())
                }
                _ => dev.flush_meta().await.map(|()| "flushed".to_owned()),
            };
            answers.push(answer.unwrap_or_else(|error| format!("failed: {error}")));
        }
        Ok(answers)
    })
}

#[allow(dead_code, reason = "tests call what is above")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, requests @ ..] = &arguments[..] else { panic!("qcow2_rs_failed_read IMAGE REQUEST...") };
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    run(Path::new(image), &requests).expect("an open").iter().for_each(|line| println!("{line}"));
}
