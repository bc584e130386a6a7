//! A driver of another kind: nothing about scenarios may be bound to the one format that they were made for.

use std::collections::HashSet;

use blk_harness::driver::{Bench, Driver, legal_config};
use blk_harness::generate::{Generator, Limits};
use blk_harness::minimise::{Options, minimise};
use blk_harness::mutate::{crossover, mutate};
use blk_harness::scenario::{Backing, Config, OptionValues, Request, RequestKind, Scenario, Value, bytes};
use blk_harness::space::{ALIGNMENT, Geometry, Kind, Knob, PLAIN, Space, UNIT, not_tuned};
use blk_harness::testing::{Bug, FlatTarget};
use blk_harness::{Engine, Outcome, RunOptions};
use blk_testbed::QCOW2;

const REACH: u64 = 4 << 20;

/// Blocks of a size that can be chosen, tables that map 4 MiB whatever it is, no backing file, no
/// compression.
static LOG: Space = Space {
    name: "log",
    knobs: &[
        Knob::new(
            "block_size",
            Kind::PowerOfTwo { min: 1 << 10, max: 64 << 10 },
            Some(Value::Number(4 << 10)),
            &[],
        ),
        Knob::new("journal", Kind::Choice(&["none", "data"]), Some(Value::name("none")), &[]),
        Knob::new("journal_blocks", Kind::Number { max: 100 }, None, &[]),
        Knob::new("checksums", Kind::Switch, Some(Value::Switch(true)), &[]),
    ],
    ignored: &[],
    unit: Some("block_size"),
    old_header: None,
    backing_option: None,
    // Without a journal it has no size.
    legalize: |options: &mut OptionValues, _: &Config| {
        if !options.is("journal", "data") {
            options.remove("journal_blocks");
        }
    },
    geometry: |config| Geometry {
        unit_bytes: config.options.number("block_size").unwrap_or(4 << 10),
        table_reach_bytes: REACH,
        compressed_unit_bytes: None,
        alignment_bytes: 512,
        ..Geometry::default()
    },
    described: None,
    tune: not_tuned,
};

#[derive(Debug)]
struct LogTarget;

impl Driver for LogTarget {
    fn name(&self) -> &'static str {
        "log"
    }

    fn bench(&self, config: &Config) -> blk_core::Result<Box<dyn Bench>> {
        FlatTarget(Bug::None).bench(config)
    }

    fn space(&self) -> &'static Space {
        &LOG
    }
}

fn of(settings: &str) -> Scenario {
    Scenario::from_text(&format!("blk-scenario 1\nconfig {settings}\nwrite 0 4k\n")).unwrap()
}

#[test]
fn sizes_and_requests_go_around_the_reach_of_a_table() {
    let (mut beyond, mut at_edge, mut all) = (0, 0, 0);
    for Scenario { config, requests, .. } in Generator::new(&LOG, 1, Limits::default()).take(4000) {
        all += 1;
        assert!(LOG.is_legal(&config) && config.backing == Backing::None, "{config}");
        assert!(config.size_bytes <= 2 * REACH, "{config}");
        if config.size_bytes > REACH {
            beyond += 1;
            let crosses =
                |(offset, length): (u64, u64)| offset < REACH && offset.saturating_add(length) > REACH;
            let starts = |(offset, _): (u64, u64)| (REACH..REACH + (64 << 10)).contains(&offset);
            let is_near =
                |request: &Request| request.range().is_some_and(|range| crosses(range) || starts(range));
            at_edge += u32::from(requests.iter().any(is_near));
        }
        assert!(requests.iter().all(|request| request.kind() != RequestKind::WriteCompressed));
    }
    assert!(beyond * 20 > all, "{beyond} of {all} disks need a second table");
    assert!(at_edge * 2 > beyond, "{at_edge} of {beyond} have requests around its beginning");
}

#[test]
fn every_value_of_every_option_comes_and_survives_each_form() {
    let mut seen = HashSet::new();
    for scenario in Generator::new(&LOG, 2, Limits { requests_max: 8, ..Limits::default() }).take(3000) {
        seen.extend(scenario.config.options.iter().map(|(name, value)| format!("{name}={value}")));
        assert_eq!(Scenario::decode(&LOG, &scenario.encode(&LOG)), scenario);
        assert_eq!(Scenario::from_text(&scenario.to_text()).as_ref(), Ok(&scenario));
        assert_eq!(Scenario::from_json(&scenario.to_json()).as_ref(), Ok(&scenario));
    }
    for wanted in ["block_size=1024", "block_size=65536", "journal=data", "journal_blocks=0", "checksums=off"]
    {
        assert!(seen.contains(wanted), "{wanted} never came");
    }
    assert!(!seen.contains("checksums=on") && !seen.contains("block_size=4096"), "usual values are not said");
}

#[test]
fn mutation_changes_every_option_and_keeps_inputs_legal() {
    let start = of("size-bytes=1M journal=data journal_blocks=3");
    let mut seen = HashSet::new();
    let mut data = vec![0; 1 << 10];
    for seed in 0..20_000 {
        let input = start.encode(&LOG);
        data[..input.len()].copy_from_slice(&input);
        let size = mutate(&LOG, &mut data, input.len(), 1 << 10, seed, |_, size, _| size);
        let mutant = Scenario::decode(&LOG, &data[..size]);
        assert_eq!(mutant.encode(&LOG), data[..size]);
        assert!(LOG.is_legal(&mutant.config), "{mutant}");
        let differs =
            |knob: &&Knob| start.config.options.get(knob.name) != mutant.config.options.get(knob.name);
        seen.extend(LOG.knobs.iter().filter(differs).map(|knob| knob.name));
    }
    assert_eq!(seen.len(), LOG.knobs.len(), "{seen:?}");
    let (first, second) = (start.encode(&LOG), of("size-bytes=2M checksums=off").encode(&LOG));
    for seed in 0..100 {
        let size = crossover(&LOG, &first, &second, &mut data, seed);
        let child = Scenario::decode(&LOG, &data[..size]);
        assert!(child.config == start.config || !child.config.options.is_on("checksums"), "{child}");
    }
}

#[test]
fn shrinking_brings_options_back_and_changes_the_unit() {
    let scenario = Scenario::from_text(
        "blk-scenario 1
config size-bytes=1M block_size=65536 journal=data journal_blocks=7 checksums=off control=3
read 0 512
write 512k 64k
discard 64k 64k
",
    )
    .unwrap();
    // A write of a whole block, with a journal.
    let judge = |scenario: &Scenario| {
        let block = LOG.geometry(&scenario.config).unit_bytes;
        let whole = |request: &Request| matches!(request, Request::Write { offset, length, .. } if offset % block == 0 && *length >= block);
        (scenario.config.options.is("journal", "data") && scenario.requests.iter().any(whole)).then_some(())
    };
    let small = minimise(&LOG, &scenario, judge, &Options::default()).unwrap();
    assert!(small.is_fixed_point);
    let expected = "blk-scenario 1\nconfig size-bytes=0 journal=data\nwrite 0 4k\n";
    assert_eq!(small.scenario.to_text(), expected);
}

#[test]
fn options_that_a_driver_does_not_have_are_refused_by_name() {
    for (settings, expected) in [
        (
            "blok_size=512",
            "log has no option 'blok_size'; known are block_size, journal, journal_blocks, checksums",
        ),
        (
            "block_size=513",
            "block_size=513 is no option of log: it takes block_size=1024 to 65536, a power of two",
        ),
        ("journal=some", "journal=some is no option of log: it takes journal=none|data"),
        ("checksums=1", "checksums=1 is no option of log: it takes checksums=on|off"),
        (
            "cluster-bits=9",
            "log has no option 'cluster_size'; known are block_size, journal, journal_blocks, checksums",
        ),
    ] {
        let outcome = Engine::new(RunOptions::default()).run(&LogTarget, &of(settings));
        assert_eq!(outcome, Outcome::Refused(expected.to_owned()), "{settings}");
    }
    let outcome = Engine::new(RunOptions::default()).run(&LogTarget, &of("size-bytes=8k checksums=off"));
    assert_eq!(outcome, Outcome::Clean);
}

/// Fields that all drivers have stay what the scenario says, whatever the space does with options.
#[test]
fn legal_configurations_keep_what_is_common() {
    let config = of("size-bytes=8k journal_blocks=3 lanes=3 atom-bytes=4k control=9 discard=off").config;
    let legal = legal_config(&LogTarget, &config).unwrap();
    assert_eq!(legal, Config { options: OptionValues::default(), ..config });
}

#[test]
fn nearly_all_requests_keep_to_an_alignment_of_4096() {
    let mut aligned = Config { size_bytes: 1 << 20, ..Config::default() }.with(ALIGNMENT, "4096");
    for unit in ["512", "4096", "65536"] {
        aligned = aligned.with(UNIT, unit);
        let limits = Limits { config: Some(PLAIN.legal(&aligned)), ..Limits::default() };
        let (mut all, mut kept) = (0, 0);
        let mut count = |scenario: &Scenario| {
            let mut size = scenario.config.size_bytes;
            for request in &scenario.requests {
                let range = request.range().unwrap_or_default();
                if let Request::Resize { size: new } = *request {
                    kept += u32::from(new % 4096 == 0);
                    size = if new % 4096 == 0 { new } else { size };
                } else {
                    kept += u32::from(range.0 % 4096 == 0 && range.1 % 4096 == 0);
                }
                all += 1;
            }
        };
        let mut data = vec![0; 4096];
        for (seed, scenario) in (0..).zip(Generator::new(&PLAIN, 3, limits).take(500)) {
            count(&scenario);
            let mut input = scenario.encode(&PLAIN);
            let length = input.len();
            input.resize(4096, 0);
            data.copy_from_slice(&input);
            let length = mutate(&PLAIN, &mut data, length, 4096, seed, |_, size, _| size);
            let mutant = Scenario::decode(&PLAIN, &data[..length]);
            if PLAIN.geometry(&mutant.config).alignment_bytes == 4096 {
                count(&mutant);
            }
        }
        assert!(kept * 10 >= all * 9, "clusters of {unit}: {kept} of {all} are aligned");
        assert!(kept < all, "some are meant to be refused");
    }
}

#[test]
fn version_2_of_the_bytes_says_everything() {
    let text = "blk-scenario 1
config size-bytes=256k cluster_size=4096 compression_type=zstd l2-cache-entry-size=1024 l2-cache-slices=2 \
lazy_refcounts=on refcount-cache-slices=3 refcount_bits=32 backing=chain backing-bytes=253953 discard=off \
control=7 atom-bytes=4k lanes=2
@3 write -f -P 0xa5 4k 4k
read 1M 512
truncate 512k
kill
";
    let scenario = Scenario::from_text(text).unwrap();
    let bytes = scenario.encode(&QCOW2);
    let header = "b2 03 03 02  07 00 00 00  00 00 04 00 00 00  01 e0 03 00 00 00  00 00 00 12 \
                  00 00 00 00  04 00 00 00  06 00 00 00  02 00 00 00  00 00 00 00 \
                  02 00 00 00  03 00 00 00  02 00 00 00  04 00 00 00 \
                  00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00 \
                  00 00 00 00  00 00 00 00";
    let records = "32 09 a5 00 00  00 10 00 00 00 00  00 10 00 00 00 00 \
                   01 00 00 ee 00  00 00 10 00 00 00  00 02 00 00 00 00 \
                   08 00 00 00 00  00 00 08 00 00 00  00 00 00 00 00 00 \
                   0b 00 00 00 00  00 00 00 00 00 00  00 00 00 00 00 00";
    assert_eq!(hex(&bytes), [words(header), words(records)].concat());
    assert_eq!(bytes::header_bytes(&QCOW2), words(header).len());
    assert_eq!(Scenario::decode(&QCOW2, &bytes), scenario);
    // Bytes that were written before the space had its last nine options say the same.
    let mut before = bytes.clone();
    before.drain(24 + 4 * 9..24 + 4 * 18);
    before[23] = 9;
    assert_eq!(Scenario::decode(&QCOW2, &before), scenario);
    // Another disk is this one, as long as there is one only.
    let mut elsewhere = bytes.clone();
    elsewhere[bytes::header_bytes(&QCOW2) + 4] = 9;
    assert_eq!(Scenario::decode(&QCOW2, &elsewhere), scenario);
}

/// **Do not update these expectations**: what fuzzing has collected hangs on them.
#[test]
fn version_2_of_the_bytes_is_read_as_ever() {
    for (bytes, expected) in [
        ("b2", ""),
        ("b2 02 01", "config backing=raw atom-bytes=4k\n"),
        // Fewer options than there are: the others have their usual values. The record begins where they end.
        (
            "b2 00 00 00  00 00 00 00  00 00 04 00 00 00  00 00 00 00 00 00  00 00 00 02 \
             01 00 00 00  01 00 00 00  06 00 00 00 00",
            "config size-bytes=256k cluster_size=512 compat=0.10\nflush\n",
        ),
        // More than there are: they are ignored. The count is that of today's options and one, since each
        // option that is appended gives a meaning to a place that no scenario was ever written to.
        (
            "b2 00 00 00  00 00 00 00  00 00 04 00 00 00  00 00 00 00 00 00  00 00 00 11 \
             00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00 \
             00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00 \
             00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00 \
             ff ff ff ff  06",
            "config size-bytes=256k\nflush\n",
        ),
        // Illegal values, contradictions and reserved bytes.
        (
            "b2 fc f9 ff  01 00 00 00  ff ff ff ff ff ff  ff ff ff ff ff ff  ff ff ff 09 \
             01 00 00 00  ff ff ff ff  03 00 00 00  ff ff ff ff  03 00 00 00 \
             ff ff ff ff  ff ff ff ff  0d 00 00 00  01 00 00 00 \
             02 09 11 00 ff  00 00 00 00 00 60  00 00 00 00 00 20",
            "config size-bytes=1020 cluster_size=512 compat=0.10 l2-cache-entry-size=512 l2-cache-slices=14 backing=raw \
             backing-bytes=2043 control=1\nwrite -f -P 0x11 0 512\n",
        ),
    ] {
        let digits: Vec<u8> = words(bytes).iter().map(|word| u8::from_str_radix(word, 16).unwrap()).collect();
        let scenario = Scenario::decode(&QCOW2, &digits);
        assert_eq!(scenario.to_text(), format!("blk-scenario 1\n{expected}"), "{bytes}");
        assert!(scenario.fits_bytes(&QCOW2));
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
