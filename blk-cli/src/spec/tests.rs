use std::fs;
use std::path::Path;

use blk_core::{DiscardFlags, Extent, MemoryStorage, WriteFlags};

use super::*;

mod bounds;

/// A folder with images; names in requests are given with their folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn raw(&self, name: &str, byte: u8) -> String {
        fs::write(self.path(name), vec![byte; 1 << 20]).unwrap();
        self.path(name)
    }

    fn qcow2(&self, name: &str, backing: Option<(&str, &str)>) -> String {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let mut options = Options::new().with("cluster_size", "4k");
        if let Some((file, format)) = backing {
            options = options.with("backing_file", file).with("backing_fmt", format);
        }
        blk_qcow2::FORMAT.create(&storage, 1 << 20, options).unwrap();
        let mut bytes = vec![0; storage.len().unwrap() as usize];
        storage.read_at(0, &mut bytes).unwrap();
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

fn request(name: impl Into<String>) -> Request {
    Request { name: name.into(), on_mismatch: OnMismatch::Fail, ..Request::default() }
}

fn image_opts(list: impl Into<String>) -> Request {
    Request { image_opts: true, ..request(list) }
}

fn read_only(name: impl Into<String>) -> Request {
    Request { access: Access::ReadOnly, ..request(name) }
}

fn first_byte(image: &Image) -> u8 {
    let mut byte = [0xee];
    image.disk.read(0, &mut byte).unwrap();
    byte[0]
}

fn error(request: &Request) -> String {
    request.open().map(|image| image.name).unwrap_err().to_string()
}

#[test]
fn formats_are_found_out_or_given() {
    let folder = Folder::new();
    let (raw, qcow2) = (folder.raw("a.raw", 7), folder.qcow2("b.qcow2", None));
    let image = request(&raw).open().unwrap();
    assert_eq!((image.format, image.guessed_raw, image.name.as_str()), ("raw", true, raw.as_str()));
    drop(image);
    let image = request(format!("file:{qcow2}")).open().unwrap();
    assert_eq!((image.format, image.guessed_raw, image.name.as_str()), ("qcow2", false, qcow2.as_str()));
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.layers[0].path.as_deref(), Some(Path::new(&qcow2)));
    drop(image);
    let forced = Request { format: Some("raw".to_owned()), ..request(&qcow2) }.open().unwrap();
    assert_eq!((forced.format, first_byte(&forced)), ("raw", b'Q'));
    assert!(error(&Request { format: Some("nonsense".to_owned()), ..request(&raw) }).contains("'nonsense'"));
    assert!(error(&request(folder.path("none"))).contains("No such file"));
    assert!(error(&request(folder.path("."))).contains("neither a regular file"));
    assert!(error(&request("")).contains("'file.filename'"));
}

#[test]
fn backing_files_count_from_the_image_and_may_be_anything() {
    let folder = Folder::new();
    let raw = folder.raw("base.raw", 9);
    let json = format!(r#"json:{{"driver":"raw","file":{{"driver":"file","filename":"{raw}"}}}}"#);
    for (name, backing, format) in
        [("1.qcow2", "base.raw", "raw"), ("2.qcow2", json.as_str(), "raw"), ("3.qcow2", "1.qcow2", "qcow2")]
    {
        let image = request(folder.qcow2(name, Some((backing, format)))).open().unwrap();
        assert_eq!(first_byte(&image), 9, "{name}");
        let formats: Vec<_> = image.layers.iter().map(|layer| layer.format).collect();
        assert_eq!(
            formats,
            if name == "3.qcow2" { vec!["qcow2", "qcow2", "raw"] } else { vec!["qcow2", "raw"] }
        );
        assert_eq!(image.layers.last().unwrap().path.as_deref(), Some(Path::new(&raw)));
    }
    let without = image_opts(format!("driver=qcow2,file.filename={},backing=", folder.path("1.qcow2")));
    assert_eq!(first_byte(&without.open().unwrap()), 0);
    let other = folder.raw("other.raw", 5);
    let top = format!("driver=qcow2,file.filename={}", folder.path("1.qcow2"));
    let instead = format!("{top},backing.driver=raw,backing.file.filename={other}");
    assert_eq!(first_byte(&image_opts(instead).open().unwrap()), 5);
    let alone = folder.qcow2("alone.qcow2", None);
    let below =
        format!("driver=qcow2,file.filename={alone},backing.driver=raw,backing.file.filename={other}");
    assert_eq!(first_byte(&image_opts(below).open().unwrap()), 5);
}

#[test]
fn chains_that_come_back_or_never_end_are_refused() {
    let folder = Folder::new();
    folder.qcow2("a.qcow2", Some(("b.qcow2", "qcow2")));
    folder.qcow2("b.qcow2", Some(("./a.qcow2", "qcow2")));
    assert!(error(&request(folder.path("a.qcow2"))).contains("comes back"));
    let last = open::CHAIN_MAX;
    for number in 0..last {
        folder.qcow2(&format!("{number}"), Some((&format!("{}", number + 1), "qcow2")));
    }
    folder.qcow2(&format!("{last}"), None);
    // The program opens images on its main thread, which has this much, and reads them on threads with what
    // is usual.
    let opened = std::thread::Builder::new().stack_size(8 << 20);
    let opened = opened
        .spawn(move || {
            assert!(error(&request(folder.path("0"))).contains("longer than 500"));
            request(folder.path("1")).open().unwrap()
        })
        .unwrap();
    let image = opened.join().unwrap();
    assert_eq!(image.layers.len(), last);
    assert_eq!(first_byte(&image), 0);
}

#[test]
fn two_writers_are_refused_and_readers_are_not() {
    let folder = Folder::new();
    let name = folder.qcow2("a.qcow2", None);
    let writer = request(&name).open().unwrap();
    assert!(error(&request(&name)).contains("Failed to get \"write\" lock"));
    assert!(error(&read_only(&name)).contains("Failed to get shared \"write\" lock"));
    assert!(Request { force_share: true, ..read_only(&name) }.open().is_ok());
    assert!(Request { locking: Locking::Off, ..request(&name) }.open().is_ok());
    assert!(error(&Request { force_share: true, ..request(&name) }).contains("'force-share'"));
    let unlocked = format!("driver=qcow2,file.filename={name},file.locking=off");
    assert!(image_opts(unlocked).open().is_ok());
    drop(writer);
    let reader = read_only(&name).open().unwrap();
    assert!(read_only(&name).open().is_ok());
    assert!(request(&name).open().is_err());
    drop(reader);
    request(&name).open().unwrap();
}

#[test]
fn what_a_node_says_about_writing_counts() {
    let folder = Folder::new();
    let raw = folder.raw("a.raw", 0);
    let node = format!("driver=raw,file.filename={raw}");
    assert!(error(&image_opts(format!("{node},read-only=on"))).contains("'read-only'"));
    let image =
        Request { access: Access::ReadOnly, ..image_opts(format!("{node},read-only=off")) }.open().unwrap();
    assert_eq!(image.disk.access(), Access::ReadWrite);
    let image =
        Request { access: Access::ReadOnly, ..image_opts(format!("{node},read-only=on")) }.open().unwrap();
    assert_eq!(image.disk.access(), Access::ReadOnly);
}

#[test]
fn a_verifier_over_two_images_and_over_a_verifier() {
    let folder = Folder::new();
    let (a, b) = (folder.raw("a.raw", 0), folder.qcow2("b.qcow2", None));
    let c = folder.raw("c.raw", 0);
    let nested = request(format!("blkverify:{a}:blkverify:{c}:{b}"));
    for request in [Request { format: Some("raw".to_owned()), ..nested.clone() }, nested] {
        let image = request.open().unwrap();
        assert_eq!(image.name, format!("blkverify:{a}:blkverify:{c}:{b}"));
        image.disk.write(512, &[3; 512], WriteFlags::default()).unwrap();
        image.disk.close().unwrap();
    }
    assert_eq!(fs::read(&a).unwrap()[600], 3);
    let alike = error(&request(format!("blkverify:{a}:{a}")));
    assert!(alike.contains("the same file as"), "{alike}");
    read_only(format!("blkverify:{a}:{a}")).open().unwrap();
    fs::write(&a, vec![1; 1 << 20]).unwrap();
    let options =
        format!("driver=blkverify,raw.driver=file,raw.filename={a},test.driver=qcow2,test.file.filename={b}");
    let image = image_opts(options.clone()).open().unwrap();
    assert_eq!(image.format, "blkverify");
    let report = image.disk.read(0, &mut [0; 512]).unwrap_err().to_string();
    let expected = "blkverify: read offset=0 bytes=512 contents mismatch at offset 0 (sector 0)";
    assert_eq!(report.lines().next(), Some(expected));
    drop(image);
    let lenient = Request { on_mismatch: OnMismatch::Report, ..image_opts(options) }.open().unwrap();
    assert_eq!(first_byte(&lenient), 1, "what the reference says");
}

#[test]
fn rules_from_a_file_and_from_options() {
    let folder = Folder::new();
    let name = folder.qcow2("a.qcow2", None);
    let rules = folder.path("rules");
    fs::write(&rules, "[inject-error]\nevent = \"write_aio\"\nerrno = \"28\"\nonce = \"on\"\n").unwrap();
    let image = request(format!("blkdebug:{rules}:{name}")).open().unwrap();
    assert_eq!((image.format, image.name), ("qcow2", format!("blkdebug:{rules}:{name}")));
    let write = || image.disk.write(0, &[1; 512], WriteFlags::default()).map_err(|error| error.errno());
    // A full host is not the end: the driver may find room by itself and try again.
    assert!(matches!(write(), Ok(()) | Err(28)));
    write().unwrap();
    image.disk.close().unwrap();
    drop(image.disk);
    drop(image.layers);
    drop(image.breakpoints);
    let list = format!(
        "driver=qcow2,file.driver=blkdebug,file.image.filename={name},file.inject-error.0.event=read_aio"
    );
    let image = image_opts(list).open().unwrap();
    assert!(
        image.name.starts_with(r#"json:{"driver": "qcow2", "file": {"driver": "blkdebug""#),
        "{}",
        image.name
    );
    assert_eq!(image.disk.read(0, &mut [0; 512]).unwrap_err().errno(), 5);
    assert!(image.breakpoints.is_some());
    assert!(error(&request(format!("blkdebug:{}:{name}", folder.path("none")))).contains("No such file"));
}

#[test]
fn nothing_with_and_without_a_size() {
    let image = request("null-co://").open().unwrap();
    assert_eq!((image.disk.size(), image.name.as_str()), (1 << 30, "null-co://"));
    let image = image_opts("driver=null-co,size=1M,read-zeroes=on").open().unwrap();
    assert_eq!((image.disk.size(), image.format, first_byte(&image)), (1 << 20, "null-co", 0));
    assert_eq!(image.name, r#"json:{"driver": "null-co", "read-zeroes": "on", "size": "1M"}"#);
    image.disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    assert_eq!(first_byte(&image), 0);
    image.disk.discard(Extent::new(0, 512), DiscardFlags::default()).unwrap();
}

#[test]
fn options_besides_the_name() {
    let folder = Folder::new();
    let raw = folder.raw("a.raw", 4);
    fs::write(&raw, [vec![1; 512], vec![2; 512]].concat()).unwrap();
    let window = Options::new().with("offset", "512").with("driver", "raw");
    let image = Request { options: window, ..request(&raw) }.open().unwrap();
    assert_eq!((image.disk.size(), first_byte(&image), image.format), (512, 2, "raw"));
    let all = Options::new().with("driver", "null-co").with("size", "1k");
    assert_eq!(Request { options: all, ..request("") }.open().unwrap().disk.size(), 1024);
    let unknown = Options::new().with("colour", "red");
    assert!(error(&Request { options: unknown, ..request(&raw) }).contains("'colour'"));
}

#[test]
fn discards_can_be_switched_off_and_cache_modes_have_names() {
    let folder = Folder::new();
    let raw = folder.raw("a.raw", 4);
    let image = Request { discard: Some(false), ..request(&raw) }.open().unwrap();
    image.disk.discard(Extent::new(0, 4096), DiscardFlags::default()).unwrap();
    assert_eq!(first_byte(&image), 4);
    drop(image);
    let image = Request { discard: Some(true), ..request(&raw) }.open().unwrap();
    image.disk.discard(Extent::new(0, 4096), DiscardFlags::default()).unwrap();
    assert_eq!(first_byte(&image), 0);
    assert_eq!("none".parse::<CacheMode>().unwrap(), CacheMode { direct: true, ..CacheMode::default() });
    assert!("unsafe".parse::<CacheMode>().unwrap().no_flush);
    assert!("directsync".parse::<CacheMode>().unwrap().writethrough);
    assert!("fast".parse::<CacheMode>().unwrap_err().to_string().contains("'fast'"));
}

#[test]
fn checking_a_specification_touches_nothing() {
    assert!(request("/nonexistent/a.raw").check().is_ok());
    assert!(image_opts("driver=raw,file.filename=/nonexistent,foo=1").check().is_err());
}
