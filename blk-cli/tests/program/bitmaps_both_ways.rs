//! Dirty bitmaps that QEMU's tools and ours change in turn: either program may do
//! any step, the same is recorded, and both read the same bits.

use std::path::Path;
use std::process::{Command, Output};

use crate::nbd::{BLK, Served, ok};
use crate::qemu;

/// Steps of an image's life, each a command line.
fn steps(size: u64, granularity: &str) -> Vec<(&'static str, String)> {
    let (middle, end) = (size / 2 / 512 * 512, size - 512);
    let io = |commands: &[String]| {
        commands.iter().map(|each| format!("-c '{each}' ")).collect::<Vec<_>>().concat()
    };
    vec![
        ("qemu-img", format!("bitmap --add -g {granularity} a.qcow2 b")),
        ("qemu-io", io(&[format!("write -q {middle} 1k"), "write -q 0 512".to_owned()]) + "a.qcow2"),
        ("qemu-img", format!("bitmap --add --disable -g {granularity} a.qcow2 still")),
        ("qemu-io", io(&[format!("write -q {end} 512"), "write -q -z 4k 64k".to_owned()]) + "a.qcow2"),
        ("qemu-img", format!("resize -q a.qcow2 {}", size + 66_048)),
        ("qemu-img", "bitmap --merge b --enable a.qcow2 still".to_owned()),
        ("qemu-io", io(&[format!("write -q {size} 66048"), "discard -q 64k 64k".to_owned()]) + "a.qcow2"),
        ("qemu-img", "bitmap --disable a.qcow2 b".to_owned()),
        ("qemu-io", io(&[format!("write -q {} 512", middle / 2 / 512 * 512)]) + "a.qcow2"),
    ]
}

/// Runs a step: `qemu-img` and `qemu-io` by these names, or as ours.
fn run(folder: &Path, ours: bool, program: &str, arguments: &str) {
    let line = format!("{} {arguments}", tool(ours, program));
    let output = shell(folder, &line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn tool(ours: bool, program: &str) -> String {
    let name = program.trim_start_matches("qemu-");
    if ours { format!("{BLK} {name}") } else { program.to_owned() }
}

fn shell(folder: &Path, line: &str) -> Output {
    Command::new("sh").args(["-c", line]).current_dir(folder).output().unwrap()
}

/// The runs of both bitmaps, as a server tells them.
fn told(folder: &Path, program: &str) -> String {
    let served = Served::start(folder, program, "-t -e 0 -r -f qcow2 -B b -B still a.qcow2");
    ["b", "still"]
        .map(|name| {
            let context = format!("qemu:dirty-bitmap:{name}");
            ok(folder, "nbdinfo", &format!("--map={context} --json {}", served.uri("")))
        })
        .concat()
}

#[test]
fn whoever_makes_a_step_the_bits_are_the_same() {
    if !qemu::available() {
        return;
    }
    let mut cells = 0;
    for cluster in ["512", "4k", "64k", "2M"] {
        for granularity in ["512", "64k", "16M"] {
            // No multiple of a cluster, of a granularity, and with several clusters of bits, or of a table.
            for size in [131_072, 1_049_088, 40 << 20] {
                let mut expected = None;
                let in_turn = if cells % 2 == 0 { 0b0_1010_1010 } else { 0b1_0101_0101 };
                for pattern in [0b0_0000_0000_u32, 0b1_1111_1111, in_turn] {
                    let folder = tempfile::tempdir().unwrap();
                    let folder = folder.path();
                    let create = format!("create -q -f qcow2 -o cluster_size={cluster} a.qcow2 {size}");
                    run(folder, pattern & 1 != 0, "qemu-img", &create);
                    for (number, (program, arguments)) in steps(size, granularity).iter().enumerate() {
                        run(folder, pattern >> number & 1 != 0, program, arguments);
                    }
                    run(folder, false, "qemu-img", "check -q a.qcow2");
                    run(folder, true, "qemu-img", "check -q a.qcow2");
                    let found = told(folder, "qemu-nbd");
                    let place = format!("{cluster} {granularity} {size} {pattern:#b}");
                    assert_eq!(told(folder, "blk"), found, "{place}");
                    assert_eq!(expected.get_or_insert_with(|| found.clone()), &found, "{place}");
                    cells += 1;
                }
            }
        }
    }
    println!("{cells} images have the same bits");
    assert_eq!(cells, 108);
}

/// A bitmap that QEMU's tools did not save is not used, and one that ours did not save neither.
#[test]
fn a_bitmap_that_was_not_saved_is_inconsistent_to_both() {
    if !qemu::available() {
        return;
    }
    for ours in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        run(folder, !ours, "qemu-img", "create -q -f qcow2 a.qcow2 1M");
        run(folder, !ours, "qemu-img", "bitmap --add a.qcow2 b");
        let killed = format!("{} -c 'write -q 0 64k' -c 'sigraise 9' a.qcow2", tool(ours, "qemu-io"));
        assert!(!shell(folder, &killed).status.success());
        for reads in [false, true] {
            let refused = |action: &str| {
                let line = format!("{} bitmap {action} a.qcow2 b", tool(reads, "qemu-img"));
                let output = shell(folder, &line);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(1), "{line}: {said}");
                assert!(said.contains("inconsistent"), "{line}: {said}");
            };
            ["--clear", "--enable", "--disable", "--merge b"].into_iter().for_each(refused);
        }
        run(folder, !ours, "qemu-img", "bitmap --remove a.qcow2 b");
        run(folder, ours, "qemu-img", "bitmap --add a.qcow2 b");
        run(folder, false, "qemu-img", "check -q a.qcow2");
    }
}
