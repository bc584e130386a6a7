//! Our check against `qemu-img check`: on images that QEMU made, on images that were damaged, on images that
//! we repaired.

#[path = "suite/common/mod.rs"]
mod common;
#[path = "suite/common/qemu.rs"]
mod qemu;

use blk_core::{
    Access, Bitmaps, DenyResolver, Disk, Extent, NewSnapshot, Options, RepairMode, SnapshotInfo, Snapshots,
    VmState, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;
use common::Image;
use qemu::{Checked, Folder};

const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

/// Opens an image without its backing file.
fn open(image: &Image, access: Access) -> Disk {
    FORMAT
        .open(image.storage(), access, Options::new().with("backing", "off"), &DenyResolver)
        .expect("the image opens")
}

/// A generator with a state of 64 bits: enough to spread requests.
struct Random(u64);

impl Random {
    fn backing(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

struct Shape {
    options: &'static str,
    cluster_bytes: u64,
    guest_clusters: u64,
    requests: usize,
    has_snapshots: bool,
}

const SHAPES: [Shape; 15] = {
    const fn shape(options: &'static str, cluster_bytes: u64, has_snapshots: bool) -> Shape {
        let (guest_clusters, requests) = if cluster_bytes > 65536 { (20, 8) } else { (600, 80) };
        Shape { options, cluster_bytes, guest_clusters, requests, has_snapshots }
    }
    [
        shape("compat=1.1,cluster_size=512", 512, true),
        shape("compat=1.1,cluster_size=512,refcount_bits=1", 512, false),
        shape("compat=1.1,cluster_size=512,refcount_bits=64", 512, true),
        shape("compat=1.1,cluster_size=4k", 4096, true),
        shape("compat=1.1,cluster_size=4k,refcount_bits=1", 4096, false),
        shape("compat=1.1,cluster_size=4k,refcount_bits=64,compression_type=zstd", 4096, true),
        shape("compat=0.10,cluster_size=512", 512, true),
        shape("compat=0.10,cluster_size=64k", 65536, true),
        shape("compat=1.1,cluster_size=64k", 65536, true),
        shape("compat=1.1,cluster_size=64k,lazy_refcounts=on,preallocation=metadata", 65536, true),
        shape("compat=1.1,cluster_size=2M", 2 << 20, true),
        shape("compat=1.1,cluster_size=2M,refcount_bits=64", 2 << 20, true),
        shape("compat=1.1,cluster_size=16k,extended_l2=on", 16_384, true),
        shape("compat=1.1,cluster_size=64k,extended_l2=on,preallocation=metadata", 65536, true),
        shape("compat=1.1,cluster_size=256k,extended_l2=on,refcount_bits=1", 256 << 10, false),
    ]
};

/// Requests of all kinds.
fn requests(random: &mut Random, shape: &Shape) -> Vec<String> {
    let size = shape.cluster_bytes * shape.guest_clusters;
    let mut commands = Vec::new();
    for _ in 0..shape.requests {
        let cluster = random.backing(shape.guest_clusters) * shape.cluster_bytes;
        let pattern = random.backing(255) + 1;
        let any = random.backing(size / 512) * 512;
        let length = (random.backing(3 * shape.cluster_bytes / 512) + 1) * 512;
        let clusters = ((random.backing(4) + 1) * shape.cluster_bytes).min(size - cluster);
        commands.push(match random.backing(6) {
            0 | 1 => format!("write -P {pattern} {any} {}", length.min(size - any)),
            2 => format!("write -z {cluster} {clusters}"),
            3 => format!("write -z -u {cluster} {clusters}"),
            4 => format!("discard {cluster} {clusters}"),
            _ => format!("write -c -P {pattern} {cluster} {}", shape.cluster_bytes),
        });
    }
    commands
}

/// Made and filled by QEMU, with snapshots taken and deleted on the way.
fn make(folder: &Folder, shape: &Shape, backing: bool, random: &mut Random) {
    let size = shape.cluster_bytes * shape.guest_clusters;
    let Shape { options, .. } = shape;
    if backing {
        folder.img(&format!("create -q -f raw backing.img {}", size / 2));
        folder.img(&format!("create -q -f qcow2 -o {options} -b backing.img -F raw image {size}"));
    } else {
        folder.img(&format!("create -q -f qcow2 -o {options} image {size}"));
    }
    for round in 0..3 {
        folder.io("image", &requests(random, shape));
        if shape.has_snapshots {
            folder.img(&format!("snapshot -q -c s{round} image"));
        }
        if shape.has_snapshots && round == 1 {
            folder.img("snapshot -q -d s0 image");
        }
        if round == 1 && shape.options.contains("1.1") {
            folder.img("bitmap --add -g 32768 image b0");
        }
    }
}

#[test]
fn images_of_qemu_are_clean_and_counted_alike() {
    let Some(folder) = Folder::for_qemu("alike") else { return };
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut compressed = 0;
    for shape in &SHAPES {
        for backing in [false, true] {
            if backing && shape.options.contains("preallocation") {
                continue;
            }
            make(&folder, shape, backing, &mut random);
            let theirs = folder.check("image");
            let image = Image::from_bytes(&folder.read("image"));
            let report = open(&image, Access::ReadOnly).check(RepairMode::None).unwrap();
            assert_eq!(Checked::from(&report), theirs, "{}: {report}", shape.options);
            assert!(report.is_clean(), "{}: {report}", shape.options);
            compressed += report.compressed_clusters;
        }
    }
    assert!(compressed > 100, "the images have compressed clusters");
}

/// Every refcount wrong at once, in both directions: no data changes, and QEMU agrees afterwards.
#[test]
fn qemu_agrees_that_refcounts_are_repaired() {
    let Some(folder) = Folder::for_qemu("refcounts") else { return };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for shape in SHAPES.iter().filter(|shape| shape.cluster_bytes < 1 << 20) {
        make(&folder, shape, false, &mut random);
        folder.img("convert -f qcow2 -O raw image before");
        let mut bytes = folder.read("image");
        let table = field(&bytes, 48);
        let block = field(&bytes, table) as usize;
        // The first count belongs to the header, which QEMU needs to open the image.
        for byte in &mut bytes[block + 16..block + 16 + 24] {
            *byte = (*byte).wrapping_add(random.backing(3) as u8);
        }
        folder.write("image", &bytes);
        let theirs = folder.check("image");
        let image = Image::from_bytes(&bytes);
        let disk = open(&image, Access::ReadWrite);
        let report = disk.check(RepairMode::All).unwrap();
        assert!(report.is_repaired(), "{}: {report}", shape.options);
        // QEMU does not look past the end of the file.
        assert!(theirs.leaks <= report.leaks, "{}: {theirs:?} {report}", shape.options);
        drop(disk);
        folder.write("image", &image.bytes());
        assert!(folder.check("image").is_clean(), "{}: {:?}", shape.options, folder.check("image"));
        folder.img("compare -f qcow2 -F raw image before");
    }
}

/// One wrong 8-byte entry at a time, in every table: after our repair, QEMU finds nothing, and can read
/// everything.
#[test]
fn qemu_agrees_that_entries_are_repaired() {
    let Some(folder) = Folder::for_qemu("entries") else { return };
    let mut random = Random(0x0123_4567_89ab_cdef);
    for shape in SHAPES.iter().filter(|shape| [512, 4096].contains(&shape.cluster_bytes)) {
        make(&folder, shape, false, &mut random);
        let healthy = folder.read("image");
        let l1 = field(&healthy, 40);
        let l2 = field(&healthy, l1) & OFFSET_MASK;
        let table = field(&healthy, 48);
        for turn in 0..40 {
            let at = [l1, l2, l2, l2, table][turn % 5] + 8 * random.backing(4);
            let entry = bad_entry(&mut random, field(&healthy, at), &healthy, shape.cluster_bytes);
            let mut bytes = healthy.clone();
            bytes[at as usize..at as usize + 8].copy_from_slice(&entry.to_be_bytes());
            let image = Image::from_bytes(&bytes);
            let disk = open(&image, Access::ReadWrite);
            let report = disk.check(RepairMode::All).unwrap();
            let what = format!("{}, {entry:#018x} at {at:#x}: {report}", shape.options);
            assert!(report.is_repaired(), "{what}");
            drop(disk);
            folder.write("repaired", &image.bytes());
            let theirs = folder.check("repaired");
            assert!(theirs.is_clean(), "{theirs:?}\n{what}");
        }
    }
}

fn bad_entry(random: &mut Random, old: u64, image: &[u8], cluster_bytes: u64) -> u64 {
    let some_cluster = random.backing(image.len() as u64 / cluster_bytes + 2) * cluster_bytes;
    match random.backing(8) {
        0 => 0,
        1 => old ^ 1 << random.backing(64),
        2 => old ^ 1 << 63,
        3 => some_cluster,
        4 => some_cluster | 1 << 63,
        5 => some_cluster | 1 << 62,
        6 => 1 << random.backing(56),
        _ => some_cluster | 1,
    }
}

/// What a process that died has left: the dirty bit, clusters without a count.
#[test]
fn an_image_that_qemu_left_dirty_is_recovered_and_qemu_agrees() {
    let Some(folder) = Folder::for_qemu("dirty") else { return };
    folder.img("create -q -f qcow2 -o lazy_refcounts=on,cluster_size=4k image 4M");
    let writes: Vec<String> = (0..20).map(|i| format!("write -P {} {}k 12k", i + 1, i * 100)).collect();
    folder.io("image", &writes);
    folder.img("convert -f qcow2 -O raw image before");
    let mut bytes = folder.read("image");
    let block = field(&bytes, field(&bytes, 48)) as usize;
    bytes[block + 12..block + 4096].fill(0);
    bytes[79] |= 1;
    let image = Image::from_bytes(&bytes);
    let disk = open(&image, Access::ReadWrite);
    assert!(disk.check(RepairMode::None).unwrap().is_clean());
    drop(disk);
    folder.write("image", &image.bytes());
    assert!(folder.check("image").is_clean(), "{:?}", folder.check("image"));
    folder.img("compare -f qcow2 -F raw image before");
}

/// The 8-byte field at an offset; 0 past the end.
fn field(image: &[u8], at: u64) -> u64 {
    let bytes = image.get(at as usize..at as usize + 8).unwrap_or(&[0; 8]);
    u64::from_be_bytes(bytes.try_into().expect("8 bytes"))
}

/// What `name` holds as a raw disk, or what its snapshot `snapshot` does.
fn converted(folder: &Folder, name: &str, snapshot: Option<&str>) -> Vec<u8> {
    let of = snapshot.map_or_else(String::new, |snapshot| format!("-l snapshot.id={snapshot} "));
    folder.img(&format!("convert -f qcow2 {of}-O raw {name} raw"));
    folder.read("raw")
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

/// Snapshots that both make, apply and delete in turn, with writes and changes of size between: each reads
/// the other's, and both checks are clean.
#[test]
fn snapshots_go_both_ways() {
    let Some(folder) = Folder::for_qemu("snapshots") else { return };
    let mut random = Random(0x1234_5678_9abc_def1);
    for (options, cluster) in [
        ("compat=1.1,cluster_size=512,refcount_bits=8", 512),
        ("compat=0.10,cluster_size=4k", 4096),
        ("compat=1.1,cluster_size=64k,lazy_refcounts=on", 65_536),
    ] {
        let size = 40 * cluster + 512;
        folder.img(&format!("create -q -f qcow2 -o {options} image {size}"));
        for round in 0..12 {
            let at = random.backing(30) * cluster;
            folder.io("image", &[format!("write -P {} {at} {}", round + 1, 3 * cluster)]);
            match round % 4 {
                0 | 1 => drop(folder.img(&format!("snapshot -q -c theirs{round} image"))),
                2 => drop(folder.img(&format!("snapshot -q -a theirs{} image", round - 1))),
                _ => drop(folder.img(&format!("snapshot -q -d ours{} image", round - 3))),
            }
            let theirs = converted(&folder, "image", None);
            let image = Image::from_bytes(&folder.read("image"));
            let disk = open(&image, Access::ReadWrite);
            assert!(content(&disk) == theirs, "{options}, round {round}");
            change_here(&disk, options.contains("0.10"), round);
            let ours = content(&disk);
            let listed = disk.snapshots().unwrap();
            let held: Vec<(String, Vec<u8>)> = listed.iter().map(|info| held(&disk, info)).collect();
            disk.close().unwrap();
            folder.write("image", &image.bytes());
            assert!(
                folder.check("image").is_clean(),
                "{options}, round {round}: {}",
                folder.img("check image")
            );
            assert!(converted(&folder, "image", None) == ours, "{options}, round {round}");
            for (id, bytes) in &held {
                // They show it at the size that the disk has now.
                let theirs = converted(&folder, "image", Some(id));
                let both = theirs.len().min(bytes.len());
                assert!(theirs[..both] == bytes[..both], "{options}, round {round}, snapshot {id}");
                assert!(theirs[both..].iter().all(|byte| *byte == 0), "{options}, round {round}, {id}");
            }
            assert_eq!(
                folder.img("snapshot -l image").lines().count(),
                listed.len() + 2,
                "{options}, {round}"
            );
        }
    }
}

fn held(disk: &Disk, info: &SnapshotInfo) -> (String, Vec<u8>) {
    let mut bytes = vec![0; info.disk_bytes.unwrap_or(disk.size()) as usize];
    disk.read_snapshot(&info.id, 0, &mut bytes).unwrap();
    (info.id.clone(), bytes)
}

/// A change of the kind that `round` is for.
fn change_here(disk: &Disk, is_v2: bool, round: u64) {
    let name = format!("ours{round}");
    let new = NewSnapshot { name, date_seconds: 1_700_000_000, ..NewSnapshot::default() };
    let unit = disk.limits().zero_granularity;
    disk.write(round * unit / 2, &vec![0x80 | round as u8; unit as usize], WriteFlags::default()).unwrap();
    match round % 4 {
        0 => drop(disk.create_snapshot(&new).unwrap()),
        // They refuse to apply a snapshot of another size in version 2.
        1 if !is_v2 => disk.resize(disk.size() + 5 * unit + 512).unwrap(),
        1 => disk.write_zeroes(Extent::new(unit, 3 * unit + 77), ZeroFlags::default()).unwrap(),
        2 => disk.delete_snapshot(&disk.snapshots().unwrap()[0].id).unwrap(),
        _ => {
            disk.create_snapshot(&new).unwrap();
            let listed = disk.snapshots().unwrap();
            disk.apply_snapshot(&listed[listed.len() / 2].id).unwrap();
        }
    }
    assert!(disk.check(RepairMode::None).unwrap().is_clean(), "round {round}");
}

/// A bitmap's table is as long as the disk needs, however that has come to its size.
#[test]
fn bitmaps_fit_the_disk_that_a_snapshot_has_made_smaller() {
    let Some(folder) = Folder::for_qemu("smaller-bitmaps") else { return };
    let image = Image::new(100 << 20, Options::new().with("cluster_size", 4096_u64));
    let disk = open(&image, Access::ReadWrite);
    let new = NewSnapshot { name: "small".to_owned(), ..NewSnapshot::default() };
    let small = disk.create_snapshot(&new).unwrap();
    disk.resize(300 << 20).unwrap();
    for (name, is_enabled) in [("off", false), ("on", true)] {
        disk.add_bitmap(name, 4096, is_enabled).unwrap();
    }
    disk.close().unwrap();
    let disk = open(&image, Access::ReadWrite);
    disk.apply_snapshot(&small).unwrap();
    disk.close().unwrap();
    folder.write("image", &image.bytes());
    let info = folder.img("info image");
    assert!(info.contains("name: off") && info.contains("name: on") && !info.contains("in-use"), "{info}");
    assert!(folder.check("image").is_clean(), "{}", folder.img("check image"));
}

/// A disk that one of us makes smaller is the other's, with its snapshots and the state of the machine.
#[test]
fn smaller_disks_go_both_ways() {
    let Some(folder) = Folder::for_qemu("smaller-disks") else { return };
    for (options, cluster) in [
        ("compat=1.1,cluster_size=512,refcount_bits=64", 512),
        ("compat=0.10,cluster_size=4k", 4096),
        ("compat=1.1,cluster_size=64k,lazy_refcounts=on", 65_536),
        ("compat=1.1,cluster_size=16k,extended_l2=on", 16_384),
    ] {
        let size = 300 * cluster;
        folder.img(&format!("create -q -f qcow2 -o {options} image {size}"));
        folder.io("image", &[format!("write -P 1 0 {size}")]);
        let smaller = [250 * cluster, 200 * cluster + 512, 130 * cluster - 1024, 64 * cluster, 2048, 512];
        for (round, new) in smaller.into_iter().enumerate() {
            let what = format!("{options}, {new} bytes");
            // They refuse another size of version 2 with snapshots.
            if round == 0 || (round % 2 == 0 && !options.contains("0.10")) {
                folder.img(&format!("resize -q -f qcow2 --shrink image {new}"));
            }
            let image = Image::from_bytes(&folder.read("image"));
            let disk = open(&image, Access::ReadWrite);
            // They leak the state of the machine of a disk that becomes smaller.
            assert_eq!(disk.check(RepairMode::Leaks).unwrap().corruptions, 0, "{what}");
            disk.resize(new).unwrap();
            assert!(content(&disk) == vec![1; new as usize], "{what}");
            let state = vec![round as u8 + 1; 3 * cluster as usize];
            disk.write_vm_state(512, &state).unwrap();
            let name = format!("at-{new}");
            disk.create_snapshot(&NewSnapshot { name, vm_state_bytes: 512, ..NewSnapshot::default() })
                .unwrap();
            disk.close().unwrap();
            folder.write("image", &image.bytes());
            assert!(folder.check("image").is_clean(), "{what}: {}", folder.img("check image"));
            assert!(converted(&folder, "image", None) == vec![1; new as usize], "{what}");
            let pattern = format!("read -b -P {} 512 {}", round + 1, 3 * cluster);
            folder.io("image", &[pattern, "read -b -P 0 0 512".to_owned()]);
        }
        if !options.contains("0.10") {
            folder.img(&format!("snapshot -q -a at-{} image", smaller[1]));
            let image = Image::from_bytes(&folder.read("image"));
            let disk = open(&image, Access::ReadWrite);
            assert!(content(&disk) == vec![1; smaller[1] as usize], "{options}");
            let mut state = vec![0; 3 * cluster as usize];
            disk.read_vm_state(512, &mut state).unwrap();
            assert!(state.iter().all(|byte| *byte == 2), "{options}");
        }
    }
}
