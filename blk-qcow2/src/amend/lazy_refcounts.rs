//! Whether refcount updates may be postponed: a bit of the header.

use blk_core::{Error, Result};

use super::{Change, Progress, Request};
use crate::ondisk::COMPATIBLE_LAZY_REFCOUNTS;
use crate::qcow2::Qcow2;

#[derive(Debug)]
pub(super) struct LazyRefcounts;

impl Change for LazyRefcounts {
    fn names(&self) -> &'static [&'static str] {
        &["lazy_refcounts"]
    }

    fn check(&self, image: &Qcow2, request: &Request<'_>) -> Result<bool> {
        let metadata = image.metadata.read();
        let header = &metadata.header;
        let wanted = request.options.switch("lazy_refcounts") == Some(true);
        if wanted && request.version(header) < 3 {
            let reason = "Lazy refcounts only supported with compatibility level 1.1 and above \
                          (use compat=1.1 or greater)";
            return Err(Error::invalid_option("lazy_refcounts", reason));
        }
        let is_set = header.compatible & COMPATIBLE_LAZY_REFCOUNTS != 0;
        Ok(wanted != is_set || wanted != metadata.is_lazy())
    }

    fn make(&self, image: &Qcow2, request: &Request<'_>, _: Progress<'_>) -> Result<()> {
        let wanted = request.options.switch("lazy_refcounts") == Some(true);
        let mut metadata = image.metadata.write();
        metadata.end_lazy()?;
        let bit = if wanted { COMPATIBLE_LAZY_REFCOUNTS } else { 0 };
        metadata.header.compatible = metadata.header.compatible & !COMPATIBLE_LAZY_REFCOUNTS | bit;
        metadata.publish_header()?;
        metadata.options.set_lazy_refcounts(wanted);
        Ok(())
    }
}
