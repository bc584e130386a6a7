//! The text and JSON forms: what is accepted, what is refused with which words, and what is printed.

#![expect(clippy::needless_raw_string_hashes, reason = "as expect-test writes them")]

use std::fmt::Write as _;

use blk_harness::scenario::{Backing, Config, Fill, Repair, Request, Scenario, bounds};
use blk_harness::space::PLAIN;
use expect_test::{Expect, expect};

fn refused(text: &str, expected: &Expect) {
    let error = Scenario::from_text(text).expect_err("a malformed text");
    expected.assert_eq(&error.to_string());
}

/// The refusal of one line behind the header.
fn line_refused(line: &str, expected: &Expect) {
    refused(&format!("blk-scenario 1\n{line}\n"), expected);
}

fn requests(lines: &str) -> Vec<Request> {
    Scenario::from_text(&format!("blk-scenario 1\n{lines}")).expect("a well-formed text").requests
}

#[test]
fn a_text_as_people_write_it() {
    let text = "
# The story, in a
# few lines.

blk-scenario 1   # the header
config size-bytes=1.5M cluster-bits=12 backing=raw backing-bytes=0x200 compression=zstd discard=off preallocate=off
w -P17 0 64K
   write 4096 -P 0x11 -f 512
write -zufn 0x1000 1k # flags joined, in any order
write -cP 0xff 8k 4k
r 0 512
d 0 1G

f
t 2M
map 0 0
reopen
check
kill
check -r leaks
check -r all";
    let scenario = Scenario::from_text(text).unwrap();
    let config = Config {
        size_bytes: 3 << 19,
        backing: Backing::Raw,
        backing_bytes: 512,
        discard: false,
        ..Config::default()
    };
    let config = config.with("cluster_size", "4k").with("compression_type", "zstd");
    let expected = [
        Request::Write { offset: 0, length: 65536, fill: Fill::Byte(17), fua: false },
        Request::Write { offset: 4096, length: 512, fill: Fill::Byte(17), fua: true },
        Request::WriteZeroes { offset: 4096, length: 1024, unmap: true, no_fallback: true, fua: true },
        Request::WriteCompressed { offset: 8192, length: 4096, fill: Fill::Byte(255) },
        Request::Read { offset: 0, length: 512 },
        Request::Discard { offset: 0, length: 1 << 30 },
        Request::Flush,
        Request::Resize { size: 2 << 20 },
        Request::Status { offset: 0, length: 0 },
        Request::Reopen { kill: false },
        Request::Check { repair: Repair::None },
        Request::Reopen { kill: true },
        Request::Check { repair: Repair::Leaks },
        Request::Check { repair: Repair::All },
    ];
    assert_eq!((&scenario.config, &scenario.requests[..]), (&config, &expected[..]));
    expect![[r#"
        blk-scenario 1
        config size-bytes=1536k cluster_size=4096 compression_type=zstd backing=raw backing-bytes=512 discard=off
        write -P 0x11 0 64k
        write -f -P 0x11 4k 512
        write -z -u -n -f 4k 1k
        write -c -P 0xff 8k 4k
        read 0 512
        discard 0 1G
        flush
        truncate 2M
        map 0 0
        reopen
        check
        kill
        check -r leaks
        check -r all
    "#]]
    .assert_eq(&scenario.to_text());
    assert_eq!(Scenario::from_text(&scenario.to_text()), Ok(scenario));
}

#[test]
fn a_story_stands_above() {
    let scenario = Scenario { requests: vec![Request::Flush], ..Scenario::default() };
    let text = scenario.to_text_with_story("Lost.\n\nTwice.");
    assert_eq!(text, "# Lost.\n#\n# Twice.\nblk-scenario 1\nflush\n");
    assert_eq!(Scenario::parse_any(&PLAIN, text.as_bytes()), Ok(scenario));
}

#[test]
fn a_text_begins_with_its_header() {
    refused("", &expect!["an empty text; a scenario begins with 'blk-scenario 1'"]);
    refused("# nothing\n\n", &expect!["an empty text; a scenario begins with 'blk-scenario 1'"]);
    refused(
        "\n read 0 512",
        &expect!["line 2, column 2: a scenario begins with 'blk-scenario 1'; this line is another"],
    );
    refused(
        "blk-scenario 2",
        &expect!["line 1, column 14: version '2' of the text form is unknown; known is 1"],
    );
    refused(
        "blk-scenario",
        &expect!["line 1, column 1: a scenario begins with 'blk-scenario 1'; this line is another"],
    );
    assert!(
        Scenario::parse_any(&PLAIN, b"read 0 512\n").is_err(),
        "a text without a header is not taken for bytes"
    );
}

#[test]
fn wrong_configurations_are_refused() {
    line_refused("config version", &expect!["line 2, column 8: 'version' is not KEY=VALUE"]);
    line_refused("config version=2 version=2", &expect!["line 2, column 18: 'version' is given twice"]);
    line_refused(
        "config version=1",
        &expect!["line 2, column 16: version is 1, and must be a number from 2 to 3"],
    );
    line_refused(
        "config version=4",
        &expect!["line 2, column 16: version is 4, and must be a number from 2 to 3"],
    );
    line_refused(
        "config size-bytes=1M cluster-bits=8",
        &expect!["line 2, column 35: cluster-bits is 8, and must be a number from 9 to 21"],
    );
    line_refused(
        "config cluster-bits=9x",
        &expect!["line 2, column 21: cluster-bits is 9x, and must be a number from 9 to 21"],
    );
    line_refused(
        "config refcount-order=7",
        &expect!["line 2, column 23: refcount-order is 7, and must be a number from 0 to 6"],
    );
    line_refused(
        "config backing=qcow2",
        &expect!["line 2, column 16: backing is 'qcow2', and must be one of: none, raw, format, chain"],
    );
    line_refused(
        "config compression=lzma",
        &expect!["line 2, column 20: compression is lzma, and must be one of: zlib, zstd"],
    );
    line_refused(
        "config l2-cache-entries=65536",
        &expect!["line 2, column 25: l2-cache-entries is 65536, and must be a number from 0 to 65535"],
    );
    line_refused(
        "config l2-slice-bytes=513",
        &expect!["line 2, column 23: l2-slice-bytes is 513, and must be 0 or a power of two from 512 to 2M"],
    );
    line_refused(
        "config l2-slice-bytes=8G",
        &expect![
            "line 2, column 23: l2-slice-bytes is 8589934592, and must be 0 or a power of two from 512 to 2M"
        ],
    );
    line_refused(
        "config discard=yes",
        &expect!["line 2, column 16: discard is 'yes', and must be one of: off, on"],
    );
    line_refused(
        "config size-bytes=1x",
        &expect![
            "line 2, column 19: '1x' is not a size: bytes, or a number with one of the units b k M G T P E"
        ],
    );
    line_refused(
        "config size-bytes=99999999999999999999",
        &expect!["line 2, column 19: '99999999999999999999' is not a size: negative, or larger than 64 bits"],
    );
    line_refused(
        "config\nconfig",
        &expect!["line 3, column 1: a second 'config', or one after the first request"],
    );
    line_refused(
        "flush\nconfig version=2",
        &expect!["line 3, column 1: a second 'config', or one after the first request"],
    );
}

#[test]
fn options_are_words_and_given_once() {
    line_refused(
        "config cluster-bits=9 cluster_size=512",
        &expect!["line 2, column 23: 'cluster_size' is given twice"],
    );
    line_refused("config cluster_size=", &expect!["line 2, column 21: 'cluster_size' has no value"]);
    line_refused("config =512", &expect!["line 2, column 8: '=512' is not KEY=VALUE"]);
}

#[test]
fn wrong_requests_are_refused() {
    line_refused(
        "rread 0 512",
        &expect![
            "line 2, column 1: unknown request 'rread'; known are read, write, discard, map, truncate, flush, reopen, kill, check, snapshot, amend, bitmap"
        ],
    );
    line_refused("read 0", &expect!["line 2, column 1: 1 operands; expected: read OFFSET LENGTH"]);
    line_refused("read", &expect!["line 2, column 1: 0 operands; expected: read OFFSET LENGTH"]);
    line_refused("read 0 1 2", &expect!["line 2, column 1: 3 operands; expected: read OFFSET LENGTH"]);
    line_refused("flush 0", &expect!["line 2, column 1: 1 operands; expected: flush"]);
    line_refused("truncate", &expect!["line 2, column 1: 0 operands; expected: truncate SIZE"]);
    line_refused("read -P 1 0 512", &expect!["line 2, column 6: unknown flag '-P'; this request takes none"]);
    line_refused(
        "write -x 0 512",
        &expect!["line 2, column 7: unknown flag '-x'; this request takes -cfnuzP"],
    );
    line_refused("write - 0 512", &expect!["line 2, column 7: '-' without a flag"]);
    line_refused("write -ff 0 512", &expect!["line 2, column 7: '-f' is given twice"]);
    line_refused(
        "write -P 256 0 512",
        &expect!["line 2, column 10: the byte of -P is '256', and must be a number from 0 to 255"],
    );
    line_refused("write 0 512 -P", &expect!["line 2, column 13: '-P' without a byte"]);
    line_refused(
        "write -Pz 0 512",
        &expect!["line 2, column 9: the byte of -P is 'z', and must be a number from 0 to 255"],
    );
    line_refused(
        "write -u 0 512",
        &expect!["line 2, column 7: '-u' is not for a write of data; it takes -z"],
    );
    line_refused(
        "write -n 0 512",
        &expect!["line 2, column 7: '-n' is not for a write of data; it takes -z"],
    );
    line_refused(
        "write -z -P 1 0 512",
        &expect!["line 2, column 10: '-P' is not for a write of zeroes (-z)"],
    );
    line_refused("write -zc 0 512", &expect!["line 2, column 7: '-c' is not for a write of zeroes (-z)"]);
    line_refused("write -cf 0 64k", &expect!["line 2, column 7: '-f' is not for a compressed write (-c)"]);
    line_refused("write 0 -512", &expect!["line 2, column 9: unknown flag '-5'; this request takes -cfnuzP"]);
    line_refused(
        "write 0 5\u{e4}",
        &expect![
            "line 2, column 9: '5ä' is not a size: bytes, or a number with one of the units b k M G T P E"
        ],
    );
    line_refused(
        "write 0 0x",
        &expect![
            "line 2, column 9: '0x' is not a size: bytes, or a number with one of the units b k M G T P E"
        ],
    );
}

#[test]
fn hexadecimal_numbers_take_no_unit() {
    assert_eq!(requests("read 0x1b 0x1e"), [Request::Read { offset: 0x1b, length: 0x1e }]);
}

#[test]
fn documents_are_bounded() {
    let mut text = "blk-scenario 1\n".to_owned();
    text.extend(std::iter::repeat_n("f\n", bounds::DOCUMENT_REQUESTS_MAX));
    let longest = Scenario::from_text(&text).expect("as many as allowed");
    assert_eq!(longest.requests.len(), bounds::DOCUMENT_REQUESTS_MAX);
    text.push_str("f\n");
    refused(&text, &expect!["line 524290, column 1: more than 524288 requests"]);
    refused(
        &"#".repeat(bounds::DOCUMENT_BYTES_MAX + 1),
        &expect!["33554433 bytes of text; at most 33554432 are read"],
    );
    let flushes = vec![r#"{"do":"flush"}"#; bounds::DOCUMENT_REQUESTS_MAX + 1].join(",");
    json_refused(
        &format!("{{\"requests\":[{flushes}]}}"),
        &expect!["524289 requests; at most 524288 are read"],
    );
    json_refused(
        &" ".repeat(bounds::DOCUMENT_BYTES_MAX + 1),
        &expect!["33554433 bytes of JSON; at most 33554432 are read"],
    );
}

fn json_refused(json: &str, expected: &Expect) {
    let error = Scenario::from_json(json).expect_err("a malformed document");
    expected.assert_eq(&error.to_string());
}

#[test]
fn json_is_refused_with_its_place() {
    json_refused("", &expect!["line 1: EOF while parsing a value"]);
    json_refused(
        "{\n  \"config\": { \"size\": 1 }\n}",
        &expect![
            "line 2, column 20: unknown field `size`, expected one of `size-bytes`, `options`, `backing`, `backing-bytes`, `discard`, `control`, `atom-bytes`, `lanes`, `host-alignment`, `probe-flush`, `version`, `cluster-bits`, `refcount-order`, `compression`, `l2-cache-entries`, `l2-slice-bytes`, `refcount-cache-entries`, `preallocate`, `lazy-refcounts`"
        ],
    );
    json_refused(
        "{\n  \"requests\": [{ \"do\": \"reed\", \"offset\": 0 }]\n}",
        &expect![
            "line 2, column 29: unknown variant `reed`, expected one of `read`, `write`, `write-compressed`, `write-zeroes`, `discard`, `flush`, `status`, `resize`, `reopen`, `check`, `snapshot`, `amend`, `bitmap`"
        ],
    );
    json_refused(
        "{ \"requests\": [{ \"do\": \"read\", \"offset\": -1, \"length\": 1 }] }",
        &expect!["line 1, column 59: invalid value: integer `-1`, expected u64"],
    );
    json_refused(
        "{ \"config\": { \"cluster-bits\": 64 } }",
        &expect!["line 1, column 36: cluster-bits is 64, and must be a number from 9 to 21"],
    );
    json_refused(
        "{ \"config\": { \"version\": 300 } }",
        &expect!["line 1, column 32: version is 300, and must be a number from 2 to 3"],
    );
    json_refused(
        "{ \"config\": { \"options\": { \"a b\": 1 } } }",
        &expect!["line 1, column 37: 'a b' cannot be the name of an option"],
    );
    json_refused(
        "{ \"config\": { \"cluster-bits\": 9, \"options\": { \"cluster_size\": 512 } } }",
        &expect!["line 1, column 71: 'cluster-bits' is option 'cluster_size', which is given too"],
    );
    assert!(
        Scenario::parse_any(&PLAIN, b" { \"requests\": 1 }").is_err(),
        "malformed JSON is not taken for bytes"
    );
}

/// What the options were called before they had the names of the driver.
#[test]
fn keys_of_old_are_read_as_what_they_meant() {
    let old = "size-bytes=64k version=2 cluster-bits=9 refcount-order=6 compression=zstd l2-cache-entries=2 \
               l2-slice-bytes=1k refcount-cache-entries=1 preallocate=on lazy-refcounts=on";
    let usual = "version=3 cluster-bits=16 refcount-order=4 compression=zlib l2-cache-entries=0 \
                 l2-slice-bytes=0 refcount-cache-entries=0 preallocate=off lazy-refcounts=off";
    let new = "size-bytes=64k cluster_size=512 compat=0.10 compression_type=zstd l2-cache-entry-size=1024 \
               l2-cache-slices=2 lazy_refcounts=on preallocation=metadata refcount-cache-slices=1 refcount_bits=64";
    let config = |settings: &str| {
        let text = format!("blk-scenario 1\nconfig {settings}\n");
        Scenario::from_text(&text).unwrap_or_else(|error| panic!("{settings}: {error}")).config
    };
    assert_eq!(config(old), config(new));
    assert_eq!(config(usual), Config::default());
    let json = r#"{ "config": { "size-bytes": 65536, "version": 2, "cluster-bits": 9, "refcount-order": 6,
        "compression": "zstd", "l2-cache-entries": 2, "l2-slice-bytes": 1024, "refcount-cache-entries": 1,
        "preallocate": true, "lazy-refcounts": true } }"#;
    let scenario = Scenario::from_json(json).unwrap();
    assert_eq!(scenario.config, config(new));
    assert_eq!(Scenario::from_json(&scenario.to_json()), Ok(scenario));
}

#[test]
fn json_is_printed_with_all_fields() {
    let scenario =
        Scenario { requests: requests("write -P 9 0 512\nwrite 0 1\nflush"), ..Scenario::default() };
    expect![[r#"
        {
          "config": {
            "size-bytes": 1048576,
            "backing": "none",
            "backing-bytes": 0,
            "discard": true,
            "control": 0
          },
          "requests": [
            {
              "do": "write",
              "offset": 0,
              "length": 512,
              "fill": {
                "byte": 9
              },
              "fua": false
            },
            {
              "do": "write",
              "offset": 0,
              "length": 1,
              "fill": "stamp",
              "fua": false
            },
            {
              "do": "flush"
            }
          ]
        }
    "#]]
    .assert_eq(&scenario.to_json());
    let bare = r#"{ "requests": [{ "do": "write", "offset": 0, "length": 1 }] }"#;
    assert_eq!(Scenario::from_json(bare).map(|scenario| scenario.requests), Ok(requests("write 0 1")));
}

/// A small scenario with everything that a written form may treat differently.
fn sample() -> Scenario {
    let mut text =
        "blk-scenario 1\nconfig size-bytes=256k cluster-bits=9 backing=chain backing-bytes=64k ".to_owned();
    text.push_str("compression=zstd l2-cache-entries=2 l2-slice-bytes=512 refcount-cache-entries=4\n");
    text.push_str("write 0 4k\nwrite -P 0x80 512 512\nreopen\nwrite -zu 0 1k\nmap 0 4k\ncheck\nread 0 4k\n");
    Scenario::from_text(&text).expect("a well-formed text")
}

#[test]
fn a_rust_test() {
    expect![[r##"
        //! A finding of verify_qcow2, replayed.
        //!
        //!     content mismatch
        //!     at a read

        #[test]
        fn finding_verify_qcow2_6cffe823() {
            let trace = r#"
        blk-scenario 1
        config size-bytes=256k cluster_size=512 compression_type=zstd l2-cache-entry-size=512 l2-cache-slices=2 refcount-cache-slices=4 backing=chain backing-bytes=64k
        write 0 4k
        write -P 0x80 512 512
        reopen
        write -z -u 0 1k
        map 0 4k
        check
        read 0 4k
        "#;
            blk_harness::tests::replay(&my_driver::SUITES[0], trace);
        }
    "##]].assert_eq(&sample().to_rust_test("my_driver::SUITES[0]", "verify_qcow2", "content mismatch\nat a read"));
}

#[test]
fn printing_is_canonical() {
    let mut text = String::new();
    for (printed, size) in
        [("0", 0), ("1", 1), ("1023", 1023), ("1k", 1024), ("1025k", 1025 << 10), ("3T", 3 << 40)]
    {
        assert_eq!(Request::Resize { size }.to_string(), format!("truncate {printed}"));
        writeln!(text, "truncate {printed}").expect("writing to a string");
    }
    let scenario = Scenario { requests: requests(&text), ..Scenario::default() };
    assert_eq!(scenario.to_text(), format!("blk-scenario 1\n{text}"));
}
