//! The verifying crates know no format: what is special to one is data of its driver's space.

/// Crates that name none.
const CRATES: [&str; 3] = ["blk-harness/src/", "blk-sim/src/", "blk-verify/src/"];
/// Names of formats. `raw` is a word too, and `log` is everybody's example.
const FORMATS: [&str; 8] = ["qcow", "vmdk", "vhdx", "vpc", "vdi", "luks", "parallels", "qemu"];

/// The lines of a file that name a format, or QEMU's tools, and must not.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    if !CRATES.iter().any(|folder| path.starts_with(folder)) {
        return Vec::new();
    }
    let lines = (1..).zip(text.lines());
    let named = lines.filter_map(|(number, line)| Some((number, named(line)?)));
    named.map(|(number, name)| format!("{path}:{number}: no format is named here, and '{name}' is")).collect()
}

/// The format that a line names in code; comments may have examples.
fn named(line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or_default().to_ascii_lowercase();
    FORMATS.into_iter().find(|format| code.contains(format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_named_nowhere_but_outside() {
        let broken = |path: &str, text: &str| check(path, text).len();
        assert_eq!(broken("blk-harness/src/runner.rs", "let x = \"QCOW2\";\nfn to_qemu_io() {}\nlet y;"), 2);
        assert_eq!(broken("blk-verify/src/report.rs", "/// As qcow2 has it."), 0);
        assert_eq!(broken("blk-testbed/src/qcow2_space.rs", "static QCOW2: Space;"), 0);
    }
}
