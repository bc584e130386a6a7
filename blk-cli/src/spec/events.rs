//! The names of steps in rules and break points: QEMU's `BlkdebugEvent`, and what the formats call steps of
//! their own.

use blk_core::storage::Step;

use crate::formats;

/// Any data reaches the storage.
pub(crate) static PWRITEV: Step = Step::new("pwritev", "data");
/// A request to zero reaches the storage.
pub(crate) static PWRITEV_ZERO: Step = Step::new("pwritev_zero", "zeroes");
/// A write, or a request to zero, is done.
pub(crate) static PWRITEV_DONE: Step = Step::new("pwritev_done", "data");
/// The start of an unaligned write is read.
pub(crate) static PWRITEV_RMW_HEAD: Step = Step::new("pwritev_rmw_head", "data");
/// The start of an unaligned write has been read.
pub(crate) static PWRITEV_RMW_AFTER_HEAD: Step = Step::new("pwritev_rmw_after_head", "data");
/// The end of an unaligned write is read.
pub(crate) static PWRITEV_RMW_TAIL: Step = Step::new("pwritev_rmw_tail", "data");
/// The end of an unaligned write has been read.
pub(crate) static PWRITEV_RMW_AFTER_TAIL: Step = Step::new("pwritev_rmw_after_tail", "data");
/// Data that was read from the backing file is written to the image.
pub(crate) static COR_WRITE: Step = Step::new("cor_write", "data");
/// The step in which a format asks the host to put everything on stable storage.
pub(crate) const FLUSH_TO_DISK: &str = "flush_to_disk";

/// All events that QEMU knows, in its order. Rules may name each, whether or not a driver of ours takes that
/// step.
pub(crate) static QEMU_EVENTS: [&str; 48] = [
    "l1_update",
    "l1_grow_alloc_table",
    "l1_grow_write_table",
    "l1_grow_activate_table",
    "l2_load",
    "l2_update",
    "l2_update_compressed",
    "l2_alloc_cow_read",
    "l2_alloc_write",
    "read_aio",
    "read_backing_aio",
    "read_compressed",
    "write_aio",
    "write_compressed",
    "vmstate_load",
    "vmstate_save",
    "cow_read",
    "cow_write",
    "reftable_load",
    "reftable_grow",
    "reftable_update",
    "refblock_load",
    "refblock_update",
    "refblock_update_part",
    "refblock_alloc",
    "refblock_alloc_hookup",
    "refblock_alloc_write",
    "refblock_alloc_write_blocks",
    "refblock_alloc_write_table",
    "refblock_alloc_switch_table",
    "cluster_alloc",
    "cluster_alloc_bytes",
    "cluster_free",
    "flush_to_os",
    "flush_to_disk",
    "pwritev_rmw_head",
    "pwritev_rmw_after_head",
    "pwritev_rmw_tail",
    "pwritev_rmw_after_tail",
    "pwritev",
    "pwritev_zero",
    "pwritev_done",
    "empty_image_prepare",
    "l1_shrink_write_table",
    "l1_shrink_free_l2_clusters",
    "cor_write",
    "cluster_alloc_space",
    "none",
];

/// The name of a step in a rule or a break point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventName(&'static str);

impl EventName {
    /// The event of that name, of QEMU's or of a format's.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let of_formats =
            formats::registry().formats().flat_map(blk_core::Format::steps).map(|step| step.name);
        QEMU_EVENTS.into_iter().chain(of_formats).find(|known| *known == name).map(Self)
    }

    /// Whether `step` is meant.
    pub(crate) fn is(self, step: &Step) -> bool {
        self.0 == step.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_formats_and_of_the_program_are_among_the_names() {
        for name in QEMU_EVENTS {
            assert!(EventName::parse(name).is_some_and(|event| event.0 == name), "{name}");
        }
        for format in formats::ours().formats() {
            assert!(!format.steps().is_empty());
            for step in format.steps() {
                assert!(QEMU_EVENTS.contains(&step.name), "{step}: rules for QEMU mean the same here");
                assert!(EventName::parse(step.name).is_some_and(|event| event.is(step)));
            }
            assert!(format.steps().iter().any(|step| step.name == FLUSH_TO_DISK));
        }
        let own = [&PWRITEV, &PWRITEV_ZERO, &PWRITEV_DONE, &PWRITEV_RMW_HEAD, &PWRITEV_RMW_AFTER_HEAD];
        for step in
            own.into_iter().chain([&PWRITEV_RMW_TAIL, &PWRITEV_RMW_AFTER_TAIL, &COR_WRITE, &Step::NONE])
        {
            assert!(QEMU_EVENTS.contains(&step.name), "{step}");
        }
        assert_eq!(EventName::parse("read-aio"), None);
    }
}
