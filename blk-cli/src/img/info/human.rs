//! The form for people.

use std::fmt::Write;

use blk_core::units::civil;
use blk_core::{Detail, SnapshotInfo};

use super::super::output::append;
use super::super::size::human;
use super::Report;

impl Report {
    /// The report, lines and all.
    pub(super) fn human(&self) -> String {
        let mut lines = vec![
            format!("image: {}", self.name),
            format!("file format: {}", self.image.format),
            format!("virtual size: {}", exact(self.size)),
        ];
        lines.push(format!("disk size: {}", occupied(self.file.and_then(|file| file.occupied))));
        if self.is_encrypted {
            lines.push("encrypted: yes".to_owned());
        }
        if let Some(bytes) = self.image.cluster_bytes {
            lines.push(format!("cluster_size: {bytes}"));
        }
        if self.image.is_dirty {
            lines.push("cleanly shut down: no".to_owned());
        }
        self.add_backing(&mut lines);
        let mut text = lines.join("\n") + "\n";
        if !self.image.snapshots.is_empty() {
            text.push_str(&snapshot_table(&self.image.snapshots));
        }
        if !self.image.details.is_empty() {
            text.push_str("Format specific information:\n");
            for (name, detail) in &self.image.details {
                write_detail(&mut text, &name.replace('-', " "), detail, 1);
            }
        }
        self.add_file(&mut text);
        text
    }

    fn add_backing(&self, lines: &mut Vec<String>) {
        let Some(backing) = &self.image.backing else { return };
        let actual = match &self.full_backing {
            Some(full) if *full != backing.name => format!(" (actual path: {full})"),
            _ => String::new(),
        };
        lines.push(format!("backing file: {}{actual}", backing.name));
        if let Some(format) = &backing.format {
            lines.push(format!("backing file format: {format}"));
        }
    }

    fn add_file(&self, text: &mut String) {
        let Some(file) = self.file else { return };
        let name = self.name.strip_prefix("file:").unwrap_or(&self.name);
        text.push_str("Child node '/file':\n");
        let lines = [
            format!("filename: {name}"),
            format!("protocol type: {}", file.protocol),
            format!("file length: {}", exact(file.length)),
            format!("disk size: {}", occupied(file.occupied)),
        ];
        for line in lines {
            append(text, format_args!("    {line}\n"));
        }
    }
}

/// Bytes on the host, where they are known.
fn occupied(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unavailable".to_owned(), human)
}

fn exact(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", human(bytes))
}

fn write_detail(text: &mut String, name: &str, detail: &Detail, level: usize) {
    let value = match detail {
        Detail::Switch(value) => format!(" {value}"),
        Detail::Number(value) => format!(" {value}"),
        Detail::Text(value) => format!(" {value}"),
        Detail::List(_) | Detail::Group(_) => String::new(),
    };
    append(text, format_args!("{}{name}:{value}\n", "    ".repeat(level)));
    match detail {
        Detail::List(values) => {
            for (index, value) in values.iter().enumerate() {
                write_detail(text, &format!("[{index}]"), value, level + 1);
            }
        }
        Detail::Group(details) => {
            for (name, detail) in details {
                write_detail(text, &name.replace('-', " "), detail, level + 1);
            }
        }
        Detail::Switch(_) | Detail::Number(_) | Detail::Text(_) => {}
    }
}

/// The list of snapshots, title and all.
pub(in super::super) fn snapshot_table(snapshots: &[SnapshotInfo]) -> String {
    let mut text = String::from("Snapshot list:\n");
    let heads = ["ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT"];
    write_row(&mut text, &heads.map(str::to_owned));
    for snapshot in snapshots {
        let milliseconds = snapshot.vm_clock_nanoseconds / 1_000_000;
        let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
        let clock = format!("{:04}:{:02}:{:02}.{rest:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let icount = snapshot.instruction_count.map_or_else(|| "--".to_owned(), |count| count.to_string());
        let date = date(u64::from(snapshot.date_seconds));
        let size = human(snapshot.vm_state_bytes);
        write_row(&mut text, &[snapshot.id.clone(), snapshot.name.clone(), size, date, clock, icount]);
    }
    text
}

fn write_row(text: &mut String, [id, tag, size, date, clock, icount]: &[String; 6]) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{id:<7} {tag:<16} {size:>8} {date:>19} {clock:>15} {icount:>10}");
}

/// `2026-11-25 01:57:31`, universal time.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(date(1_795_571_851), "2026-11-25 01:57:31");
        assert_eq!(date(u64::from(u32::MAX)), "2106-02-07 06:28:15");
    }
}
