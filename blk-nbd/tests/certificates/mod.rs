//! The certificates beside this file.

use std::path::PathBuf;

use blk_nbd::Certificates;

/// The folder of an authority, by QEMU's names.
pub(crate) fn folder(authority: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "certificates", authority].iter().collect()
}

/// What a server or a client has.
pub(crate) fn read(authority: &str, whose: &str) -> Certificates {
    let pem = |name: &str| std::fs::read(folder(authority).join(name)).unwrap();
    let own = (pem(&format!("{whose}-cert.pem")), pem(&format!("{whose}-key.pem")));
    Certificates { authorities: pem("ca-cert.pem"), own: Some(own) }
}
