//! What a header has that we do not know is still there after every kind of change; what has to go with a
//! change is gone.

use blk_core::{
    Amendment, BackingFile, Bitmaps, DenyResolver, DiscardFlags, Disk, Extent, NewSnapshot, Options, Overlay,
    RepairMode, Result, Snapshots, WriteFlags, ZeroFlags,
};

use crate::common::{Image, patch};

const UNKNOWN: u32 = 0xabcd_ef01;
const UNKNOWN_DATA: &[u8] = b"of others";
const FEATURE_NAMES: u32 = 0x6803_f857;
/// Of the compatible and of the autoclear features.
const UNKNOWN_BIT: u64 = 1 << 37;
const LENGTH: usize = 136;
const UNKNOWN_FIELDS: [u8; LENGTH - 112] = [0xd1; LENGTH - 112];

fn extension(bytes: &mut Vec<u8>, kind: u32, data: &[u8]) {
    bytes.extend(kind.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

/// A longer header than ours, with an unknown bit of each harmless kind and an unknown extension.
fn of_others() -> Image {
    let image = Image::new(1 << 20, Options::new().with("cluster_size", 8192_u64));
    let disk = image.open(Options::new());
    disk.write(0, &vec![1; 100_000], WriteFlags::default()).unwrap();
    disk.create_snapshot(&NewSnapshot { name: "first".to_owned(), ..NewSnapshot::default() }).unwrap();
    disk.close().unwrap();
    let mut bytes = image.bytes();
    let names = extensions(&bytes).into_iter().find(|(kind, _)| *kind == FEATURE_NAMES).unwrap().1;
    let mut header = bytes[..112].to_vec();
    patch(&mut header, 80, &UNKNOWN_BIT.to_be_bytes());
    patch(&mut header, 88, &UNKNOWN_BIT.to_be_bytes());
    patch(&mut header, 100, &(LENGTH as u32).to_be_bytes());
    header.extend(UNKNOWN_FIELDS);
    extension(&mut header, UNKNOWN, UNKNOWN_DATA);
    extension(&mut header, FEATURE_NAMES, &names);
    extension(&mut header, 0, &[]);
    patch(&mut bytes, 0, &header);
    Image::from_bytes(&bytes)
}

fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes[at..at + width].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn extensions(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut at = if number(bytes, 4, 4) == 2 { 72 } else { number(bytes, 100, 4) as usize };
    let mut found = Vec::new();
    while number(bytes, at, 4) != 0 {
        let length = number(bytes, at + 4, 4) as usize;
        found.push((number(bytes, at, 4) as u32, bytes[at + 8..at + 8 + length].to_vec()));
        at += 8 + length.next_multiple_of(8);
    }
    found
}

type Change = fn(&Disk) -> Result<()>;

fn amend(disk: &Disk, name: &str, value: &str) -> Result<()> {
    let (options, mut progress) = (Options::new().with(name, value), |_, _| {});
    disk.as_amend().unwrap().amend(Amendment {
        options,
        force: false,
        resolver: &DenyResolver,
        progress: &mut progress,
    })
}

const CHANGES: [(&str, Change); 16] = [
    ("write", |disk| disk.write(500_000, &[2; 10_000], WriteFlags::default())),
    ("compressed", |disk| disk.write(0, &[2; 8192], WriteFlags { compressed: true, fua: false })),
    ("zero", |disk| disk.write_zeroes(Extent::new(0, 50_000), ZeroFlags::default())),
    ("discard", |disk| disk.discard(Extent::new(0, 50_000), DiscardFlags::default())),
    ("resize", |disk| disk.resize(80 << 20)),
    ("growth", |disk| disk.grow(2 << 20, blk_core::Preallocation::Metadata)),
    ("create", |disk| disk.create_snapshot(&NewSnapshot::default()).map(drop)),
    ("apply", |disk| disk.apply_snapshot("1")),
    ("delete", |disk| disk.delete_snapshot("1")),
    ("bitmap", |disk| disk.add_bitmap("bits", 65536, true)),
    ("bitmaps", |disk| {
        disk.add_bitmap("bits", 65536, true)?;
        disk.write(500_000, &[2; 10], WriteFlags::default())?;
        disk.remove_bitmap("bits")
    }),
    ("width", |disk| amend(disk, "refcount_bits", "64")),
    ("lazy", |disk| amend(disk, "lazy_refcounts", "on")),
    ("rebase", |disk| {
        disk.set_backing(Some(&BackingFile { name: "below".to_owned(), format: Some("raw".to_owned()) }))
    }),
    ("drop", |disk| {
        disk.delete_snapshot("1")?;
        disk.forget_content()
    }),
    ("repair", |disk| {
        disk.write(700_000, &[3; 10], WriteFlags::default())?;
        disk.check(RepairMode::All).map(drop)
    }),
];

#[test]
fn what_others_have_in_the_header_stays_through_every_change() {
    for (name, change) in CHANGES {
        let image = of_others();
        let before = extensions(&image.bytes());
        let disk = image.open(Options::new().with("backing", "off"));
        change(&disk).unwrap_or_else(|error| panic!("{name}: {error}"));
        disk.close().unwrap();
        let after = image.bytes();
        assert_eq!(number(&after, 100, 4) as usize, LENGTH, "{name}");
        assert_eq!(after[112..LENGTH], UNKNOWN_FIELDS, "{name}");
        assert_eq!(number(&after, 80, 8) & UNKNOWN_BIT, UNKNOWN_BIT, "{name}: compatible features");
        assert_eq!(number(&after, 88, 8) & UNKNOWN_BIT, 0, "{name}: autoclear features");
        let kept = extensions(&after);
        for extension in before {
            assert!(kept.contains(&extension), "{name}: {extension:?}");
        }
        let report = disk.check(RepairMode::None).unwrap();
        assert!(report.is_clean(), "{name}: {report}");
    }
}

/// Nothing that is only read, or refused, changes the header.
#[test]
fn what_changes_nothing_leaves_autoclear_bits() {
    let same: [(&str, Change); 6] = [
        ("read", |disk| disk.read(0, &mut [0; 1000])),
        ("map", |disk| disk.block_status(Extent::new(0, 1 << 20)).map(drop)),
        ("flush", Disk::flush),
        ("check", |disk| disk.check(RepairMode::None).map(drop)),
        ("refused", |disk| amend(disk, "compat", "1.1")),
        ("same size", |disk| disk.resize(1 << 20)),
    ];
    for (name, request) in same {
        let image = of_others();
        let before = image.bytes();
        let disk = image.open(Options::new());
        request(&disk).unwrap_or_else(|error| panic!("{name}: {error}"));
        disk.close().unwrap();
        assert!(image.bytes() == before, "{name}");
    }
}

/// Version 2 has extensions too, and no bits.
#[test]
fn another_version_keeps_what_it_can_have() {
    let image = of_others();
    let disk = image.open(Options::new());
    for (compat, version) in [("0.10", 2), ("1.1", 3)] {
        amend(&disk, "compat", compat).unwrap();
        let bytes = image.bytes();
        assert_eq!(number(&bytes, 4, 4), version);
        let kept = extensions(&bytes);
        assert!(kept.contains(&(UNKNOWN, UNKNOWN_DATA.to_vec())), "{compat}");
        assert_eq!(kept.iter().any(|(kind, _)| *kind == FEATURE_NAMES), version == 3, "{compat}");
    }
    let bytes = image.bytes();
    assert_eq!((number(&bytes, 80, 8), number(&bytes, 88, 8), number(&bytes, 100, 4)), (0, 0, 112));
    disk.close().unwrap();
    assert!(disk.check(RepairMode::None).unwrap().is_clean());
}
