//! What an image says about itself, under QEMU's names.

use blk_core::{Detail, Details, ImageInfo};

use crate::algorithm::IvGenerator;
use crate::header::{Header, Slot};

/// The name of the format.
pub(crate) const NAME: &str = "luks";

pub(crate) fn of(header: &Header, is_detached: bool) -> ImageInfo {
    let details = details(header, is_detached);
    ImageInfo { format: NAME, details, ..ImageInfo::default() }
}

/// What `qemu-img info` shows of a LUKS header, in its order.
pub fn details(header: &Header, is_detached: bool) -> Details {
    let text = |text: &str| Detail::Text(text.to_owned());
    let algorithms = &header.algorithms;
    let mut details = vec![
        ("ivgen-alg", text(algorithms.iv.name())),
        ("detached-header", Detail::Switch(is_detached)),
        ("hash-alg", text(header.hash.name())),
        ("cipher-alg", Detail::Text(algorithms.cipher.to_string())),
        ("uuid", text(&header.uuid)),
    ];
    if let (IvGenerator::Essiv, Some(hash)) = (algorithms.iv, algorithms.iv_hash) {
        details.push(("ivgen-hash-alg", text(hash.name())));
    }
    details.extend([
        ("cipher-mode", text(algorithms.mode.name())),
        ("slots", Detail::List(header.slots.iter().map(slot).collect())),
        ("payload-offset", Detail::Number(header.payload_offset)),
        ("master-key-iters", Detail::Number(header.digest_iterations.into())),
    ]);
    details
}

fn slot(slot: &Slot) -> Detail {
    let mut details = vec![("active", Detail::Switch(slot.is_active))];
    if slot.is_active {
        details.push(("iters", Detail::Number(slot.iterations.into())));
    }
    details.push(("key-offset", Detail::Number(slot.material_offset)));
    if slot.is_active {
        details.push(("stripes", Detail::Number(slot.stripes.into())));
    }
    Detail::Group(details)
}
