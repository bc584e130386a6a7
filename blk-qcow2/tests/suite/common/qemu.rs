//! Images made and judged by QEMU's real tools.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::path::PathBuf;
use std::process::{Command, Output};

/// QEMU compresses only what has not been written.
const COMPRESSED_REFUSED: &str = "write failed: Input/output error";

/// A folder of a test, removed when it goes.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// `None` where QEMU's tools are missing, and says so. With `BLK_REQUIRE_QEMU`, as in CI, that is a
    /// failure.
    pub(crate) fn for_qemu(test: &str) -> Option<Self> {
        let runs = |program: &str| {
            Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
        };
        if !(runs("qemu-img") && runs("qemu-io")) {
            assert!(std::env::var_os("BLK_REQUIRE_QEMU").is_none(), "qemu-img and qemu-io are required here");
            eprintln!("SKIPPED: qemu-img and qemu-io are missing (Debian package qemu-utils)");
            return None;
        }
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the target directory can be written");
        Some(Self(path))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> (Output, String) {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.0)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output, text)
    }

    /// Runs qemu-img with these words, which has to succeed.
    pub(crate) fn img(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        let (output, text) = self.run("qemu-img", &words);
        assert!(output.status.success(), "qemu-img {words:?}: {text}");
        text
    }

    /// Runs qemu-io on an image with commands, each of which may fail only if QEMU refuses it without doing
    /// anything.
    pub(crate) fn io(&self, image: &str, commands: &[String]) {
        let mut arguments = vec!["-f", "qcow2", "-d", "unmap", "-t", "unsafe"];
        for command in commands {
            arguments.extend(["-c", command]);
        }
        arguments.push(image);
        let (_, text) = self.run("qemu-io", &arguments);
        let done = text.matches("ops; ").count() + text.matches(COMPRESSED_REFUSED).count();
        assert_eq!(done, commands.len(), "qemu-io {arguments:?}: {text}");
        assert!(!text.contains("Pattern verification failed"), "qemu-io {arguments:?}: {text}");
    }

    /// Runs qemu-io on what `image` names, with commands that have to succeed.
    pub(crate) fn encrypted_io(&self, image: &str, commands: &[&str]) {
        let mut arguments: Vec<&str> = commands.iter().flat_map(|command| ["-c", command]).collect();
        arguments.extend(image.split(' '));
        let (output, text) = self.run("qemu-io", &arguments);
        assert!(output.status.success(), "qemu-io {arguments:?}: {text}");
    }

    /// What `qemu-img check` counts: 0 for what it does not mention.
    pub(crate) fn check(&self, image: &str) -> Checked {
        let (_, text) = self.run("qemu-img", &["check", "--output=json", "-f", "qcow2", image]);
        let number = |field: &str| {
            let Some((_, rest)) = text.split_once(&format!("\"{field}\": ")) else { return 0 };
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().expect("digits")
        };
        assert!(text.contains("\"total-clusters\""), "{text}");
        Checked {
            leaks: number("leaks"),
            corruptions: number("corruptions"),
            check_errors: number("check-errors"),
            total_clusters: number("total-clusters"),
            allocated_clusters: number("allocated-clusters"),
            fragmented_clusters: number("fragmented-clusters"),
            compressed_clusters: number("compressed-clusters"),
            image_end_offset: number("image-end-offset"),
        }
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).expect("the image is there")
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).expect("the target directory can be written");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The numbers of a check, by whomever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) leaks: u64,
    pub(crate) corruptions: u64,
    pub(crate) check_errors: u64,
    pub(crate) total_clusters: u64,
    pub(crate) allocated_clusters: u64,
    pub(crate) fragmented_clusters: u64,
    pub(crate) compressed_clusters: u64,
    pub(crate) image_end_offset: u64,
}

impl Checked {
    pub(crate) fn is_clean(&self) -> bool {
        self.leaks == 0 && self.corruptions == 0 && self.check_errors == 0
    }
}

impl From<&blk_core::CheckReport> for Checked {
    fn from(report: &blk_core::CheckReport) -> Self {
        Self {
            leaks: report.leaks,
            corruptions: report.corruptions,
            check_errors: report.check_errors,
            total_clusters: report.total_clusters,
            allocated_clusters: report.allocated_clusters,
            fragmented_clusters: report.fragmented_clusters,
            compressed_clusters: report.compressed_clusters,
            image_end_offset: report.image_end_offset,
        }
    }
}
