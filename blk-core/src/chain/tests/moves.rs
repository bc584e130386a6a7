//! Tests of what moves content between the layers of a chain, with layers that store units.

use std::sync::Arc;

use crate::sync::Mutex;
use crate::{
    Access, BlockDriver, BlockStatus, Commit, Disk, Extent, Limits, Rebase, Resize, Result, WriteFlags,
    ZeroFlags,
};

const UNIT: u64 = 512;

/// What a layer has of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Nothing,
    Zero,
    Byte(u8),
}

/// A layer that stores whole units.
#[derive(Debug)]
struct Layer {
    units: Mutex<Vec<Unit>>,
    backing: Option<Arc<Disk>>,
}

fn layer(text: &str, backing: Option<&Arc<Disk>>) -> (Arc<Layer>, Arc<Disk>) {
    let unit = |byte| match byte {
        b'.' => Unit::Nothing,
        b'z' => Unit::Zero,
        byte => Unit::Byte(byte),
    };
    let units = Mutex::new(text.bytes().map(unit).collect());
    let layer = Arc::new(Layer { units, backing: backing.cloned() });
    (Arc::clone(&layer), Arc::new(Disk::new(Shared(layer), Access::ReadWrite)))
}

fn text(layer: &Layer) -> String {
    let char_of = |unit: &Unit| match unit {
        Unit::Nothing => '.',
        Unit::Zero => 'z',
        Unit::Byte(byte) => char::from(*byte),
    };
    layer.units.lock().iter().map(char_of).collect()
}

#[derive(Debug)]
struct Shared(Arc<Layer>);

impl BlockDriver for Shared {
    fn size(&self) -> u64 {
        self.0.units.lock().len() as u64 * UNIT
    }

    fn limits(&self) -> Limits {
        Limits {
            request_alignment: UNIT,
            zero_granularity: UNIT,
            can_write_zeroes: true,
            ..Limits::default()
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        for (index, part) in (offset / UNIT..).zip(buf.chunks_mut(UNIT as usize)) {
            let unit = self.0.units.lock()[index as usize];
            match (unit, &self.0.backing) {
                (Unit::Byte(byte), _) => part.fill(byte),
                (Unit::Nothing, Some(backing)) if index * UNIT < backing.size() => {
                    backing.read(index * UNIT, part)?;
                }
                _ => part.fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], _: WriteFlags) -> Result<()> {
        for (index, part) in (offset / UNIT..).zip(buf.chunks(UNIT as usize)) {
            let unit = if part[0] == 0 { Unit::Zero } else { Unit::Byte(part[0]) };
            self.0.units.lock()[index as usize] = unit;
        }
        Ok(())
    }

    fn write_zeroes(&self, extent: Extent, _: ZeroFlags) -> Result<()> {
        let units = (extent.offset / UNIT) as usize..(extent.end() / UNIT) as usize;
        self.0.units.lock()[units].fill(Unit::Zero);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let unit = self.0.units.lock()[(extent.offset / UNIT) as usize];
        let (allocated, zero) = (unit != Unit::Nothing, unit == Unit::Zero);
        Ok(BlockStatus { length: UNIT, allocated, zero, compressed: false, host_offset: None })
    }

    fn backing(&self) -> Option<&Arc<Disk>> {
        self.0.backing.as_ref()
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }
}

impl Resize for Shared {
    fn resize(&self, size: u64) -> Result<()> {
        self.0.units.lock().resize((size / UNIT) as usize, Unit::Nothing);
        Ok(())
    }
}

#[test]
fn a_commit_writes_what_the_layers_above_the_base_show() {
    // The disk, what is between, the base: and the base afterwards.
    for (upper, between, base, depth, expected) in [
        ("a.z.", None, "1234", 1, "a2z4"),
        ("a.z..", None, "12", 1, "a2z.."),
        ("..", None, "1234", 1, "1234"),
        ("a...", Some(".bz."), "1234", 2, "abz4"),
        ("a...", Some(".b"), "1234", 2, "abzz"),
        ("....", Some("z"), "12", 2, "zzzz"),
    ] {
        let (written, base_disk) = layer(base, None);
        let between_disk = between.map(|text| layer(text, Some(&base_disk)).1);
        let (_, disk) = layer(upper, Some(between_disk.as_ref().unwrap_or(&base_disk)));
        let mut before = vec![9; disk.size() as usize];
        disk.read(0, &mut before).unwrap();
        let mut commit = Commit::new(&disk, depth, &base_disk).unwrap();
        let (all, mut done) = (commit.bytes().unwrap(), 0);
        while let Some(bytes) = commit.step().unwrap() {
            assert!(bytes > 0);
            done += bytes;
        }
        assert_eq!((done, text(&written).as_str()), (all, expected), "{upper} {between:?} {base}");
        let mut shown = vec![9; before.len()];
        base_disk.read(0, &mut shown).unwrap();
        assert!(shown == before, "{upper} {between:?} {base}: the base shows the disk");
    }
}

#[test]
fn a_rebase_stores_what_the_disk_would_lose_and_no_more() {
    // The disk, its backing file, the new one: and the disk afterwards.
    for (upper, old, new, expected) in [
        ("a.z.", "1234", None, "a2z4"),
        ("a.z.", "12", None, "a2z."),
        ("....", "1234", Some("1934"), ".2.."),
        ("....", "12", Some("1934"), ".2zz"),
        ("..z.", "12", Some("12"), "..z."),
        ("....", "zz3.", Some("45"), "zz3."),
        ("....", "1.34", Some("1.3."), "...4"),
    ] {
        let (_, old_disk) = layer(old, None);
        let new_disk = new.map(|text| layer(text, None).1);
        let (written, disk) = layer(upper, Some(&old_disk));
        let mut rebase = Rebase::new(&disk, new_disk.as_deref(), false);
        let mut at = 0;
        while let Some(reached) = rebase.step().unwrap() {
            assert!(reached > at && reached <= disk.size());
            at = reached;
        }
        assert_eq!((at, text(&written).as_str()), (disk.size(), expected), "{upper} {old} {new:?}");
    }
}
