//! What legitimately differs between two runs of a script: times, rates, dates, the folder, and the wording
//! of errors.

use std::path::Path;

const PROGRAMS: [&str; 2] = ["qemu-io:", "qemu-img:"];

/// That a format was guessed: QEMU does not say so.
const SAID_BY_US_ALONE: [&str; 1] = ["\"format-guessed\": true,"];

/// The output of a script without what may differ.
pub(crate) fn masked(output: &str, folders: &[&Path]) -> String {
    let mut text = output.to_owned();
    for folder in folders {
        text = text.replace(&folder.display().to_string(), "FOLDER");
    }
    let lines: Vec<String> =
        text.split('\n').filter(|line| !SAID_BY_US_ALONE.contains(&line.trim())).map(line).collect();
    let mut text = lines.join("\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn line(line: &str) -> String {
    // qemu-io's prompt stands before what the command prints.
    let (prompt, rest) =
        line.rfind("qemu-io> ").map_or(("", line), |at| line.split_at(at + "qemu-io> ".len()));
    if let Some(program) = PROGRAMS.into_iter().find(|program| rest.starts_with(program)) {
        return format!("{prompt}{program} ERROR");
    }
    let rest =
        rates(rest).or_else(|| statistics(rest)).or_else(|| bench(rest)).unwrap_or_else(|| rest.to_owned());
    format!("{prompt}{}", dates(&rest))
}

/// `4 KiB, 1 ops; 00.00 sec (7.5 MiB/sec and 1919.2315 ops/sec)`
fn rates(line: &str) -> Option<String> {
    let (before, rest) = line.split_once(" ops; ")?;
    rest.ends_with("ops/sec)").then(|| format!("{before} ops; RATES"))
}

/// The machine-readable form, `-C`: `512,1,0.000067,7.248e+06,14925.3731`, in which the first two fields are
/// no times.
fn statistics(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split(',').collect();
    let is_number =
        |field: &&str| !field.is_empty() && field.chars().all(|c| c.is_ascii_digit() || "+-.:e".contains(c));
    let is_statistics = fields.len() == 5 && fields.iter().all(is_number);
    is_statistics.then(|| format!("{},{},RATES", fields[0], fields[1]))
}

fn bench(line: &str) -> Option<String> {
    let rest = line.strip_prefix("Run completed in ")?;
    rest.ends_with(" seconds.").then(|| "Run completed in TIME seconds.".to_owned())
}

/// `2026-11-25 02:10:11`
fn dates(line: &str) -> String {
    const SHAPE: &[u8; 19] = b"dddd-dd-dd dd:dd:dd";
    let bytes = line.as_bytes();
    let fits = |at: usize| {
        bytes[at..at + SHAPE.len()]
            .iter()
            .zip(SHAPE)
            .all(|(byte, shape)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == shape })
    };
    match (0..(bytes.len() + 1).saturating_sub(SHAPE.len())).find(|at| fits(*at)) {
        Some(at) => format!("{}DATE{}", &line[..at], dates(&line[at + SHAPE.len()..])),
        None => line.to_owned(),
    }
}
