//! `--list`: what a server exports.

use blk_nbd::{ExportInfo, Location};

use super::Done;
use super::arguments::Arguments;

/// The names of the transmission flags, from bit 1 on.
const FLAGS: [&str; 12] = [
    "readonly",
    "flush",
    "fua",
    "rotational",
    "trim",
    "zeroes",
    "df",
    "multi",
    "resize",
    "cache",
    "fast-zero",
    "block-status-payload",
];

pub(super) fn print(place: &Location, arguments: &Arguments) -> Done<()> {
    arguments.check_list()?;
    let exports = blk_nbd::list(&arguments.address(place), &arguments.client()?);
    let exports = exports.map_err(|error| error.to_string())?;
    print!("{}", shown(&exports));
    Ok(())
}

fn shown(exports: &[ExportInfo]) -> String {
    let mut lines = vec![format!("exports available: {}", exports.len())];
    for export in exports {
        lines.push(format!(" export: '{}'", export.name));
        if !export.description.is_empty() {
            lines.push(format!("  description: {}", export.description));
        }
        lines.push(format!("  size:  {}", export.size));
        let named = FLAGS.iter().enumerate().filter(|(bit, _)| export.flags & (2 << bit) != 0);
        let named: Vec<&str> = named.map(|(_, name)| *name).collect();
        lines.push(format!("  flags: {:#x} ( {} )", export.flags, named.join(" ")));
        if let Some([least, best, most]) = export.block_sizes {
            lines.push(format!("  min block: {least}"));
            lines.push(format!("  opt block: {best}"));
            lines.push(format!("  max block: {most}"));
        }
        lines.push(format!("  transaction size: {}-bit", if export.long_requests { 64 } else { 32 }));
        lines.push(format!("  available meta contexts: {}", export.contexts.len()));
        lines.extend(export.contexts.iter().map(|context| format!("   {context}")));
    }
    lines.join("\n") + "\n"
}
