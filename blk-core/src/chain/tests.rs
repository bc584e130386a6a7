mod moves;

use super::*;
use crate::{Access, BlockDriver, BlockStatus, DiscardFlags, Limits, StorageRun, WriteFlags, ZeroFlags};

/// A layer of units of which some are stored: `d` as data, `h` as data that is a hole of the host, `z` as a
/// mark, `c` compressed; the others are not allocated. What is stored lies at 1 MiB and its own offset.
#[derive(Debug)]
struct Layer {
    units: &'static [u8],
    unit_bytes: u64,
    /// Bytes that the last unit lacks.
    lacks: u64,
    alignment: u64,
    backing: Option<Arc<Disk>>,
}

const PLACE: u64 = 1 << 20;

impl Layer {
    fn unit(&self, offset: u64) -> u8 {
        self.units[(offset / self.unit_bytes) as usize]
    }

    fn rest_of_unit(&self, extent: Extent) -> u64 {
        extent.length.min((extent.offset / self.unit_bytes + 1) * self.unit_bytes - extent.offset)
    }
}

impl BlockDriver for Layer {
    fn size(&self) -> u64 {
        self.units.len() as u64 * self.unit_bytes - self.lacks
    }

    fn limits(&self) -> Limits {
        Limits { request_alignment: self.alignment, ..Limits::default() }
    }

    fn read(&self, _: u64, _: &mut [u8]) -> Result<()> {
        panic!("nothing is read for a status")
    }

    fn write(&self, _: u64, _: &[u8], _: WriteFlags) -> Result<()> {
        panic!("nothing is written for a status")
    }

    fn write_zeroes(&self, _: Extent, _: ZeroFlags) -> Result<()> {
        panic!("nothing is written for a status")
    }

    fn discard(&self, _: Extent, _: DiscardFlags) -> Result<()> {
        panic!("nothing is written for a status")
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let kind = self.unit(extent.offset);
        Ok(BlockStatus {
            length: self.rest_of_unit(extent),
            allocated: kind != b'.',
            zero: kind == b'z' || (kind == b'.' && self.backing.is_none()),
            compressed: kind == b'c',
            host_offset: matches!(kind, b'd' | b'h').then_some(PLACE + extent.offset),
        })
    }

    fn host_run(&self, extent: Extent) -> Result<Option<StorageRun>> {
        let length = self.rest_of_unit(extent).min(700);
        Ok(Some(StorageRun { length, data: self.unit(extent.offset) != b'h' }))
    }

    fn backing(&self) -> Option<&Arc<Disk>> {
        self.backing.as_ref()
    }
}

fn layer(units: &'static [u8], unit_bytes: u64, backing: Option<Arc<Disk>>) -> Layer {
    Layer { units, unit_bytes, lacks: 0, alignment: 1, backing }
}

fn disk(layer: Layer) -> Arc<Disk> {
    Arc::new(Disk::new(layer, Access::ReadOnly))
}

/// What is said of 4096 bytes, or what is left of the disk: length, layer (none: `-`), and `d`, `z`, `c`.
fn said(query: ChainQuery<'_>, offset: u64) -> (u64, String, Option<u64>) {
    let length = 4096.min(query.disk.size().next_multiple_of(512) - offset);
    let found = query.status(Extent::new(offset, length)).unwrap();
    let mut words = if found.present { found.depth.to_string() } else { format!("-{}", found.depth) };
    for (is_so, word) in [(found.data, 'd'), (found.zero, 'z'), (found.compressed, 'c')] {
        words.extend(is_so.then_some(word));
    }
    (found.length, words, found.host_offset)
}

#[test]
fn the_first_layer_that_has_the_bytes_determines_them() {
    let last = disk(layer(b"d.z", 512, None));
    let middle = disk(layer(b".h.c", 1024, Some(last)));
    let first = disk(layer(b"z........d", 600, Some(middle)));
    let ask = |offset| said(ChainQuery::new(&first), offset);
    assert_eq!(ask(0), (600, "0z".into(), None), "a mark");
    assert_eq!(ask(600), (424, "-2z".into(), None), "all three have nothing up to where the middle has");
    assert_eq!(ask(1024), (176, "1dz".into(), Some(PLACE + 1024)), "the run of the first ends");
    assert_eq!(ask(1200), (600, "1dz".into(), Some(PLACE + 1200)), "a hole of the host");
    assert_eq!(ask(2048), (352, "-1z".into(), None), "the last one has ended");
    assert_eq!(ask(3100), (500, "1dc".into(), None));
    assert_eq!(ask(4200), (600, "-0z".into(), None), "behind the end of the middle");
    assert_eq!(ask(5400), (600, "0d".into(), Some(PLACE + 5400)));
}

#[test]
fn only_so_many_layers_are_asked() {
    let first = disk(layer(b"..", 512, Some(disk(layer(b"d.", 512, None)))));
    let query = ChainQuery::new(&first);
    assert_eq!(said(query.layers_max(2), 0), (512, "1d".into(), Some(PLACE)));
    assert_eq!(said(query.layers_max(1), 0), (512, "-0z".into(), None));
    assert_eq!(said(query.layers_max(0), 0), (1024, "-0z".into(), None));
}

#[test]
fn the_host_is_asked_how_long_a_run_of_data_is() {
    let only = disk(layer(b"d", 4096, None));
    assert_eq!(said(ChainQuery::new(&only), 0), (700, "0d".into(), Some(PLACE)));
}

#[test]
fn a_coarser_layer_is_asked_for_whole_units() {
    let coarse = disk(Layer { alignment: 1024, ..layer(b"hd.", 1024, None) });
    let first = disk(layer(b".....", 600, Some(coarse)));
    let ask = |offset| said(ChainQuery::new(&first), offset);
    assert_eq!(ask(0), (600, "1dz".into(), Some(PLACE)));
    assert_eq!(
        ask(600),
        (424, "1d".into(), Some(PLACE + 600)),
        "whether it is a hole is not asked inside a unit"
    );
    assert_eq!(ask(1800), (248, "1d".into(), Some(PLACE + 1800)));
    assert_eq!(ask(2400), (600, "-1z".into(), None));
}

#[test]
fn the_rest_of_a_last_sector_is_zeroes_of_its_layer() {
    let short = disk(Layer { lacks: 100, ..layer(b"d", 700, None) });
    let first = disk(layer(b"...", 1024, Some(Arc::clone(&short))));
    let query = ChainQuery::new(&first);
    assert_eq!(said(query, 600), (424, "-0z".into(), None), "a layer is as large as it is");
    assert_eq!(said(query.whole_sectors(512), 600), (424, "1z".into(), Some(PLACE + 600)));
    assert_eq!(said(query.whole_sectors(512), 0), (600, "1d".into(), Some(PLACE)));
    assert_eq!(said(query.whole_sectors(512), 1024), (1024, "-0z".into(), None));
    assert_eq!(said(ChainQuery::new(&short).whole_sectors(512), 700), (324, "0z".into(), Some(PLACE + 700)));
}

#[test]
fn a_run_goes_on_where_the_place_does() {
    let stored = |host_offset| ChainStatus { present: true, host_offset, ..ChainStatus::unallocated(1, 512) };
    assert!(stored(Some(0)).continues(&stored(Some(512))));
    assert!(!stored(Some(0)).continues(&stored(Some(0))));
    assert!(!stored(Some(0)).continues(&stored(None)));
    assert!(stored(None).continues(&stored(None)));
    assert!(!stored(None).continues(&ChainStatus::unallocated(1, 512)));
    assert!(!stored(None).continues(&ChainStatus { depth: 0, ..stored(None) }));
}
