//! What old bytes decode to. Everything that fuzzing has collected is bytes, and loses its meaning when this
//! changes.
//!
//! **Do not update these expectations.** A change that needs it needs a new version of the form instead (the
//! low nibble of the first byte), with the old version still decoded as it is here.

#![expect(clippy::needless_raw_string_hashes, reason = "as expect-test writes them")]

use blk_harness::scenario::Scenario;
use blk_testbed::QCOW2;
use expect_test::{Expect, expect};

/// Decodes hexadecimal digits (blanks between them are ignored) and compares with the text form. Texts of
/// version 1 have the keys of their time, which are read as what they meant.
fn decodes_to(hex: &str, expected: &Expect) {
    let text = read(hex).to_text();
    let is_expected = Scenario::from_text(expected.data()).is_ok_and(|scenario| scenario == read(hex));
    if !is_expected {
        expected.assert_eq(&text);
        panic!("the text of {hex} is not as it is printed:\n{text}");
    }
}

fn read(hex: &str) -> Scenario {
    let digits: Vec<u8> = hex.bytes().filter(|digit| !digit.is_ascii_whitespace()).collect();
    let byte =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex digits");
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    Scenario::decode(&QCOW2, &bytes)
}

#[test]
fn nothing() {
    decodes_to(
        "",
        &expect![[r#"
        blk-scenario 1
    "#]],
    );
}

#[test]
fn a_header_cut_short_has_the_defaults() {
    decodes_to(
        "b1 02",
        &expect![[r#"
        blk-scenario 1
        config version=2
    "#]],
    );
    decodes_to(
        "b1 03 09 04 01",
        &expect![[r#"
        blk-scenario 1
        config cluster-bits=9 backing=raw
    "#]],
    );
}

#[test]
fn every_field_and_every_request() {
    decodes_to(
        "b1 03 0c 05 03 01 02 00  00 00 04 00 00 00  01 e0 03 00 00 00  02 00  03 00  00 04 00 00  00 00 00 00
         01 00 00 00  00 02 00 00 00 00  00 10 00 00 00 00
         02 00 00 00  00 00 00 00 00 00  00 02 00 00 00 00
         02 09 a5 00  00 10 00 00 00 00  00 10 00 00 00 00
         03 00 00 00  00 20 00 00 00 00  00 10 00 00 00 00
         03 08 11 00  00 30 00 00 00 00  00 20 00 00 00 00
         04 00 00 00  ff 0f 00 00 00 00  02 00 00 00 00 00
         04 07 00 00  00 00 00 00 00 00  00 00 04 00 00 00
         05 00 00 00  00 80 00 00 00 00  00 80 00 00 00 00
         06 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00
         07 00 00 00  00 00 00 00 00 00  00 00 04 00 00 00
         08 00 00 00  00 00 08 00 00 00  00 00 00 00 00 00
         09 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00
         0a 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00",
        &expect![[r#"
            blk-scenario 1
            config size-bytes=256k cluster-bits=12 refcount-order=5 backing=chain backing-bytes=253953 compression=zstd l2-cache-entries=2 l2-slice-bytes=1k refcount-cache-entries=3
            read 512 4k
            write 0 512
            write -f -P 0xa5 4k 4k
            write -c 8k 4k
            write -c -P 0x11 12k 8k
            write -z 4095 2
            write -z -u -n -f 0 256k
            discard 32k 32k
            flush
            map 0 256k
            truncate 512k
            reopen
            check
        "#]],
    );
}

#[test]
fn exact_ranges_stay_where_they_are() {
    decodes_to(
        "b1 03 10 04 00 00 02 00  00 00 10 00 00 00  00 00 00 00 00 00  00 00  00 00  00 00 00 00  00 00 00 00
         01 00 00 ee  00 00 10 00 00 00  00 02 00 00 00 00
         05 00 00 ee  ff ff ff ff ff ff  ff ff ff ff ff ff
         03 00 00 ee  01 00 00 00 00 00  03 00 00 00 00 00
         02 00 00 ee  00 00 00 00 00 00  01 00 00 01 00 00",
        &expect![[r#"
            blk-scenario 1
            read 1M 512
            discard 281474976710655 281474976710655
            write -c 1 3
        "#]],
    );
}

#[test]
fn unknown_opcodes_flags_and_reserved_bytes_are_ignored() {
    decodes_to(
        "b1 03 10 04 00 00 fe ff  00 00 10 00 00 00  00 00 00 00 00 00  00 00  00 00  00 00 00 00  ff ff ff ff
         00 ff ff ff  ff ff ff ff ff ff  ff ff ff ff ff ff
         0b 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00
         0f 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00
         f6 f0 ff ff  00 00 00 00 00 00  00 00 00 00 00 00
         f2 f0 ff 01  00 00 00 00 00 00  00 02 00 00 00 00",
        &expect![[r#"
            blk-scenario 1
            config lazy-refcounts=on control=4294967295 atom-bytes=4k
            kill
            flush
            write 0 512
        "#]],
    );
}

#[test]
fn an_unknown_first_byte_is_version_1() {
    decodes_to(
        "00 02 0c",
        &expect![[r#"
        blk-scenario 1
        config version=2 cluster-bits=12
    "#]],
    );
    decodes_to(
        "b3 02 0c",
        &expect![[r#"
        blk-scenario 1
        config version=2 cluster-bits=12
    "#]],
    );
}

#[test]
fn the_last_record_may_be_cut_short() {
    let header = "b1 03 09 04 00 00 02 00  00 10 00 00 00 00  00 00 00 00 00 00  00 00  00 00  00 00 00 00  00 00 00 00";
    decodes_to(
        &format!("{header} 06"),
        &expect![[r#"
        blk-scenario 1
        config size-bytes=4k cluster-bits=9
        flush
    "#]],
    );
    decodes_to(
        &format!("{header} 02 00 00 00 00 02 00 00 00 00 00 04"),
        &expect![[r#"
        blk-scenario 1
        config size-bytes=4k cluster-bits=9
        write 512 1k
    "#]],
    );
}

#[test]
fn illegal_configurations_are_brought_to_legal_ones() {
    decodes_to(
        "b1 ff ff ff ff ff ff ff  ff ff ff ff ff ff  ff ff ff ff ff ff  ff ff  ff ff  ff ff ff ff  ff ff ff ff",
        &expect![[r#"
            blk-scenario 1
            config size-bytes=1020 cluster-bits=21 refcount-order=6 compression=zstd l2-cache-entries=8 l2-slice-bytes=2k refcount-cache-entries=8 preallocate=on lazy-refcounts=on control=4294967295 atom-bytes=4k
        "#]],
    );
    decodes_to(
        "b1 10 40 08 09 01 00 00  10 32 54 76 98 ba  11 22 33 44 55 66  23 45  67 89  01 02 03 04",
        &expect![[r#"
            blk-scenario 1
            config size-bytes=8704 version=2 cluster-bits=9 backing=raw backing-bytes=8175 l2-cache-entries=1 l2-slice-bytes=512 refcount-cache-entries=8 discard=off
        "#]],
    );
    decodes_to(
        "b1 00 00 80 82 02 03 00  34 12 00 01 0d e0  00 00 00 01 00 00  00 01  01 01  00 00 01 00",
        &expect![[r#"
            blk-scenario 1
            config size-bytes=58k cluster-bits=9 backing=format backing-bytes=16M l2-cache-entries=256
        "#]],
    );
    decodes_to(
        "b1 05 25 77 0b 00 01 00  67 45 23 01 00 f5  99 88 77 66 55 44  09 80  0a 80  ff 01 00 00",
        &expect![[r#"
            blk-scenario 1
            config size-bytes=231k cluster-bits=10 refcount-order=6 backing=chain backing-bytes=118272 l2-slice-bytes=512 refcount-cache-entries=1 discard=off
        "#]],
    );
}

/// Each place and each length that the three top bits of a number choose.
#[test]
fn raw_ranges_are_brought_to_the_disk() {
    let header = "b1 03 0c 04 00 00 02 00  34 42 01 00 00 00  00 00 00 00 00 00  00 00  00 00  00 00 00 00  00 00 00 00";
    let record = |opcode: u8, top: u8| {
        format!("{opcode:02x} 00 00 00 {opcode:02x} 47 65 83 10 {top:02x} 79 5{opcode:x} 35 17 00 {top:02x} ")
    };
    let records: String = (0..8).map(|top| record([1, 2, 3, 4, 5, 7][top % 6], (top as u8) << 5)).collect();
    let sticking_out = "01 00 00 00 00 42 01 00 00 00  09 00 00 00 ff 00";
    let resize = |top: u8| format!("08 00 00 00 21 43 65 07 00 {:02x} 00 00 00 00 00 00 ", top << 5);
    let resizes: String = (0..8).map(resize).collect();
    decodes_to(
        &format!("{header} {records} {sticking_out} {resizes}"),
        &expect![[r#"
        blk-scenario 1
        config size-bytes=82484 cluster-bits=12
        read 64k 8k
        write 68k 4k
        write -c 72k 8k
        write -z 1k 1k
        discard 66k 1536
        map 67715 152
        read 80690 1794
        write 82486 16k
        read 82432 52
        truncate 86580
        truncate 90676
        truncate 91188
        truncate 91989
        truncate 92k
        truncate 88k
        truncate 89311
        truncate 2190559
    "#]],
    );
}

#[test]
fn dirty_bitmaps() {
    // Acts from 0 to 7 of slots 0 to 31, and a slot to merge from of more than five bits. Another first
    // number is an amendment.
    decodes_to(
        "b2 00 00 00 00 00 00 00  00 10 00 00 00 00  00 00 00 00 00 00  00 00 00 00
         0f 00 08 00 00  01 00 00 00 00 00  00 00 00 00 00 00
         0f 00 09 00 00  01 00 00 00 00 00  01 00 00 00 00 00
         0f 00 12 00 00  01 00 00 00 00 00  00 00 00 00 00 00
         0f 00 f8 00 00  01 00 00 00 00 00  00 00 00 00 00 00
         0f 00 03 00 00  01 00 00 00 00 00  00 00 00 00 00 00
         0f 00 04 ee 00  01 00 00 00 00 00  00 00 00 00 00 00
         0f 00 05 00 00  01 00 00 00 00 00  23 01 00 00 00 00
         0f 00 06 00 00  01 00 00 00 00 00  00 00 00 00 00 00
         0f 00 07 00 00  01 00 00 00 00 00  00 00 00 00 00 00
         0f 00 06 00 00  02 00 00 00 00 00  00 00 00 00 00 00",
        &expect![[r#"
            blk-scenario 1
            config size-bytes=4k
            bitmap --add 1
            bitmap --remove 1
            bitmap --clear 2
            bitmap --add 31
            bitmap --enable 0
            bitmap --disable 0
            bitmap --merge 3 0
            bitmap --read 0
            amend -o refcount_bits=4
        "#]],
    );
}

#[test]
fn kills_repairs_and_large_atoms() {
    decodes_to(
        "b1 03 09 04 00 00 0e 00  00 10 00 00 00 00  00 00 00 00 00 00  00 00  00 00  00 00 00 00  00 00 00 00
         0b 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00
         0c 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00
         0d 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00
         0e 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00
         09 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00",
        &expect![[r#"
            blk-scenario 1
            config size-bytes=4k cluster-bits=9 lazy-refcounts=on atom-bytes=4k
            kill
            check -r leaks
            check -r all
            reopen
        "#]],
    );
}
