//! Persistent bitmaps of an image that is opened for writing: they are read and kept, but not followed.

use blk_core::{Access, Detail, Disk};

/// What has to be said before `disk`, which is called `name`, is written; `None` where no bitmap gets lost.
pub(crate) fn warning(name: &str, disk: &Disk) -> Option<String> {
    if disk.access() == Access::ReadOnly {
        return None;
    }
    let info = disk.as_info()?.info().ok()?;
    let (_, Detail::List(bitmaps)) = info.details.iter().find(|(name, _)| *name == "bitmaps")? else {
        return None;
    };
    let names: Vec<String> = bitmaps.iter().filter_map(bitmap_name).map(|name| format!("'{name}'")).collect();
    let what = if names.len() == 1 { "bitmap" } else { "bitmaps" };
    let names = names.join(", ");
    let name = if name.is_empty() { "the image".to_owned() } else { format!("'{name}'") };
    Some(format!(
        "warning: {name} has the persistent {what} {names}: writing bitmaps is not supported, so the first change of the \
         image drops them for good"
    ))
}

fn bitmap_name(bitmap: &Detail) -> Option<&str> {
    let Detail::Group(members) = bitmap else { return None };
    members.iter().find_map(|(name, detail)| match detail {
        Detail::Text(text) if *name == "name" => Some(text.as_str()),
        _ => None,
    })
}
