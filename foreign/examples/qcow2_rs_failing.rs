//! A flush of qcow2-rs during which one write of its storage fails: `qcow2_rs_failing IMAGE NUMBER` writes a
//! sector of 0x22 at the start of the disk, has the write of that number fail during a flush, and flushes
//! again until a flush succeeds. It prints the answers of the flushes.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use qcow2_rs::dev::Qcow2DevParams;
use qcow2_rs::error::Qcow2Result;
use qcow2_rs::helpers::Qcow2IoBuf;
use qcow2_rs::ops::Qcow2IoOps;
use qcow2_rs::tokio_io::Qcow2IoTokio;
use qcow2_rs::utils::qcow2_alloc_dev;

/// The crate's own file. So many writes from now on, one fails.
struct Failing {
    file: Qcow2IoTokio,
    writes_left: Rc<Cell<u32>>,
}

impl Qcow2IoOps for Failing {
    async fn read_to(&self, offset: u64, buf: &mut [u8]) -> Qcow2Result<usize> {
        self.file.read_to(offset, buf).await
    }

    async fn write_from(&self, offset: u64, buf: &[u8]) -> Qcow2Result<()> {
        let left = self.writes_left.get();
        self.writes_left.set(left.saturating_sub(1));
        if left == 1 {
            return Err("no space left on device".into());
        }
        self.file.write_from(offset, buf).await
    }

    async fn fallocate(&self, offset: u64, len: usize, flags: u32) -> Qcow2Result<()> {
        self.file.fallocate(offset, len, flags).await
    }

    async fn fsync(&self, offset: u64, len: usize, flags: u32) -> Qcow2Result<()> {
        self.file.fsync(offset, len, flags).await
    }
}

/// Writes, and flushes while the write of the storage of that number fails; what the flushes answer.
///
/// # Errors
/// Those of the open and of the write.
pub(crate) fn run(path: &Path, number: u32) -> Qcow2Result<Vec<bool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let params = Qcow2DevParams::new(9, None, None, false, false);
        let writes_left = Rc::new(Cell::new(0));
        let file = Qcow2IoTokio::new(path, false, false).await;
        let storage = Failing { file, writes_left: Rc::clone(&writes_left) };
        let (dev, _) = qcow2_alloc_dev(path, storage, &params).await?;
        dev.qcow2_prep_io().await?;
        let mut buf = Qcow2IoBuf::<u8>::new(512);
        buf.fill(0x22);
        dev.write_at(&buf, 0).await?;
        writes_left.set(number);
        let mut answers = Vec::new();
        while answers.last() != Some(&true) {
            answers.push(dev.flush_meta().await.is_ok() && dev.fsync_range(0, 0).await.is_ok());
        }
        Ok(answers)
    })
}

#[allow(dead_code, reason = "tests call what is above")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, number] = &arguments[..] else { panic!("qcow2_rs_failing IMAGE NUMBER") };
    println!("{:?}", run(Path::new(image), number.parse().expect("a number")).expect("a write"));
}
