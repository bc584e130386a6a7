//! A space that is made of a format's own lists of options: what bytes mean stays as the lists grow.

use std::sync::Arc;

use blk_core::{
    Access, Disk, Error, Format, OptionKind, OptionSpec, Options, Probe, Range, Resolver, Result, Storage,
};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::space::{Geometry, Space};

const LAYOUT: OptionSpec =
    OptionSpec::new("layout", OptionKind::Choice(&["old", "new"]), "").with_default("new");
const UNIT: OptionSpec =
    OptionSpec::new("unit", OptionKind::Size(Range::powers_of_two(512, 4096)), "").with_default("1024");
const CACHE: OptionSpec = OptionSpec::new("cache", OptionKind::Number(Range::multiples(1, 0, 100)), "");
const SUMS: OptionSpec = OptionSpec::new("sums", OptionKind::Switch, "").with_default("off");

/// A format that is nothing but its lists of options.
#[derive(Debug)]
struct Lists {
    create: &'static [OptionSpec],
    open: &'static [OptionSpec],
}

impl Format for Lists {
    fn name(&self) -> &'static str {
        "lists"
    }

    fn probe(&self, _probe: &Probe<'_>) -> u8 {
        0
    }

    fn open(&self, _: Arc<dyn Storage>, _: Access, _: Options, _: &dyn Resolver) -> Result<Disk> {
        Err(Error::unsupported("an image of nothing but options"))
    }

    fn create(&self, _: &Arc<dyn Storage>, _: u64, _: Options) -> Result<()> {
        Err(Error::unsupported("an image of nothing but options"))
    }

    fn open_options(&self) -> &'static [OptionSpec] {
        self.open
    }

    fn create_options(&self) -> &'static [OptionSpec] {
        self.create
    }
}

static NOW: Lists =
    Lists { create: &[LAYOUT, OptionSpec::not_built("later", OptionKind::Switch, ""), UNIT], open: &[CACHE] };
/// One more option in each list, and what was not built is.
static LATER: Lists = Lists {
    create: &[LAYOUT, OptionSpec::new("later", OptionKind::Switch, "").with_default("off"), UNIT, SUMS],
    open: &[CACHE, OptionSpec::new("sync", OptionKind::Switch, "").with_default("off")],
};

fn space(format: &'static Lists) -> Space {
    Space::of_format(format, Some("unit"), |_| Geometry::default())
}

/// A header of version 2 with five options that follow: those of images have the places 0, 2 and 4, those of
/// an open 1, 3 and so on.
const BYTES: &[u8] = &[
    0xb2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, // 64 KiB
    1, 0, 0, 0, // layout=old
    8, 0, 0, 0, // cache=7
    0, 0, 0, 0, //
    0, 0, 0, 0, //
    4, 0, 0, 0, // unit=4096
];

#[test]
fn options_have_places_that_stay_when_the_lists_grow() {
    let config = Config { size_bytes: 64 << 10, ..Config::default() }
        .with("layout", "old")
        .with("unit", "4096")
        .with("cache", "7");
    for format in [&NOW, &LATER] {
        let space = space(format);
        let decoded = Scenario::decode(&space, BYTES);
        assert_eq!(decoded.config, config, "{format:?}");
        assert!(decoded.fits_bytes(&space));
    }
    assert_eq!(Scenario { config, ..Scenario::default() }.encode(&space(&NOW)), BYTES);
}
