//! Images that lie: each wrong field is refused with an error that names it, and nothing is allocated for it.

use crate::common::{Image, patch};
use blk_core::{
    Access, DenyResolver, DiscardFlags, Disk, Error, Extent, Options, Preallocation, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;

/// Opens a fresh image in which `bytes` stand at `offset`.
fn open_patched(create: Options, offset: usize, bytes: &[u8], access: Access) -> Result<(), String> {
    let mut image = Image::new(1 << 20, create).bytes();
    patch(&mut image, offset, bytes);
    let opened = FORMAT.open(Image::from_bytes(&image).storage(), access, Options::new(), &DenyResolver);
    opened.map(drop).map_err(|error| error.to_string())
}

/// (what, header offset, value, what the error says)
const HEADER_FIELDS: [(usize, &[u8], &str); 19] = [
    (0, b"QFIx", "magic is 0x51464978"),
    (4, &[0, 0, 0, 4], "version is 4, known are 2 and 3"),
    (8, &[0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 5], "backing_file_offset is 65537"),
    (8, &[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0], "backing_file_size is 1024"),
    (20, &[0, 0, 0, 8], "cluster_bits is 8"),
    (20, &[0, 0, 0, 63], "cluster_bits is 63"),
    (24, &[0xff; 8], "size is 18446744073709551615"),
    (24, &[0, 0, 1, 0, 0, 0, 0, 0], "l1_size is 1, a disk of 1099511627776 bytes needs 2048"),
    (32, &[0, 0, 0, 1], "'encrypt.key-secret' is required"),
    (32, &[0, 0, 0, 2], "crypt_method is 2 (LUKS), but there is no encryption header"),
    (36, &[0xff; 4], "l1_size is 4294967295, the largest is 4194304"),
    (40, &[0, 0, 0, 0, 0, 3, 0, 1], "l1_table_offset is 0x30001"),
    (40, &[0x40, 0, 0, 0, 0, 0, 0, 0], "l1_table_offset is 0x4000000000000000"),
    (48, &[0, 0, 0, 0, 0, 0, 2, 0], "refcount_table_offset is 0x200"),
    (56, &[0xff; 4], "refcount_table_clusters is 4294967295"),
    (60, &[0, 1, 0, 1], "nb_snapshots is 65537"),
    (96, &[0, 0, 0, 7], "refcount_order is 7"),
    (100, &[0, 0, 0, 103], "header_length is 103"),
    (104, &[7], "compression_type is 7"),
];

#[test]
fn every_wrong_header_field_is_named() {
    for (offset, bytes, expected) in HEADER_FIELDS {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let error = open_patched(Options::new(), offset, bytes, access).unwrap_err();
            assert!(error.contains(expected), "{offset}: {error}");
        }
    }
}

#[test]
fn features_that_we_do_not_have_are_refused_by_name() {
    for (bit, expected) in [
        (2, "has an external data file and does not name it"),
        (5, "feature: 20"),
        (63, "feature: 8000000000000000"),
    ] {
        let error =
            open_patched(Options::new(), 72, &(1u64 << bit).to_be_bytes(), Access::ReadOnly).unwrap_err();
        assert!(error.contains(expected), "{bit}: {error}");
    }
}

#[test]
fn an_extension_that_leaves_its_cluster_is_refused() {
    let extension = [0x12, 0x34, 0x56, 0x78, 0x7f, 0xff, 0xff, 0xff];
    let error = open_patched(Options::new(), 112, &extension, Access::ReadOnly).unwrap_err();
    assert!(error.contains("type 0x12345678 has length 2147483647"), "{error}");
}

#[test]
fn an_unknown_extension_is_passed_over() {
    let extension = [0x12, 0x34, 0x56, 0x78, 0, 0, 0, 3, b'a', b'b', b'c', 0, 0, 0, 0, 0];
    open_patched(Options::new(), 112, &extension, Access::ReadWrite).unwrap();
}

/// What writes have to make stale is no longer vouched for (KNOWN-BUGS 67), and reading leaves it alone.
#[test]
fn autoclear_bits_go_with_the_first_change_and_not_before() {
    let mut bytes = Image::new(1 << 20, Options::new()).bytes();
    patch(&mut bytes, 88, &[0x80, 0, 0, 0, 0, 0, 0, 2]);
    let image = Image::from_bytes(&bytes);
    let disk = image.open(Options::new());
    disk.read(0, &mut [0; 512]).unwrap();
    disk.close().unwrap();
    assert_eq!(image.bytes()[88..96], bytes[88..96]);
    let disk = image.open(Options::new());
    disk.write(0, &[1], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    assert_eq!(image.bytes()[88..96], [0; 8]);
}

/// What a request is, and the request.
type Request<'a> = (&'a str, &'a dyn Fn(&Disk) -> blk_core::Result<()>);

#[test]
fn autoclear_bits_stay_where_requests_are_refused() {
    let plain = Image::new(1 << 20, Options::new().with("cluster_size", 4096u64));
    let disk = plain.open(Options::new());
    disk.write(0, &[7; 4096], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    let mut bytes = plain.bytes();
    patch(&mut bytes, 88, &[0x80, 0, 0, 0, 0, 0, 0, 2]);
    let unaligned = WriteFlags { compressed: true, ..WriteFlags::default() };
    let marks = |flags| move |disk: &Disk| disk.write_zeroes(Extent::new(0, 512), flags);
    let refused: [Request<'_>; 8] = [
        ("no data", &marks(ZeroFlags { no_fallback: true, ..ZeroFlags::default() })),
        ("fast", &marks(ZeroFlags { fast_only: true, ..ZeroFlags::default() })),
        ("compressed", &|disk| disk.write(512, &[1; 512], unaligned)),
        ("too large", &|disk| disk.resize(1 << 60)),
        ("smaller, allocating", &|disk| disk.grow(512 << 10, Preallocation::Full)),
        ("write past the end", &|disk| disk.write(1 << 20, &[1; 512], WriteFlags::default())),
        ("discard past the end", &|disk| disk.discard(Extent::new(1 << 20, 512), DiscardFlags::default())),
        ("zeroes past the end", &|disk| disk.write_zeroes(Extent::new(1 << 20, 512), ZeroFlags::default())),
    ];
    for (what, request) in refused {
        let image = Image::from_bytes(&bytes);
        let disk = image.open(Options::new());
        request(&disk).expect_err(what);
        disk.close().unwrap();
        drop(disk);
        assert!(image.bytes() == bytes, "{what}");
    }
}

#[test]
fn a_corrupt_image_opens_read_only_alone() {
    let corrupt = 2u64.to_be_bytes();
    open_patched(Options::new(), 72, &corrupt, Access::ReadOnly).unwrap();
    let error = open_patched(Options::new(), 72, &corrupt, Access::ReadWrite).unwrap_err();
    assert!(error.contains("marked corrupt"), "{error}");
}

/// A refcount index one past what the table counts (KNOWN-BUGS 75), and entries that point anywhere.
#[test]
fn wrong_table_entries_are_errors_and_never_panics() {
    let small = || Options::new().with("cluster_size", 512u64).with("refcount_bits", 64u64);
    let reference = Image::new(64 << 10, small());
    let disk = reference.open(Options::new());
    disk.write(0, &[1; 4096], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    let l1 = reference.field(40) as usize;
    let l2 = (reference.field(l1) & 0x00ff_ffff_ffff_fe00) as usize;
    let table = reference.field(48) as usize;
    for at in [l1, l2, l2 + 8, table, table + 8] {
        for entry in [
            1u64,
            0x1ff,
            512,
            u64::MAX,
            1 << 63,
            1 << 62,
            0x00ff_ffff_ffff_fe00,
            0x8000_0000_0000_0200,
            (1 << 56) - 512,
        ] {
            let mut bytes = reference.bytes();
            patch(&mut bytes, at, &entry.to_be_bytes());
            let image = Image::from_bytes(&bytes);
            let disk = image.open(Options::new());
            let _ = disk.read(0, &mut [0; 8192]);
            let _ = disk.write(100, &[7; 3000], WriteFlags::default());
            let _ = disk.write(40_000, &[7; 3000], WriteFlags::default());
            let _ = disk.discard(Extent::new(0, 4096), DiscardFlags::default());
            let _ = disk.flush();
        }
    }
}

/// A guest cluster that the tables put on top of the header or another table is not written.
#[test]
fn guest_data_never_overwrites_metadata() {
    let reference = Image::new(1 << 20, Options::new());
    let disk = reference.open(Options::new());
    disk.write(0, &[1; 4096], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    let l1 = reference.field(40);
    let l2 = reference.field(l1 as usize) & 0x00ff_ffff_ffff_fe00;
    let block = reference.field(reference.field(48) as usize);
    for (victim, name) in [
        (l1, "the L1 table"),
        (l2, "an L2 table"),
        (reference.field(48), "the refcount table"),
        (block, "a refcount block"),
    ] {
        let mut bytes = reference.bytes();
        patch(&mut bytes, l2 as usize, &(victim | 1 << 63).to_be_bytes());
        let image = Image::from_bytes(&bytes);
        let disk = image.open(Options::new());
        let error = disk.write(0, &[0xff; 512], WriteFlags::default()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(
            image.bytes()[victim as usize..victim as usize + 512],
            bytes[victim as usize..victim as usize + 512]
        );
    }
}

#[test]
fn bad_options_are_named() {
    for (name, value, expected) in [
        ("cluster_size", "513", "513 is not a power of two"),
        ("cluster_size", "4M", "4194304"),
        ("refcount_bits", "3", "3 is not a power of two"),
        ("compat", "0.9", "'0.9'"),
        ("compression_type", "lzma", "'lzma'"),
        ("preallocation", "some", "'some'"),
        ("extended_l2", "perhaps", "'perhaps'"),
        ("lazy_refcounts", "perhaps", "'perhaps'"),
        ("colour", "red", "colour"),
    ] {
        let error = Image::try_new(1 << 20, Options::new().with(name, value)).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}={value}: {error}");
    }
    let error = Image::try_new(1 << 62, Options::new().with("cluster_size", 512u64)).unwrap_err().to_string();
    assert!(error.contains("the largest is"), "{error}");
}
