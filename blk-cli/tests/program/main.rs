//! The program `blk`, run as people run it, beside QEMU's tools where these do the same.

#[path = "../qemu/mod.rs"]
mod qemu;

mod bitmaps_both_ways;
mod block_device;
mod convert_grid;
mod deep_chain;
mod foreign_jobs;
mod grids;
mod interrupted;
mod luks;
mod manual;
mod map_grid;
mod nbd;
mod nbd_bitmaps;
mod odd_ends;
mod one_file;
mod one_server;
mod oracles;
mod readme;
mod spec;
mod subclusters;
mod verify;
