//! Against QEMU's real tools, over the grid of ciphers, modes, generators, hashes and slots: what QEMU made
//! reads the same here, and the other way round. `BLK_REQUIRE_QEMU=1`, as in CI, turns a skip into a failure.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use blk_core::{
    Access, Amend, Amendment, Disk, FileStorage, MapResolver, Options, Secret, Storage, WriteFlags,
};
use blk_luks::FORMAT;

fn available() -> bool {
    let runs = |program: &str| {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    if runs("qemu-img") && runs("qemu-io") {
        return true;
    }
    let required = std::env::var_os("BLK_REQUIRE_QEMU").is_some();
    assert!(!required, "qemu-img and qemu-io are required here and missing: install qemu-utils");
    eprintln!("SKIPPED: qemu-img and qemu-io are missing (Debian package qemu-utils)");
    false
}

fn call(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn qemu_img(arguments: &[&str]) -> String {
    let output = call("qemu-img", arguments);
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", printed(&output));
    printed(&output)
}

/// What QEMU is told of secrets: each is its own name.
const SECRETS: [&str; 4] =
    ["--object", "secret,id=first,data=first", "--object", "secret,id=second,data=second"];

fn secrets() -> MapResolver {
    let mut resolver = MapResolver::default();
    for name in ["first", "second"] {
        resolver.insert_secret(name, Secret::from(name.as_bytes().to_vec()));
    }
    resolver
}

/// Cipher, mode, generator, its hash, hash: `(cipher-alg, cipher-mode, ivgen-alg, ivgen-hash-alg, hash-alg)`.
type Choice = (&'static str, &'static str, &'static str, Option<&'static str>, &'static str);

/// Every value of every option, and those that meet.
fn grid() -> Vec<Choice> {
    let mut grid: Vec<Choice> = Vec::new();
    for cipher in ["aes-128", "aes-256", "serpent-128", "serpent-256", "twofish-128", "twofish-256"] {
        for mode in ["xts", "cbc", "ecb", "ctr"] {
            grid.push((cipher, mode, "plain64", None, "sha256"));
        }
    }
    // QEMU fails an assertion in its other modes of 192 bits.
    for cipher in ["aes-192", "serpent-192", "twofish-192"] {
        grid.push((cipher, "xts", "plain64", None, "sha256"));
    }
    for hash in ["sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160"] {
        grid.push(("aes-256", "xts", "plain64", None, hash));
        grid.push(("aes-128", "cbc", "plain", Some(hash), hash));
    }
    for cipher in ["aes-128", "aes-256", "serpent-256", "twofish-256"] {
        for mode in ["xts", "cbc"] {
            grid.push((cipher, mode, "essiv", Some("sha256"), "sha1"));
            grid.push((cipher, mode, "plain", None, "sha256"));
        }
    }
    grid.push(("aes-256", "cbc", "essiv", None, "sha256"));
    grid
}

struct Image {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

const SIZE_BYTES: u64 = 64 << 10;

impl Image {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.luks");
        Self { _folder: folder, path }
    }

    fn options(&self, secret: &str) -> String {
        format!("driver=luks,key-secret={secret},file.driver=file,file.filename={}", self.path.display())
    }

    fn qemu_io(&self, secret: &str, commands: &[&str]) {
        let options = self.options(secret);
        let mut arguments: Vec<&str> = commands.iter().flat_map(|command| ["-c", *command]).collect();
        arguments.extend(SECRETS);
        arguments.extend(["--image-opts", &options]);
        let output = call("qemu-io", &arguments);
        let text = printed(&output);
        let failed = text.contains("rror") || text.contains("failed");
        assert!(output.status.success() && !failed, "{commands:?}: {text}");
    }

    fn open(&self, secret: &str) -> Disk {
        let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(&self.path, Access::ReadWrite).unwrap());
        let options = Options::new().with("key-secret", secret);
        FORMAT.open(storage, Access::ReadWrite, options, &secrets()).unwrap()
    }

    fn make_here(&self, choice: Choice) {
        let (cipher, mode, iv, iv_hash, hash) = choice;
        let storage: Arc<dyn Storage> = Arc::new(FileStorage::create(&self.path).unwrap());
        let mut options = Options::new().with("key-secret", "first").with("iter-time", "1");
        for (name, value) in
            [("cipher-alg", cipher), ("cipher-mode", mode), ("ivgen-alg", iv), ("hash-alg", hash)]
        {
            options.set(name, value);
        }
        if let Some(hash) = iv_hash {
            options.set("ivgen-hash-alg", hash);
        }
        FORMAT.create_with(&storage, SIZE_BYTES, options, &secrets()).unwrap();
    }

    fn make_there(&self, choice: Choice) {
        let (cipher, mode, iv, iv_hash, hash) = choice;
        let mut options = format!(
            "key-secret=first,iter-time=1,cipher-alg={cipher},cipher-mode={mode},\
             ivgen-alg={iv},hash-alg={hash}"
        );
        if let Some(hash) = iv_hash {
            options = format!("{options},ivgen-hash-alg={hash}");
        }
        let size = SIZE_BYTES.to_string();
        let mut arguments = vec!["create", "-q", "-f", "luks", "-o", &options];
        arguments.extend(SECRETS);
        arguments.extend([path(&self.path), &size]);
        qemu_img(&arguments);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn read(disk: &Disk, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    disk.read(offset, &mut bytes).unwrap();
    bytes
}

/// An image is made on one side, written there, read and written on the other, and read again.
#[test]
fn images_of_the_grid_are_read_and_written_both_ways() {
    if !available() {
        return;
    }
    for choice in grid() {
        let image = Image::new();
        image.make_here(choice);
        let disk = image.open("first");
        disk.write(511, &vec![6; 20_000], WriteFlags::default()).unwrap();
        disk.close().unwrap();
        drop(disk);
        image.qemu_io("first", &["read -P 6 511 20000", "write -P 7 1000 1000"]);
        let back = read(&image.open("first"), 511, 3000);
        assert!(back[489..1489] == [7; 1000] && back[1489..] == [6; 1511], "made here: {choice:?}");
    }
    // QEMU measures for two seconds before it makes one.
    let made_there = [
        ("aes-256", "xts", "plain64", None, "sha256"),
        ("aes-192", "xts", "plain", None, "sha512"),
        ("aes-128", "cbc", "essiv", Some("sha256"), "sha1"),
        ("serpent-256", "ctr", "plain64", None, "ripemd160"),
        ("twofish-128", "ecb", "plain64", Some("sha384"), "sha224"),
    ];
    for choice in made_there {
        let image = Image::new();
        image.make_there(choice);
        image.qemu_io("first", &["write -P 3 0 8k", "write -P 4 8191 10000"]);
        let disk = image.open("first");
        assert_eq!(disk.size(), SIZE_BYTES, "{choice:?}");
        let there = read(&disk, 0, 18_191);
        assert!(there[..8191] == [3; 8191] && there[8191..] == [4; 10_000], "made there: {choice:?}");
        disk.write(100, &[5; 9000], WriteFlags::default()).unwrap();
        disk.close().unwrap();
        drop(disk);
        image.qemu_io("first", &["read -P 3 0 100", "read -P 5 100 9000", "read -P 4 9100 9091"]);
    }
}

fn amend_here(disk: &Disk, options: &[(&str, &str)]) {
    let options = options.iter().fold(Options::new(), |all, (name, value)| all.with(name, *value));
    let (mut progress, resolver) = (|_, _| (), secrets());
    disk.amend(Amendment { options, force: false, resolver: &resolver, progress: &mut progress }).unwrap();
}

fn amend_there(image: &Image, secret: &str, options: &str) {
    let opened = image.options(secret);
    let mut arguments = vec!["amend", "-o", options];
    arguments.extend(SECRETS);
    arguments.extend(["--image-opts", &opened]);
    qemu_img(&arguments);
}

/// Slots that one side adds and erases are there, or gone, on the other.
#[test]
fn slots_are_shared() {
    if !available() {
        return;
    }
    for slot in [1_u8, 6, 7] {
        let image = Image::new();
        image.make_here(("aes-256", "xts", "plain64", None, "sha256"));
        image.qemu_io("first", &["write -P 3 0 8k"]);
        let number = slot.to_string();
        let add = [("state", "active"), ("new-secret", "second"), ("keyslot", &number), ("iter-time", "1")];
        amend_here(&image.open("first"), &add);
        image.qemu_io("second", &["read -P 3 0 8k"]);
        amend_there(&image, "second", "state=inactive,keyslot=0");
        assert_eq!(read(&image.open("second"), 0, 8192), [3; 8192]);
        amend_there(&image, "second", "state=active,new-secret=first,iter-time=1");
        amend_here(&image.open("first"), &[("state", "inactive"), ("old-secret", "second")]);
        image.qemu_io("first", &["read -P 3 0 8k"]);
        let opened = image.options("second");
        let mut arguments = vec!["-c", "read 0 1"];
        arguments.extend(SECRETS);
        arguments.extend(["--image-opts", &opened]);
        let output = call("qemu-io", &arguments);
        assert!(printed(&output).contains("Invalid password"), "{}", printed(&output));
    }
}

/// Both say the same of one image.
#[test]
fn info_is_the_same() {
    if !available() {
        return;
    }
    for choice in
        [("aes-256", "xts", "plain64", None, "sha256"), ("aes-128", "cbc", "essiv", Some("sha256"), "sha1")]
    {
        let image = Image::new();
        image.make_here(choice);
        let text = qemu_img(&["info", "--output=json", path(&image.path)]);
        let info: serde_json::Value = serde_json::from_str(&text).unwrap();
        let theirs = &info["format-specific"]["data"];
        let ours = image.open("first").info().unwrap();
        let of =
            |wanted: &str| ours.details.iter().find(|(name, _)| *name == wanted).map(|(_, detail)| detail);
        for (name, value) in theirs.as_object().unwrap() {
            let ours = format!("{:?}", of(name).unwrap_or_else(|| panic!("{name}: {value}")));
            let said = match value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(slots) => slots[0]["iters"].to_string(),
                other => other.to_string(),
            };
            assert!(ours.contains(&said), "{name}: {value} {ours}");
        }
        assert_eq!(theirs.as_object().unwrap().len(), ours.details.len());
    }
}
