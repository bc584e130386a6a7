//! Encrypted images, both ways: QEMU makes them and they are used here, and the other way round.

#[path = "suite/common/mod.rs"]
mod common;
#[path = "suite/common/qemu.rs"]
mod qemu;

use std::sync::Arc;

use blk_core::{
    Access, Disk, Extent, MapResolver, NewSnapshot, Options, Secret, Storage, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;
use common::Image;
use qemu::Folder;

const SIZE: u64 = 1 << 20;
const SECRET: &str = "--object secret,id=s,data=open-sesame";
const OPENED: &str = "driver=qcow2,file.filename=x.qcow2,encrypt.key-secret=s";

/// What images are made with, as both programs have it.
const SHAPES: [&str; 12] = [
    "encrypt.format=luks",
    "encrypt.format=aes",
    "encryption=on,compat=0.10",
    "encrypt.format=luks,cluster_size=512",
    "encrypt.format=luks,cluster_size=2M",
    "encrypt.format=luks,extended_l2=on",
    "encrypt.format=aes,cluster_size=512,refcount_bits=64",
    "encrypt.format=luks,compat=0.10",
    "encrypt.format=luks,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=plain",
    "encrypt.format=luks,encrypt.cipher-alg=serpent-256,encrypt.hash-alg=sha512,lazy_refcounts=on",
    "encrypt.format=luks,encrypt.cipher-alg=twofish-128,encrypt.hash-alg=ripemd160",
    "encrypt.format=luks,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256",
];

fn secrets() -> MapResolver {
    let mut resolver = MapResolver::default();
    resolver.insert_secret("s", Secret::from(b"open-sesame".to_vec()));
    resolver
}

fn options(shape: &str) -> String {
    let quick = if shape.contains("luks") { ",encrypt.iter-time=10" } else { "" };
    format!("encrypt.key-secret=s,{shape}{quick}")
}

fn open(storage: Arc<dyn Storage>) -> Disk {
    let options = Options::new().with("encrypt.key-secret", "s");
    FORMAT.open(storage, Access::ReadWrite, options, &secrets()).expect("the image opens")
}

/// What a disk holds after [`REQUESTS`], or [`change`].
fn expected() -> Vec<u8> {
    let mut content = vec![0; SIZE as usize];
    content[..300_000].fill(1);
    content[1000..4000].fill(2);
    content[65_536..131_072].fill(0);
    content[900_001..900_006].fill(3);
    content
}

const REQUESTS: [&str; 4] =
    ["write -P 1 0 300000", "write -P 2 1000 3000", "write -z 64k 64k", "write -P 3 900001 5"];

fn change(disk: &Disk) {
    let write =
        |offset, byte, length| disk.write(offset, &vec![byte; length], WriteFlags::default()).unwrap();
    write(0, 1, 300_000);
    write(1000, 2, 3000);
    disk.write_zeroes(Extent::new(65_536, 65_536), ZeroFlags::default()).unwrap();
    write(900_001, 3, 5);
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut content = vec![0xee; disk.size() as usize];
    disk.read(0, &mut content).unwrap();
    content
}

/// QEMU finds nothing wrong, and the disk to hold that.
fn judge(folder: &Folder, image: &Image, content: &[u8], what: &str) {
    folder.write("x.qcow2", &image.bytes());
    folder.write("expected.raw", content);
    let said = folder.img(&format!("check {SECRET} --image-opts {OPENED}"));
    assert!(said.contains("No errors were found"), "{what}: {said}");
    let raw = "driver=raw,file.filename=expected.raw";
    folder.img(&format!("compare {SECRET} --image-opts {OPENED} {raw}"));
}

#[test]
fn images_of_qemu_are_read_written_and_given_snapshots() {
    let Some(folder) = Folder::for_qemu("encryption-theirs") else { return };
    for shape in SHAPES {
        folder.img(&format!("create -q -f qcow2 {SECRET} -o {} x.qcow2 {SIZE}", options(shape)));
        folder.encrypted_io(&format!("{SECRET} --image-opts {OPENED}"), &REQUESTS);
        folder.img(&format!("snapshot {SECRET} -c theirs --image-opts {OPENED}"));
        let image = Image::from_bytes(&folder.read("x.qcow2"));
        let disk = open(image.storage());
        let mut expected = expected();
        assert!(content(&disk) == expected, "{shape}");
        disk.write(33_333, &vec![9; 44_444], WriteFlags::default()).unwrap();
        let snapshots = disk.as_snapshots().unwrap();
        let new = NewSnapshot { name: "ours".to_owned(), ..NewSnapshot::default() };
        snapshots.create_snapshot(&new).unwrap();
        disk.write(0, &[8; 1001], WriteFlags::default()).unwrap();
        let mut old = vec![0; SIZE as usize];
        snapshots.read_snapshot("1", 0, &mut old).unwrap();
        assert!(old == expected, "{shape}");
        disk.close().unwrap();
        expected[33_333..77_777].fill(9);
        expected[..1001].fill(8);
        judge(&folder, &image, &expected, shape);
    }
}

#[test]
fn images_made_here_are_used_by_qemu() {
    let Some(folder) = Folder::for_qemu("encryption-ours") else { return };
    for shape in SHAPES {
        let image = Image::from_bytes(&[]);
        let mut all = Options::new();
        for (name, value) in options(shape).split(',').filter_map(|option| option.split_once('=')) {
            all.set(name, value);
        }
        FORMAT.create_with(&image.storage(), SIZE, all, &secrets()).unwrap();
        let disk = open(image.storage());
        change(&disk);
        disk.close().unwrap();
        judge(&folder, &image, &expected(), shape);
        folder.encrypted_io(&format!("{SECRET} --image-opts {OPENED}"), &["write -P 7 200001 70000"]);
        let image = Image::from_bytes(&folder.read("x.qcow2"));
        let mut expected = expected();
        expected[200_001..270_001].fill(7);
        let disk = open(image.storage());
        assert!(content(&disk) == expected, "{shape}");
    }
}

/// Compressed clusters, which QEMU writes in plain, are read as they are, and copied encrypted.
#[test]
fn compressed_clusters_of_qemu_are_read() {
    let Some(folder) = Folder::for_qemu("encryption-compressed") else { return };
    for shape in ["encrypt.format=luks", "encrypt.format=aes"] {
        folder.img(&format!("create -q -f qcow2 {SECRET} -o {} x.qcow2 {SIZE}", options(shape)));
        folder.encrypted_io(&format!("{SECRET} --image-opts {OPENED}"), &["write -c -P 5 0 64k"]);
        let image = Image::from_bytes(&folder.read("x.qcow2"));
        let disk = open(image.storage());
        let mut expected = vec![0; SIZE as usize];
        expected[..65_536].fill(5);
        assert!(content(&disk) == expected, "{shape}");
        disk.write(777, &[6; 10], WriteFlags::default()).unwrap();
        expected[777..787].fill(6);
        assert!(content(&disk) == expected, "{shape}");
        disk.close().unwrap();
        judge(&folder, &image, &expected, shape);
    }
}
