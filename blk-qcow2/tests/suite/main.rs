//! The driver's own tests that need nothing but memory, in one program: it is linked once, for every change
//! and every mutant.

mod bitmaps;
mod bounds;
mod check;
mod common;
mod costs;
mod creation;
mod damage;
mod driver_steps;
mod formats;
mod full;
mod headers;
mod hostile;
mod lazy;
mod long_requests;
mod measures;
mod options;
mod overlays;
mod preallocation;
mod repair;
mod rollback;
mod snapshot_changes;
mod snapshots;
mod steps;
mod subclusters;
mod visible_content;
