//! What is said before an image with persistent bitmaps is written.

use super::tools::Tools;
use crate::qemu;

#[test]
fn bitmaps_that_a_write_drops_are_named() {
    if !qemu::available() {
        return;
    }
    let tools = Tools::ours();
    std::fs::write(tools.path("small"), [7; 512]).unwrap();
    let make = || {
        qemu::qemu_img(tools.folder(), &["create", "-q", "-f", "qcow2", "image", "10M"]);
        for bitmap in ["b0", "b 1"] {
            qemu::qemu_img(tools.folder(), &["bitmap", "--add", "image", bitmap]);
        }
    };
    let left = || qemu::qemu_img(tools.folder(), &["info", "image"]).matches("name: b").count();
    let expected = "'image' has the persistent bitmaps 'b0', 'b 1': writing bitmaps is not supported";
    for (program, arguments, warns) in [
        ("qemu-io", &["-c", "write 0 64k", "image"][..], true),
        ("qemu-io", &["-r", "-c", "read 0 64k", "image"], false),
        ("qemu-img", &["resize", "image", "+1M"], true),
        ("qemu-img", &["amend", "-o", "size=20M", "image"], true),
        ("qemu-img", &["convert", "-n", "-f", "raw", "-O", "qcow2", "small", "image"], true),
        ("qemu-img", &["rebase", "-u", "-b", "", "image"], true),
        ("qemu-img", &["check", "-r", "all", "image"], false),
        ("qemu-img", &["info", "image"], false),
        ("qemu-img", &["map", "image"], false),
    ] {
        make();
        let output = tools.run(program, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.contains(expected), warns, "{arguments:?}: {said}");
        assert!(warns || left() > 0, "{arguments:?} dropped bitmaps without a word");
    }
    make();
    assert!(tools.io(&["-c", "write 0 64k", "image"]).is_some());
    assert_eq!(left(), 0, "the warning is true");
}
