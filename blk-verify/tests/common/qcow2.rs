//! The space of the testbed's qcow2 target, without its driver: one of many options that depend on one another.

#[expect(unreachable_pub, reason = "it is public in the testbed")]
#[path = "../../../blk-testbed/src/qcow2_space.rs"]
mod qcow2_space;

pub(crate) use qcow2_space::QCOW2;
