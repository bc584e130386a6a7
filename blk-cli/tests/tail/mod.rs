//! A small format: the bytes of the disk, then a sector that says so.

use std::sync::Arc;

use blk_core::{
    Access, BlockDriver, BlockStatus, CheckReport, Condition, Conflict, Disk, Error, Extent, Features,
    Finding, Format, ImageInfo, Info, Measure, OptionKind, OptionSpec, Options, Probe, Range, RepairMode,
    Resolver, Result, Severity, Storage, WriteFlags, bytes, refuse_compressed,
};

pub(crate) static FORMAT: &dyn Format = &TailFormat;

const MAGIC: &[u8; 8] = b"TailDisk";
const FOOTER_BYTES: u64 = 512;

static CREATE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("fill", OptionKind::Number(Range::from_to(0, 255)), "Byte of a new disk")
        .with_shown_default("0"),
    OptionSpec::new("label", OptionKind::Text, "Name of the disk"),
    OptionSpec::new("sealed", OptionKind::Switch, "No byte changes any more").with_conflicts(&[Conflict {
        when: Condition::Is("on"),
        other: "label",
        and: Condition::Missing,
        reason: "who seals a disk signs it",
    }]),
];
static OPEN_OPTIONS: &[OptionSpec] =
    &[OptionSpec::new("invert", OptionKind::Switch, "show each byte inverted").that_selects_content()];

#[derive(Debug)]
struct TailFormat;

impl Format for TailFormat {
    fn name(&self) -> &'static str {
        "tail"
    }

    fn probe(&self, probe: &Probe<'_>) -> u8 {
        if probe.end.starts_with(MAGIC) { 90 } else { 0 }
    }

    fn open(
        &self,
        storage: Arc<dyn Storage>,
        access: Access,
        options: Options,
        _: &dyn Resolver,
    ) -> Result<Disk> {
        let options = options.typed(self.name(), OPEN_OPTIONS)?;
        let size = storage.len()?.saturating_sub(FOOTER_BYTES);
        let mut footer = [0; 8];
        storage.read_at(size, &mut footer)?;
        if footer != *MAGIC {
            return Err(Error::malformed("footer", size, "there is no footer"));
        }
        let mask = if options.switch("invert") == Some(true) { 0xff } else { 0 };
        Ok(Disk::new(Tail { storage, size, mask }, access))
    }

    fn create(&self, storage: &Arc<dyn Storage>, size: u64, options: Options) -> Result<()> {
        let options = options.typed(self.name(), CREATE_OPTIONS)?;
        let fill = options.number("fill").unwrap_or(0) as u8;
        storage.set_len(0)?;
        storage.set_len(size + FOOTER_BYTES)?;
        if fill != 0 {
            storage.write_at(0, &vec![fill; size as usize])?;
        }
        storage.write_at(size, MAGIC)?;
        storage.sync()
    }

    fn open_options(&self) -> &'static [OptionSpec] {
        OPEN_OPTIONS
    }

    fn create_options(&self) -> &'static [OptionSpec] {
        CREATE_OPTIONS
    }

    fn features(&self) -> Features {
        Features { has_footer: true, ..Features::default() }
    }

    /// The rest of the footer is zero.
    fn check(&self, storage: &Arc<dyn Storage>, repair: RepairMode) -> Result<Option<CheckReport>> {
        let footer = storage.len()?.saturating_sub(FOOTER_BYTES);
        let rest = Extent::between(footer + MAGIC.len() as u64, footer + FOOTER_BYTES);
        let mut bytes = vec![0; rest.length as usize];
        storage.read_at(rest.offset, &mut bytes)?;
        let mut report = CheckReport::default();
        if !bytes::is_zero(&bytes) {
            let repaired = repair == RepairMode::All;
            let message = "ERROR the footer is not empty".to_owned();
            report.add(Finding { severity: Severity::Corruption, offset: rest.offset, message, repaired });
            if repaired {
                storage.write_zeroes_at(rest)?;
            }
        }
        Ok(Some(report))
    }

    fn measure(&self, size: u64, options: Options) -> Result<Measure> {
        options.typed_of_others(self.name(), CREATE_OPTIONS)?;
        let fully_allocated = size + FOOTER_BYTES;
        Ok(Measure { fully_allocated, unit_bytes: 1, allocates_all: true, bitmaps: false })
    }
}

#[derive(Debug)]
struct Tail {
    storage: Arc<dyn Storage>,
    size: u64,
    /// What each byte is shown with.
    mask: u8,
}

impl BlockDriver for Tail {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.storage.read_at(offset, buf)?;
        for byte in buf {
            *byte ^= self.mask;
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        refuse_compressed(flags)?;
        let stored: Vec<u8> = buf.iter().map(|byte| byte ^ self.mask).collect();
        self.storage.write_at(offset, &stored)
    }

    fn flush(&self) -> Result<()> {
        self.storage.sync()
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let (length, host_offset) = (extent.length, Some(extent.offset));
        Ok(BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset })
    }

    fn as_info(&self) -> Option<&dyn Info> {
        Some(self)
    }
}

impl Info for Tail {
    fn info(&self) -> Result<ImageInfo> {
        Ok(ImageInfo { format: "tail", ..ImageInfo::default() })
    }
}
