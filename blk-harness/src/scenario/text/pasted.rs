//! Reports that were pasted as they are: what of them is a request.
//!
//! ```text
//! blkverify: read offset=2560 bytes=8192 contents mismatch at offset 4098 (sector 8)
//!   request:   #5 read 2560 8k
//! the last 2 of 5 requests:
//!   #4 write 4098 4k
//!   #5 read 2560 8k
//! ```

use super::HEADER;

/// What a line says behind the number of a request, `#12`; `None` if it is another line.
pub(super) fn numbered_request(line: &str) -> Option<&str> {
    const WORDS: [&str; 14] = [
        "read", "r", "write", "w", "discard", "d", "map", "truncate", "t", "flush", "f", "reopen", "kill",
        "check",
    ];
    let rest = line.trim_start().strip_prefix('#')?;
    let request = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let word = request.split_ascii_whitespace().next()?;
    let is_request = WORDS.contains(&word) || word.starts_with('@');
    (request.len() < rest.len() && request.starts_with([' ', '\t']) && is_request).then_some(request)
}

/// Whether a text is a report, not a scenario: it begins with what a report says, or with a request that has
/// a number.
pub(super) fn is_report(text: &str) -> bool {
    const STARTS: [&str; 4] = ["blkverify: ", "blk: ", "== blk-verify", "the last "];
    let is_said = |line: &&str| {
        let is_comment = line.trim_start().starts_with('#') && numbered_request(line).is_none();
        !line.trim().is_empty() && !is_comment
    };
    let first = text.lines().find(is_said).unwrap_or_default().trim_start();
    STARTS.iter().any(|start| first.starts_with(start)) || numbered_request(first).is_some()
}

/// The lines of a report that are its scenario, each with its number: what follows the first line of a
/// scenario, as far as the next blank line; or else the requests that have numbers.
pub(super) fn requests<'a>(
    lines: impl Iterator<Item = (usize, &'a str)>,
) -> impl Iterator<Item = (usize, &'a str)> {
    let lines: Vec<_> = lines.collect();
    let header = lines.iter().position(|(_, line)| line.trim() == HEADER);
    let end = header.map_or(lines.len(), |header| {
        let blank = lines[header..].iter().position(|(_, line)| line.trim().is_empty());
        blank.map_or(lines.len(), |blank| header + blank)
    });
    let start = header.map_or(0, |header| header + 1);
    let is_part = move |(_, line): &(usize, &str)| header.is_some() || numbered_request(line).is_some();
    lines.into_iter().take(end).skip(start).filter(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn read(text: &str) -> Vec<String> {
        let scenario = Scenario::from_text(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        scenario.turns().map(|(request, _)| request.to_string()).collect()
    }

    const REPORT: &str = "blkverify: read offset=0 bytes=512 contents mismatch at offset 0 (sector 0)
  request:   #18 read 0 512
  expected:  00000000: a5   what request #17 (write 0 4096) wrote to sector 0
";

    #[test]
    fn a_pasted_report_is_its_requests() {
        let report = format!("{REPORT}the last 2 of 18 requests:\n  #17 write 0 4k\n  #18 read 0 512\n");
        assert_eq!(read(&report), ["write 0 4k", "read 0 512"]);
        assert_eq!(
            read("#512 write 0 4k\n\n#513 kill\n#514 @2 read 0 1k # seen\n"),
            ["write 0 4k", "kill", "read 0 1k"]
        );
        let report =
            format!("{REPORT}\n{HEADER}\nconfig size-bytes=64k\nwrite 0 4k\n\nreproduce: cargo xtask\n");
        assert_eq!(read(&report), ["write 0 4k"]);
        assert_eq!(Scenario::from_text(&report).unwrap().config.size_bytes, 64 << 10);
    }

    #[test]
    fn numbers_stand_before_requests_of_a_scenario_too() {
        let text =
            format!("# a story of #4 write 0 4k\n#12 is a number\n{HEADER}\n#512 write 0 4k\n# 3 read 0 1\n");
        assert_eq!(read(&text), ["write 0 4k"]);
        assert_eq!(read(&format!("{HEADER}\nflush #issue 3, and #4\n")), ["flush"]);
    }

    #[test]
    fn what_looks_like_a_comment_and_is_a_request_is_named() {
        let error = Scenario::from_text(&format!("{HEADER}\nflush\nflush  #3 read 0 512\n")).unwrap_err();
        assert_eq!((error.line, error.column), (3, 8), "{error}");
        let error = Scenario::from_text(&format!("{HEADER}\n#3 read 0 x\n")).unwrap_err();
        assert_eq!((error.line, error.column), (2, 11), "{error}");
    }
}
