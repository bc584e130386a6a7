//! A command whose image's file failed it: what the image shows then is what it showed before or what the
//! command was to make of it, sector by sector, and it is sound but for leaks.

use std::fs;

use serde_json::Value;

use crate::command::{Act, Command, Tool, words};
use crate::model::{Image, World};
use crate::options::Kind;
use crate::{Broken, HELD, Run};

const SECTOR: usize = 512;

impl Run<'_> {
    /// Finds out what a command that failed has done, and goes on from there.
    pub(crate) fn settle(&mut self, command: &Command, after: &str) -> Result<(), Broken> {
        let mut done = self.world.clone();
        done.apply(command);
        for file in command.touched(&self.world) {
            self.settle_image(command, &done, file, after)?;
        }
        Ok(())
    }

    fn settle_image(
        &mut self,
        command: &Command,
        done: &World,
        file: usize,
        after: &str,
    ) -> Result<(), Broken> {
        let (Some(before), Some(intended)) = (self.world.image(file), done.image(file)) else {
            return Ok(());
        };
        let (before, intended) = (before.clone(), intended.clone());
        let [reader, judge] = command.judges;
        let info = self.info(reader, file);
        let told: Value = serde_json::from_slice(&info.stdout).unwrap_or_default();
        if before.options.kind == Kind::Qcow2 {
            self.check_failed(file, judge, told["dirty-flag"] == true, after)?;
        }
        let content = self.content(reader, file, after)?;
        let is_whole = matches!(command.act, Act::Snapshot { .. });
        let sizes = [before.size(), intended.size()];
        let is_right = sizes.contains(&(content.len() as u64))
            && if is_whole {
                content == before.content || content == intended.content
            } else {
                is_of_either(&content, &before.content, &intended.content)
            };
        if !is_right {
            return Err(self.broken(format!("after a failure in {after}, an image shows neither"), &info));
        }
        match adopted(&before, &intended, content, &told, done) {
            Some(image) => self.world.images[file] = Some(image),
            None => {
                return Err(self.broken(format!("after a failure in {after}, an image says neither"), &info));
            }
        }
        Ok(())
    }

    /// Leaks may be left, and counts where a mark says that they may be wrong; a repair gives them back.
    fn check_failed(&mut self, file: usize, tool: Tool, is_marked: bool, after: &str) -> Result<(), Broken> {
        let address = self.world.address(file, None);
        let checked = self.call(Tool::Blk, "img", &words(&["check", "-f", "qcow2", &address]));
        if !matches!(checked.status.code(), Some(0 | 3)) && !is_marked {
            return Err(self.broken(format!("a failure in {after} damages an image"), &checked));
        }
        let which = if is_marked { "all" } else { "leaks" };
        let repaired = self.call(tool, "img", &words(&["check", "-r", which, "-f", "qcow2", &address]));
        if !repaired.status.success() {
            return Err(
                self.broken(format!("an image is not repaired after a failure in {after}"), &repaired)
            );
        }
        Ok(())
    }

    fn content(&mut self, tool: Tool, file: usize, after: &str) -> Result<Vec<u8>, Broken> {
        let (kind, address) = (
            self.world.image(file).map_or("raw", |image| image.options.kind.name()),
            self.world.address(file, None),
        );
        let read = self.call(tool, "img", &words(&["convert", "-f", kind, "-O", "raw", &address, HELD]));
        if !read.status.success() {
            return Err(self.broken(format!("an image cannot be read after a failure in {after}"), &read));
        }
        Ok(fs::read(self.folder.join(HELD)).unwrap_or_default())
    }
}

/// Whether each sector is that of one of the two, which read as zeroes behind their end.
fn is_of_either(found: &[u8], before: &[u8], after: &[u8]) -> bool {
    found.chunks(SECTOR).enumerate().all(|(number, sector)| {
        let of = |content: &[u8]| {
            let start = (number * SECTOR).min(content.len());
            let end = (start + sector.len()).min(content.len());
            let (there, past) = sector.split_at(end - start);
            there == &content[start..end] && past.iter().all(|byte| *byte == 0)
        };
        of(before) || of(after)
    })
}

/// What the image is now, by what `info` tells of it: for each of its parts either what it was, or what it
/// was to become.
fn adopted(before: &Image, intended: &Image, content: Vec<u8>, told: &Value, world: &World) -> Option<Image> {
    let mut image = intended.clone();
    image.may_hide = before.may_hide || before.size() > intended.size();
    image.content = content;
    let held = |name: &Value| {
        let slot = name.as_str()?.strip_prefix('s')?.parse::<u8>().ok()?;
        let content = intended.snapshots.get(&slot).or_else(|| before.snapshots.get(&slot))?;
        Some((slot, content.clone()))
    };
    let listed = told["snapshots"].as_array().map_or(&[][..], Vec::as_slice);
    image.snapshots = listed.iter().map(|snapshot| held(&snapshot["name"])).collect::<Option<_>>()?;
    let is_known = |slot: &u8| image.snapshots.contains_key(slot);
    let lost = intended.snapshots.keys().find(|slot| before.snapshots.contains_key(slot) && !is_known(slot));
    if lost.is_some() {
        return None;
    }
    let name_of = |backing: Option<usize>| backing.map(|backing| world.backing_name(backing));
    let named = told["backing-filename"].as_str().map(str::to_owned);
    image.backing =
        [intended.backing, before.backing].into_iter().find(|backing| name_of(*backing) == named)?;
    if image.options.kind == Kind::Qcow2 {
        let data = &told["format-specific"]["data"];
        image.options.version = if data["compat"] == "0.10" { 2 } else { 3 };
        image.options.refcount_bits = u32::try_from(data["refcount-bits"].as_u64()?).ok()?;
        let is_either = [before, intended].iter().any(|of| of.options.version == image.options.version)
            && [before, intended].iter().any(|of| of.options.refcount_bits == image.options.refcount_bits);
        is_either.then_some(())?;
    }
    Some(image)
}
