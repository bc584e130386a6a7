use crate::header::Header;
use blk_core::*;
pub(crate) fn check(_s: &dyn Storage, _h: &Header, _r: RepairMode) -> Result<CheckReport> {
    todo!()
}
