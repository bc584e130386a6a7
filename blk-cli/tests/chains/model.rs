//! What each image shows, and which commands are right for it.

use std::collections::BTreeMap;

use crate::bitmaps::{self, Bitmap};
use crate::command::{Act, Change, Command, Failure, Tool, name};
use crate::options::{Kind, Options};

/// Images of a test, at most.
pub(crate) const FILES: usize = 5;

/// An image, as it has to be.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) options: Options,
    /// What its disk shows.
    pub(crate) content: Vec<u8>,
    /// The number of its backing file.
    pub(crate) backing: Option<usize>,
    /// What its snapshots hold.
    pub(crate) snapshots: BTreeMap<u8, Vec<u8>>,
    pub(crate) bitmaps: BTreeMap<u8, Bitmap>,
    /// A shrink of it was interrupted: entries behind the end may still name data, which a larger disk does
    /// not show with `blk`, and does with QEMU.
    pub(crate) may_hide: bool,
}

impl Image {
    pub(crate) fn size(&self) -> u64 {
        self.content.len() as u64
    }

    fn change_snapshot(&mut self, slot: u8, change: char) {
        match change {
            'c' => drop(self.snapshots.insert(slot, self.content.clone())),
            'a' => self.show(self.snapshots[&slot].clone()),
            _ => drop(self.snapshots.remove(&slot)),
        }
    }

    /// The disk shows another content from now on, in part or all of which is written.
    fn show(&mut self, content: Vec<u8>) {
        let before = std::mem::replace(&mut self.content, content);
        for bitmap in self.bitmaps.values_mut() {
            bitmap.resize(self.content.len() as u64);
            bitmap.write_differences(&before, &self.content);
        }
    }

    fn resize(&mut self, size: u64) {
        self.content.resize(size as usize, 0);
        self.bitmaps.values_mut().for_each(|bitmap| bitmap.resize(size));
    }

    /// A program may have written anything that was there already.
    fn may_be_written(&mut self) {
        self.bitmaps.values_mut().for_each(Bitmap::may_be_anything);
    }

    fn amend(&mut self, option: &str) {
        match option.split_once('=') {
            Some(("compat", version)) => self.options.version = if version == "1.1" { 3 } else { 2 },
            Some(("refcount_bits", bits)) => self.options.refcount_bits = bits.parse().unwrap_or(16),
            _ => {}
        }
    }

    fn change_bitmap(&mut self, slot: u8, change: bitmaps::Change, merged: Option<&Bitmap>) {
        if let bitmaps::Change::Add { granularity, is_enabled } = change {
            self.bitmaps.insert(slot, Bitmap::new(granularity, is_enabled, self.size()));
        }
        let Some(bitmap) = self.bitmaps.get_mut(&slot) else { return };
        match change {
            bitmaps::Change::Add { .. } => {}
            bitmaps::Change::Remove => drop(self.bitmaps.remove(&slot)),
            bitmaps::Change::Clear => bitmap.clear(),
            bitmaps::Change::Enable => bitmap.is_enabled = true,
            bitmaps::Change::Disable => bitmap.is_enabled = false,
            bitmaps::Change::Merge { .. } => {
                if let Some(merged) = merged {
                    bitmap.merge(merged);
                }
            }
        }
    }
}

/// The images by their numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    /// Where the files lie, with a slash at its end.
    pub(crate) folder: String,
    pub(crate) images: [Option<Image>; FILES],
}

impl World {
    pub(crate) fn image(&self, file: usize) -> Option<&Image> {
        self.images[file].as_ref()
    }

    /// The name that opens a file, with what fails of it.
    pub(crate) fn address(&self, file: usize, failure: Option<Failure>) -> String {
        self.image(file).map_or_else(|| name(file), |image| image.options.address(&name(file), failure))
    }

    /// The name that an overlay has for a file. QEMU 10.0 takes no relative one where the overlay is
    /// encrypted.
    pub(crate) fn backing_name(&self, file: usize) -> String {
        let path = format!("{}{}", self.folder, name(file));
        self.image(file).map_or_else(|| path.clone(), |image| image.options.address(&path, None))
    }

    pub(crate) fn has_encrypted(&self) -> bool {
        self.images.iter().flatten().any(|image| image.options.is_encrypted())
    }

    fn has_overlays(&self, file: usize) -> bool {
        self.overlays(file) > 0
    }

    fn overlays(&self, file: usize) -> usize {
        self.images.iter().flatten().filter(|image| image.backing == Some(file)).count()
    }

    /// Whether `file` lies in the chain that begins with `top`.
    fn is_below(&self, file: usize, top: usize) -> bool {
        let mut at = Some(top);
        while let Some(number) = at {
            if number == file {
                return true;
            }
            at = self.image(number).and_then(|image| image.backing);
        }
        false
    }

    /// Whether the file may fail that the command changes: what bitmaps say then is not modelled.
    pub(crate) fn can_fail(&self, command: &Command) -> bool {
        let has_none = |file: usize| self.image(file).is_some_and(|image| image.bitmaps.is_empty());
        let is_bitmap = matches!(command.act, Act::Bitmap { .. });
        command.tool == Tool::Blk
            && !is_bitmap
            && command.act.changed().is_some()
            && command.touched(self).into_iter().all(has_none)
    }

    /// Whether the command can be made of these images; one that cannot is left out. A new LUKS
    /// disk shows noise, and with QEMU one that has grown.
    pub(crate) fn is_legal(&self, command: &Command) -> bool {
        let there = |file: usize| self.image(file).is_some();
        match &command.act {
            Act::Create { file, options, backing, .. } => {
                let is_known = options.kind != Kind::Luks;
                let is_new = !there(*file) && backing.is_none_or(there);
                options.are_legal(backing.is_some()) && is_new && is_known
            }
            Act::Change { file, change, at, length } => self.image(*file).is_some_and(|image| {
                !self.has_overlays(*file) && can_change(image, command.tool, *change, (*at, *length))
            }),
            Act::Commit { file, .. } => self.can_commit(*file, command.tool),
            Act::Rebase { file, to, compress } => self.can_rebase(*file, *to, *compress, command.tool),
            Act::Convert { from, to, .. } => {
                !there(*to) && self.image(*from).is_some_and(|image| self.can_convert(image, command))
            }
            Act::Dd { from, to, block, skip, count } => {
                *block > 0
                    && *count > 0
                    && !there(*to)
                    && self.image(*from).is_some_and(|image| skip * block < image.size())
            }
            Act::Resize { file, size } => self.image(*file).is_some_and(|image| {
                let gains_noise = image.options.kind == Kind::Luks && *size > image.size();
                let is_known = command.tool == Tool::Blk || !(gains_noise || image.may_hide);
                let has_sizes = image.snapshots.is_empty() || image.options.version > 2;
                is_known && has_sizes && !self.has_overlays(*file)
            }),
            Act::Snapshot { file, slot, change } => self.image(*file).is_some_and(|image| {
                let has = image.snapshots.contains_key(slot);
                let can = image.options.kind == Kind::Qcow2 && !image.options.data_file;
                // QEMU leaks a cluster where counts are too narrow.
                let is_counted = command.tool == Tool::Blk || image.options.refcount_bits > 1;
                can && is_counted && !self.has_overlays(*file) && has != (*change == 'c')
            }),
            Act::Bitmap { file, slot, change } => self.can_change_bitmap(*file, *slot, *change),
            // QEMU 10.0 overwrites what snapshots hold
            // (docs/findings/qemu-qcow2-downgrade-overwrites-snapshot.md), shows zeroes decrypted
            // (docs/findings/qemu-qcow2-downgrade-encrypted-zeroes.md), and leaks bitmaps.
            Act::Amend { file, option } => self.image(*file).is_some_and(|image| {
                let has_what_breaks =
                    !image.snapshots.is_empty() || !image.bitmaps.is_empty() || image.options.is_encrypted();
                let is_known = *option == "compat=0.10" && has_what_breaks;
                // Of one bit, it takes 20 s of processor time.
                let is_slow = option.starts_with("refcount_bits") && image.options.refcount_bits == 1;
                image.options.kind == Kind::Qcow2 && (command.tool == Tool::Blk || !(is_known || is_slow))
            }),
            // A repair by QEMU 10.0 drops the snapshots of an image with bitmaps
            // (docs/findings/qemu-img-check-drops-snapshots.md).
            Act::Check { file, repair } => self.image(*file).is_some_and(|image| {
                let has_both = !image.snapshots.is_empty() && !image.bitmaps.is_empty();
                image.options.kind == Kind::Qcow2 && !(*repair && has_both && command.tool == Tool::Qemu)
            }),
            Act::Remove { file } => there(*file) && !self.has_overlays(*file),
        }
    }

    fn can_change_bitmap(&self, file: usize, slot: u8, change: bitmaps::Change) -> bool {
        let Some(image) = self.image(file) else { return false };
        let is_new = matches!(change, bitmaps::Change::Add { .. });
        let can_merge = match change {
            bitmaps::Change::Merge { from, slot: other } => self.image(from).is_some_and(|from_image| {
                (from, other) != (file, slot)
                    && from_image.bitmaps.contains_key(&other)
                    && from_image.size() == image.size()
            }),
            _ => true,
        };
        let is_free = image.bitmaps.contains_key(&slot) != is_new && !self.has_overlays(file);
        image.options.kind == Kind::Qcow2 && image.options.version > 2 && is_free && can_merge
    }

    fn can_commit(&self, file: usize, tool: Tool) -> bool {
        let Some(image) = self.image(file) else { return false };
        let Some(base) = image.backing else { return false };
        let Some(lower) = self.image(base) else { return false };
        let grows = lower.size() < image.size();
        !self.has_overlays(file)
            && self.overlays(base) == 1
            && image.snapshots.is_empty()
            && (!grows || lower.snapshots.is_empty())
            && (!grows || tool == Tool::Blk || !lower.may_hide)
    }

    /// What a snapshot has not of its own shows the backing file, so an image with snapshots keeps it. QEMU
    /// 10.0 dies of subclusters with -c (docs/findings/qemu-img-rebase-compressed-subclusters.md), and loses
    /// zeroes of version 2 (docs/findings/qemu-img-rebase-shows-base.md).
    fn can_rebase(&self, file: usize, to: Option<usize>, compress: bool, tool: Tool) -> bool {
        let Some(image) = self.image(file) else { return false };
        let is_apart = to.is_none_or(|to| self.image(to).is_some() && !self.is_below(file, to));
        let options = &image.options;
        let has_no_marks = options.version == 2 && image.backing.is_none();
        let is_known = (compress && options.others.contains(&"extended_l2=on")) || has_no_marks;
        options.kind == Kind::Qcow2
            && !options.is_raw_data_file()
            && image.snapshots.is_empty()
            && (!compress || options.can_compress())
            && (tool == Tool::Blk || !is_known)
            && is_apart
    }

    fn can_convert(&self, image: &Image, command: &Command) -> bool {
        let Act::Convert { options, snapshot, compress, keep_backing, bitmaps, .. } = &command.act else {
            return false;
        };
        let base = image.backing.and_then(|base| self.image(base));
        let keeps = base.is_some_and(|base| base.size() <= image.size()) && snapshot.is_none();
        let held = snapshot.map(|slot| image.snapshots.get(&slot).map(|held| held.len() as u64));
        // QEMU shows a snapshot with the size that the disk has now.
        let has_size = |held: u64| command.tool == Tool::Blk || held == image.size();
        let can_have_bitmaps = options.kind == Kind::Qcow2 && options.version > 2;
        let has_bitmaps = image.options.version > 2 && snapshot.is_none();
        options.are_legal(*keep_backing)
            && (!bitmaps || (can_have_bitmaps && has_bitmaps))
            && (!compress || (options.can_compress() && !options.is_preallocated()))
            && held.is_none_or(|held| held.is_some_and(has_size))
            && (!keep_backing || keeps)
    }

    /// Whether a tool may refuse the command: the images are as they were then.
    pub(crate) fn may_refuse(&self, command: &Command) -> bool {
        let image = |file: usize| self.image(file);
        match &command.act {
            Act::Amend { .. } => true,
            Act::Change { change: Change::Compressed(_), .. } => command.tool == Tool::Qemu,
            // Where what an overlay gains would show its backing file, QEMU refuses it if it has no mark for
            // zeroes there.
            Act::Resize { file, .. } => image(*file).is_some_and(|image| {
                let may_show = command.tool == Tool::Qemu && image.backing.is_some();
                !image.snapshots.is_empty() || may_show
            }),
            Act::Snapshot { file, slot, change } => image(*file).is_some_and(|image| match change {
                'c' => image.options.refcount_bits < 16,
                'a' if command.tool == Tool::Qemu && !image.bitmaps.is_empty() => true,
                'a' => image.snapshots.get(slot).is_some_and(|held| held.len() as u64 != image.size()),
                _ => false,
            }),
            _ => false,
        }
    }

    /// What the images show after a command that was refused: a part of it may have been done.
    pub(crate) fn refuse(&mut self, command: &Command) {
        if let Act::Change { file, .. } = command.act
            && let Some(image) = &mut self.images[file]
        {
            image.may_be_written();
        }
    }

    /// What the images show after the command.
    pub(crate) fn apply(&mut self, command: &Command) {
        match &command.act {
            Act::Create { file, options, backing, size } => {
                let behind = backing.and_then(|base| self.image(base)).map(|base| base.content.clone());
                let mut content = behind.unwrap_or_default();
                content.resize(*size as usize, 0);
                self.make(*file, options, content, *backing);
            }
            Act::Change { file, change, at, length } => {
                let Some(image) = &mut self.images[*file] else { return };
                let range = *at as usize..(at + length) as usize;
                let byte = match change {
                    Change::Write(byte) | Change::Compressed(byte) => *byte,
                    Change::Zero { .. } => 0,
                };
                image.content[range].fill(byte);
                image.bitmaps.values_mut().for_each(|bitmap| bitmap.write(*at, *length));
            }
            Act::Commit { file, .. } => {
                let Some(image) = &mut self.images[*file] else { return };
                image.may_be_written();
                let (mut content, Some(base)) = (image.content.clone(), image.backing) else { return };
                let Some(base) = &mut self.images[base] else { return };
                content.extend(base.content.iter().skip(content.len()));
                base.show(content);
            }
            Act::Rebase { file, to, .. } => {
                if let Some(image) = &mut self.images[*file] {
                    image.backing = *to;
                    image.may_be_written();
                }
            }
            Act::Convert { .. } => self.convert(&command.act),
            Act::Dd { from, to, block, skip, count } => {
                let Some(image) = self.image(*from) else { return };
                // QEMU counts from the beginning, whatever is skipped.
                let end = image.size().min(count * block);
                let start = end.min(skip * block);
                let content = image.content[start as usize..end as usize].to_vec();
                self.make(*to, &Options::RAW, content, None);
            }
            Act::Resize { file, size } => {
                if let Some(image) = &mut self.images[*file] {
                    image.resize(*size);
                }
            }
            Act::Snapshot { file, slot, change } => {
                if let Some(image) = &mut self.images[*file] {
                    image.change_snapshot(*slot, *change);
                }
            }
            Act::Bitmap { file, slot, change } => {
                let merged = match change {
                    bitmaps::Change::Merge { from, slot } => {
                        self.image(*from).and_then(|from| from.bitmaps.get(slot)).cloned()
                    }
                    _ => None,
                };
                if let Some(image) = &mut self.images[*file] {
                    image.change_bitmap(*slot, *change, merged.as_ref());
                }
            }
            Act::Amend { file, option } => {
                if let Some(image) = &mut self.images[*file] {
                    image.amend(option);
                }
            }
            Act::Check { .. } => {}
            Act::Remove { file } => self.images[*file] = None,
        }
    }

    fn convert(&mut self, act: &Act) {
        let Act::Convert { from, to, options, snapshot, keep_backing, bitmaps, .. } = act else { return };
        let Some(image) = self.image(*from) else { return };
        let held = snapshot.and_then(|slot| image.snapshots.get(&slot));
        let content = held.unwrap_or(&image.content).clone();
        let backing = image.backing.filter(|_| *keep_backing);
        let kept = Some(image.bitmaps.clone()).filter(|_| *bitmaps).unwrap_or_default();
        self.make(*to, options, content, backing);
        if let Some(made) = &mut self.images[*to] {
            made.bitmaps = kept;
        }
    }

    fn make(&mut self, file: usize, options: &Options, content: Vec<u8>, backing: Option<usize>) {
        let options = options.clone();
        self.images[file] = Some(Image {
            options,
            content,
            backing,
            snapshots: BTreeMap::new(),
            bitmaps: BTreeMap::new(),
            may_hide: false,
        });
    }
}

fn can_change(image: &Image, tool: Tool, change: Change, (at, length): (u64, u64)) -> bool {
    let (cluster, end) = (image.options.cluster, at + length);
    let is_inside = length > 0 && end <= image.size();
    match change {
        Change::Write(_) | Change::Zero { .. } => is_inside,
        Change::Compressed(_) => {
            let is_whole = at.is_multiple_of(cluster) && (end.is_multiple_of(cluster) || end == image.size());
            // QEMU compresses into clusters that nothing has allocated, and stops at the first other one.
            let is_one = tool == Tool::Blk || length <= cluster;
            is_inside && image.options.can_compress() && is_whole && is_one
        }
    }
}
