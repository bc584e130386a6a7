//! Pages that are made by hand: what is hard to come by, and what is hostile.

use blk_core::{Extent, Op, Region, Role};
use blk_harness::Signature;
use blk_harness::blame::{Prefix, Verdict};
use blk_harness::finding::{Begun, Crash, Difference, Fate, Finding, Pending, Piece, Provoked, Side, Source};
use blk_harness::page::{Paper, Surroundings, Way};
use blk_harness::picture::{Look, Picture};
use blk_harness::scenario::{Request, Scenario};
use blk_testbed::hostile::{Shrunk, page, templates};

const SCRIPT: &str = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&";

/// All of them, each with a name.
pub(crate) fn all() -> [(&'static str, String); 4] {
    [("hostile", hostile()), ("large", large()), ("open", open()), ("torn", torn())]
}

fn render(
    finding: &Finding,
    scenario: Option<&Scenario>,
    picture: Option<&Picture>,
    blame: &[Prefix],
) -> String {
    let ways = [Way::new(SCRIPT, SCRIPT)];
    let around = &Surroundings { picture: picture.cloned(), blame: blame.to_vec() };
    Paper { name: SCRIPT, target: SCRIPT, finding, scenario, around, ways: &ways }.render()
}

/// A panic, whose message and names are HTML, and of which nothing else is known.
pub(crate) fn hostile() -> String {
    let panic = Finding::new(Signature::Panic { message: SCRIPT.to_owned() }, "the driver panicked");
    let mut finding = panic.with_notes(SCRIPT).noticed_by(1, Op::Flush);
    SCRIPT.clone_into(&mut finding.noticed);
    render(&finding, None, None, &[])
}

/// Three thousand requests of a disk of 1 TiB.
pub(crate) fn large() -> String {
    let request = |index: u64| match index % 3 {
        0 => Request::Flush,
        1 => Request::Read { offset: index << 28, length: 4096 },
        _ => Request::Write {
            offset: index << 28,
            length: 1 << 30,
            fill: blk_harness::scenario::Fill::Stamp,
            fua: true,
        },
    };
    let mut scenario = Scenario { requests: (0..3000).map(request).collect(), ..Scenario::default() };
    scenario.config.size_bytes = 1 << 40;
    let mut disk = Vec::new();
    for index in 0..20_000 {
        Region::push(&mut disk, 1 << 25, if index % 2 == 0 { Role::DATA } else { Role::FREE });
    }
    let look = Look { file: disk.clone(), disk };
    let picture = Picture { before: look.clone(), after: look, requests: 3000 };
    let blame: Vec<Prefix> =
        (0..40).map(|index| Prefix { requests: index * 75, verdict: Verdict::Clean }).collect();
    let mut finding = Finding::new(Signature::Size, "the sizes differ").noticed_by(1500, Op::Flush);
    finding.history = (1400..=1500)
        .map(|number| Begun {
            number,
            request: SCRIPT.to_owned(),
            is_in_flight: number > 1498,
            met: vec![number - 1],
        })
        .collect();
    render(&finding, Some(&scenario), Some(&picture), &blame)
}

/// A finding of an image that was opened: there are no requests.
pub(crate) fn open() -> String {
    let template = &templates()[0];
    // An L1 entry that points to the header.
    let mut image = template.image.clone();
    let l1 = u64::from_be_bytes(image[40..48].try_into().unwrap()) as usize;
    image[l1..l1 + 8].copy_from_slice(&(1_u64 << 63 | 512).to_be_bytes());
    let what = "a write to an image that a check calls sound has changed its metadata";
    let changes = vec![format!("image offset {l1:#x}: 0x8000000000000200 instead of what the template has")];
    let command = "cargo xtask repro --target open_qcow2 fuzz/repros/image-x.qcow2".to_owned();
    page("image-a-write-has-changed-metadata", what, (&template.name, &Shrunk { image, changes }), command)
}

/// A crash that has torn an operation, and a sector with several values.
fn torn() -> String {
    let scenario = Scenario::from_text("blk-scenario 1\nwrite 0 4k\nflush\nwrite 512 512\n").unwrap();
    let side = |byte: u8| {
        let source = Source::Repeated(byte);
        let pieces = [(0, vec![byte; 100], source), (100, vec![0; 412], Source::Zeroes)];
        let sector = pieces.into_iter().map(|(offset, bytes, source)| Piece { offset, bytes, source });
        Side { bytes: vec![byte; 16], source, sector: sector.collect() }
    };
    let mut finding = Finding::new(Signature::Size, "a sector holds what it must not");
    let expected = (1..8).map(side).collect();
    finding.difference = Some(Box::new(Difference { compared: None, offset: 0, expected, found: side(9) }));
    let extent = Extent::new(65536, 4096);
    let fates = [Fate::Lost, Fate::Persisted, Fate::Torn(vec![extent])];
    let pending = fates.into_iter().map(|fate| Pending { fate, operation: SCRIPT.to_owned(), extent });
    finding.provoked =
        Some(Provoked::Crash(Crash { during: None, operation: 4, pending: pending.collect() }));
    let file = vec![Region { extent: Extent::new(0, 1 << 20), role: Role::DATA }];
    let look = Look { file, disk: Vec::new() };
    let picture = Picture { before: look.clone(), after: look, requests: 0 };
    render(&finding, Some(&scenario), Some(&picture), &[Prefix { requests: 0, verdict: Verdict::Same }])
}
