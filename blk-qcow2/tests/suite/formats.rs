//! How an image is recognised, opened with its options, and described.

use std::sync::Arc;

use crate::common::Image;
use crate::common::handmade::Handmade;
use blk_core::storage::{Operation, TraceStorage};
use blk_core::{
    Access, Detail, Details, Disk, MapResolver, OptionSpec, Options, Probe, Resolver, Result, Storage,
    Support, WriteFlags,
};
use blk_qcow2::FORMAT;

#[test]
fn an_image_is_recognised_by_its_magic_and_version() {
    assert_eq!(FORMAT.name(), "qcow2");
    for (start, surety) in [
        (&b"QFI\xfb\0\0\0\x02"[..], 100),
        (b"QFI\xfb\0\0\0\x03 and more", 100),
        (b"QFI\xfb\0\0\0\x01", 0),
        (b"QFI\xfb\0\0\0", 0),
        (b"QFIx\0\0\0\x03", 0),
        (b"", 0),
    ] {
        assert_eq!(FORMAT.probe(&Probe::of_start(start)), surety, "{start:?}");
    }
}

/// Values of an option, of which a text has any.
fn values(option: &OptionSpec) -> Vec<String> {
    let samples = option.samples();
    if samples.is_empty() { vec!["raw".to_owned()] } else { samples }
}

#[test]
fn every_value_that_is_listed_is_taken() {
    let count = |options: &[OptionSpec]| {
        options.iter().filter(|option| option.support == Support::Built && option.name != "x-control").count()
    };
    assert_eq!((count(FORMAT.open_options()), count(FORMAT.create_options())), (28, 20));
    let image = Image::new(1 << 20, Options::new());
    // Those that name a snapshot or a data file need one, and without a key an image is only described.
    let needs = |name: &str| {
        ["snapshot", "data", "encrypt"].iter().any(|start| name.starts_with(start)) || name == "locked"
    };
    for option in FORMAT.open_options().iter().filter(|option| !needs(option.name)) {
        for value in values(option) {
            image.open(Options::new().with(option.name, value));
        }
    }
    let is_built = |option: &&OptionSpec| option.support == Support::Built && !needs(option.name);
    for option in FORMAT.create_options().iter().filter(is_built) {
        for value in values(option) {
            let options = Options::new().with(option.name, value);
            let options =
                if option.name == "backing_fmt" { options.with("backing_file", "base") } else { options };
            Image::new(1 << 20, options);
        }
    }
}

/// The list says so; each of these has a default that the driver relies on.
#[test]
fn what_contradicts_what_is_told_with_the_reason() {
    let v2 = Options::new().with("compat", "v2");
    for (options, text) in [
        (v2.clone().with("lazy_refcounts", "on"), "'on' contradicts compat=0.10: version 2 cannot have it"),
        (v2.clone().with("refcount_bits", "8"), "'8' contradicts compat=0.10: version 2 has 16"),
        (v2.with("compression_type", "zstd"), "'zstd' contradicts compat=0.10: version 2 knows only zlib"),
        (
            Options::new().with("preallocation", "metadata").with("backing_file", "b"),
            "'metadata' contradicts backing_file=b: allocated clusters would hide the backing file",
        ),
        (Options::new().with("backing_fmt", "raw"), "'raw' needs backing_file"),
        (Options::new().with("compat", "v4"), "'v4' is neither 0.10 nor 1.1"),
        (Options::new().with("encrypt.hash-alg", "sha1"), "'sha1' contradicts encrypt.format="),
        (Options::new().with("size", "1M"), "option 'size': unknown"),
    ] {
        let error = Image::try_new(1 << 20, options).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

/// Options, whether they are taken, and for an image of which version.
#[test]
fn what_came_with_version_3_is_refused_for_version_2() {
    for (compat, create, open, is_taken) in [
        ("1.1", ("lazy_refcounts", "on"), ("lazy-refcounts", "on"), (true, true)),
        ("0.10", ("lazy_refcounts", "on"), ("lazy-refcounts", "on"), (false, false)),
        ("0.10", ("lazy_refcounts", "off"), ("lazy-refcounts", "off"), (true, true)),
        ("1.1", ("compression_type", "zstd"), ("discard", "on"), (true, true)),
        ("0.10", ("compression_type", "zstd"), ("discard", "off"), (false, true)),
        ("0.10", ("compression_type", "zlib"), ("l2-cache-slices", "1048576"), (true, true)),
        ("1.1", ("compression_type", "zlib"), ("l2-cache-slices", "1048577"), (true, false)),
    ] {
        let options = Options::new().with("compat", compat);
        let created = Image::try_new(1 << 20, options.clone().with(create.0, create.1));
        assert_eq!(created.is_ok(), is_taken.0, "{compat} {create:?}");
        let image = Image::new(1 << 20, options);
        let options = Options::new().with(open.0, open.1);
        let opened = FORMAT.open(image.storage(), Access::ReadWrite, options, &MapResolver::default());
        assert_eq!(opened.is_ok(), is_taken.1, "{compat} {open:?}");
    }
}

/// Bytes of the parts in which L2 tables are read.
#[test]
fn an_l2_slice_has_512_bytes_to_2_mib() {
    let image = Image::new(1 << 20, Options::new());
    let disk = image.open(Options::new());
    disk.write(0, &[1; 10], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    let l2 = image.field(image.field(40) as usize) & 0x00ff_ffff_ffff_fe00;
    for (asked, read) in [
        (0u64, None),
        (4096, Some(4096)),
        (256, None),
        (512, Some(512)),
        (513, None),
        (1536, None),
        (8192, Some(8192)),
        (65_536, Some(65_536)),
        (2 << 20, Some(65_536)),
        (4 << 20, None),
    ] {
        let trace = Arc::new(TraceStorage::new(image.storage(), 1000));
        let options = Options::new().with("l2-cache-entry-size", asked);
        let opened = FORMAT.open(Arc::clone(&trace) as _, Access::ReadOnly, options, &MapResolver::default());
        assert_eq!(opened.is_ok(), read.is_some(), "{asked}");
        let Ok(disk) = opened else { continue };
        disk.read(0, &mut [0; 10]).unwrap();
        let entries = trace.entries();
        let slice =
            entries.iter().find(|entry| entry.operation == Operation::Read && entry.extent.offset == l2);
        assert_eq!(slice.map(|entry| entry.extent.length), read, "{asked}");
    }
}

/// A caller that has one disk for names, and one for images that name none.
#[derive(Debug)]
struct TwoBackings {
    named: Arc<Disk>,
    default: Arc<Disk>,
}

impl Resolver for TwoBackings {
    fn open_backing(&self, _: &str, _: Option<&str>) -> Result<Arc<Disk>> {
        Ok(Arc::clone(&self.named))
    }

    fn default_backing(&self) -> Result<Option<Arc<Disk>>> {
        Ok(Some(Arc::clone(&self.default)))
    }
}

#[test]
fn the_backing_disk_is_the_named_one_or_the_callers_or_none() {
    let filled = |byte: u8| {
        let disk = Image::new(1 << 20, Options::new()).open(Options::new());
        disk.write(0, &[byte; 10], WriteFlags::default()).unwrap();
        Arc::new(disk)
    };
    let resolver = TwoBackings { named: filled(1), default: filled(2) };
    let named = Image::new(1 << 20, Options::new().with("backing_file", "base"));
    let nameless = Image::new(1 << 20, Options::new());
    for (image, backing, expected) in
        [(&named, "on", 1), (&nameless, "on", 2), (&named, "off", 0), (&nameless, "off", 0)]
    {
        let options = Options::new().with("backing", backing);
        let disk = FORMAT.open(image.storage(), Access::ReadOnly, options, &resolver).unwrap();
        let mut read = [9; 10];
        disk.read(0, &mut read).unwrap();
        assert_eq!(read, [expected; 10]);
    }
    let missing = FORMAT.open(named.storage(), Access::ReadOnly, Options::new(), &MapResolver::default());
    assert!(missing.is_err());
}

/// What `info` says, as text.
fn described(made: &Handmade) -> String {
    let options = Options::new().with("backing", "off");
    let storage: Arc<dyn Storage> = made.image().storage();
    let disk = FORMAT.open(storage, Access::ReadOnly, options, &MapResolver::default()).unwrap();
    let info = disk.as_info().unwrap().info().unwrap();
    assert_eq!((info.format, info.cluster_bytes), ("qcow2", Some(65_536)));
    let text = |details: Details| {
        let one = |(name, detail): (&str, Detail)| match detail {
            Detail::Text(text) => format!("{name} {text}"),
            Detail::Number(number) => format!("{name} {number}"),
            Detail::Switch(on) => format!("{name} {on}"),
            other => format!("{name} {other:?}"),
        };
        details.into_iter().map(one).collect::<Vec<_>>().join(", ")
    };
    format!("{} {}", info.is_dirty, text(info.details))
}

#[test]
fn an_image_says_what_it_is() {
    let with = |options: Options, marks: u64| {
        let mut made = Handmade::new(&Image::new(1 << 20, options));
        if marks != 0 {
            made.put(72, 8, marks | made.get(72, 8));
        }
        described(&made)
    };
    let usual = "compat 1.1, compression-type zlib, lazy-refcounts false, refcount-bits 16";
    let last = "corrupt false, extended-l2 false";
    assert_eq!(with(Options::new(), 0), format!("false {usual}, {last}"));
    assert_eq!(with(Options::new(), 1), format!("true {usual}, {last}"));
    assert_eq!(with(Options::new(), 2), format!("false {usual}, corrupt true, extended-l2 false"));
    assert_eq!(
        with(Options::new().with("compat", "0.10"), 0),
        "false compat 0.10, compression-type zlib, refcount-bits 16"
    );
    let options = Options::new().with("compression_type", "zstd").with("refcount_bits", 1u64);
    assert_eq!(
        with(options.with("lazy_refcounts", "on"), 0),
        format!("false compat 1.1, compression-type zstd, lazy-refcounts true, refcount-bits 1, {last}")
    );
}
