//! Amendments as commands of `qemu-img`, and which backing file the image names after them.

use blk_harness::scenario::{Backing, Config};

use super::content::Content;
use super::image;
use crate::chained;

/// The byte in the raw disk that an image is put over.
const OTHER_BYTE: u8 = 0xbe;

/// What a script has done to the chain of images.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The image is over the other backing file.
    is_moved: bool,
    /// The image names no backing file.
    is_flat: bool,
    /// There may be dirty bitmaps.
    pub(super) has_bitmaps: bool,
}

impl Chain {
    /// The command; `None` where the driver under test refuses what it asks for. What an image has may forbid
    /// it.
    pub(super) fn command(&mut self, option: &str, config: &Config, content: &Content) -> Option<String> {
        let image = image(config);
        let is_written = config.options.is_on(chained::WRITTEN);
        let can_move =
            config.backing != Backing::None && !self.is_flat && !self.has_bitmaps && !content.has_snapshots();
        let command = match option {
            chained::COMMIT => (can_move && is_written).then(|| format!("qemu-img commit -q {image}"))?,
            chained::FLATTEN | chained::FLATTEN_COMPRESSED => {
                self.is_flat = can_move.then_some(true)?;
                let packed = if option == chained::FLATTEN { "" } else { " -c" };
                format!("qemu-img rebase -q{packed} -b '' {image}")
            }
            chained::REBASE => {
                self.is_moved = (can_move && !is_written).then_some(!self.is_moved)?;
                self.rebase(config, &image)
            }
            _ => format!("qemu-img amend -o {option} {image}"),
        };
        Some(format!("{command} || true"))
    }

    fn rebase(&self, config: &Config, image: &str) -> String {
        let (first, format) =
            if config.backing == Backing::Raw { ("base.raw", "raw") } else { ("middle.qcow2", "qcow2") };
        let made = match config.backing {
            Backing::Raw => {
                let bytes = config.backing_bytes;
                format!(
                    "qemu-img create -q -f raw other {bytes}\n\
                     qemu-io -f raw -c 'write -q -P {OTHER_BYTE:#x} 0 {bytes}' other\n"
                )
            }
            _ => format!("cp {first} other\n"),
        };
        let (made, name) = if self.is_moved { (made, "other") } else { (String::new(), first) };
        format!("{made}qemu-img rebase -q -b {name} -F {format} {image}")
    }
}

#[cfg(test)]
mod tests {
    use blk_harness::scenario::Scenario;

    use crate::qemu_io_script;

    /// The lines of a script that `qemu-img` changes the chain by.
    fn chain_lines(config: &str, requests: &str) -> Vec<String> {
        let text = format!("blk-scenario 1\nconfig size-bytes=64k {config}\n{requests}");
        let script = qemu_io_script(&Scenario::from_text(&text).unwrap());
        let is_chain = |line: &&str| {
            ["commit", "rebase", "amend", "refused", "other"].iter().any(|word| line.contains(word))
        };
        script.lines().filter(is_chain).map(str::to_owned).collect()
    }

    #[test]
    fn amendments_are_the_commands_of_people() {
        let raw = "backing=raw backing-bytes=32k";
        let written = format!("{raw} x-backing-written=on");
        for (config, requests, expected) in [
            (written.as_str(), "amend -o x-commit=on", &["qemu-img commit -q test.qcow2 || true"][..]),
            (raw, "amend -o x-commit=on", &["# refused: amend -o x-commit=on"]),
            ("", "amend -o x-rebase=none", &["# refused: amend -o x-rebase=none"]),
            (
                raw,
                "amend -o x-rebase=other\namend -o x-rebase=other\namend -o x-rebase=packed\namend -o x-rebase=none",
                &[
                    "qemu-img create -q -f raw other 32768",
                    "qemu-io -f raw -c 'write -q -P 0xbe 0 32768' other",
                    "qemu-img rebase -q -b other -F raw test.qcow2 || true",
                    "qemu-img rebase -q -b base.raw -F raw test.qcow2 || true",
                    "qemu-img rebase -q -c -b '' test.qcow2 || true",
                    "# refused: amend -o x-rebase=none",
                ],
            ),
            (raw, "snapshot -c 0\namend -o x-rebase=none", &["# refused: amend -o x-rebase=none"]),
            (raw, "bitmap --add 0\namend -o x-rebase=none", &["# refused: amend -o x-rebase=none"]),
            (raw, "amend -o compat=0.10", &["qemu-img amend -o compat=0.10 test.qcow2 || true"]),
            ("x-vm-state=on", "write 40k 512", &["# refused: write -P 0x01 40k 512"]),
        ] {
            assert_eq!(chain_lines(config, requests), expected, "{config}: {requests}");
        }
    }
}
