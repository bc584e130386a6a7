//! How sizes, times, rates and bytes are shown.

use std::fmt::Write;
use std::time::Duration;

/// Bytes in a line of a dump.
const DUMP_BYTES: usize = 16;

const UNITS: [(f64, &str); 6] = [
    (1_152_921_504_606_846_976.0, " EiB"),
    (1_125_899_906_842_624.0, " PiB"),
    (1_099_511_627_776.0, " TiB"),
    (1_073_741_824.0, " GiB"),
    (1_048_576.0, " MiB"),
    (1024.0, " KiB"),
];

/// What was transferred, and how long it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transfer {
    /// The word that the report starts with.
    pub(crate) verb: &'static str,
    /// First byte.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// From submission to completion.
    pub(crate) elapsed: Duration,
}

/// How a transfer is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    /// Two lines for people.
    #[default]
    Lines,
    /// One line of values with commas between.
    Values,
}

impl Transfer {
    /// The report.
    pub(crate) fn report(&self, style: Style) -> String {
        let Self { verb, offset, length, elapsed } = *self;
        let seconds = elapsed.max(Duration::from_nanos(1)).as_secs_f64();
        let (rate, ops) = (float(length) / seconds, 1.0 / seconds);
        match style {
            Style::Lines => {
                let (size, time, rate) = (bytes(length), time(elapsed), human(rate));
                format!(
                    "{verb} {length}/{length} bytes at offset {offset}\n{size}, 1 ops; {time} ({rate}/sec and {ops:.4} ops/sec)\n"
                )
            }
            Style::Values => format!("{length},1,{},{rate:.3},{ops:.3}\n", clock(elapsed)),
        }
    }
}

/// A number of bytes in the largest unit that it fills, as `1.500 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    human(float(count))
}

/// As [`bytes`], for a number with a fraction, such as a rate.
///
/// Bytes have six decimals, larger units three; they are left out where the first three are zero.
pub(crate) fn human(value: f64) -> String {
    let (mut text, unit) = match UNITS.iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) => (format!("{:.3}", value / size), *unit),
        None => (format!("{value:.6}"), " bytes"),
    };
    if let Some(end) = text.find(".000") {
        text.truncate(end);
    }
    text.push_str(unit);
    text
}

#[expect(clippy::cast_precision_loss, reason = "shown with three decimals")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Below a second `00.25 sec`, from there on [`clock`].
fn time(elapsed: Duration) -> String {
    if elapsed.as_secs() > 0 { clock(elapsed) } else { format!("00.{:02} sec", hundredths(elapsed)) }
}

/// Hours, minutes, seconds and hundredths: `0:01:02.50`.
fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours}:{minutes:02}:{seconds:02}.{:02}", hundredths(elapsed))
}

fn hundredths(elapsed: Duration) -> u32 {
    elapsed.subsec_millis() / 10
}

/// The lines that show `data`, which starts at `offset` of the disk: offset, bytes, characters.
pub(crate) fn dump(offset: u64, data: &[u8]) -> impl Iterator<Item = String> + '_ {
    data.chunks(DUMP_BYTES).zip(0u64..).map(move |(line, index)| dump_line(offset + index * 16, line))
}

fn dump_line(offset: u64, line: &[u8]) -> String {
    let mut text = format!("{offset:08x}:  ");
    for byte in line {
        let _ = write!(text, "{byte:02x} ");
    }
    text.push(' ');
    text.extend(line.iter().map(|byte| if byte.is_ascii_alphanumeric() { char::from(*byte) } else { '.' }));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_show_decimals_only_where_there_are_some() {
        let cases = [
            (0, "0 bytes"),
            (512, "512 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.500 KiB"),
            (197_120, "192.500 KiB"),
            (1 << 20, "1 MiB"),
            ((1 << 20) - 1, "1023.999 KiB"),
            ((1 << 30) - 1, "1024 MiB"),
            (1_000_000_000, "953.674 MiB"),
            (1 << 40, "1 TiB"),
            (3 << 59, "1.500 EiB"),
            (i64::MAX.unsigned_abs(), "8 EiB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn rates_in_bytes_have_six_decimals() {
        assert_eq!(human(252.995_146), "252.995146 bytes");
        assert_eq!(human(0.0), "0 bytes");
        assert_eq!(human(7.000_9), "7 bytes");
        assert_eq!(human(138_444.8), "135.200 KiB");
    }

    #[test]
    fn a_report_has_two_lines() {
        let elapsed = Duration::from_millis(250);
        let transfer = Transfer { verb: "wrote", offset: 1024, length: 1 << 20, elapsed };
        assert_eq!(
            transfer.report(Style::Lines),
            "wrote 1048576/1048576 bytes at offset 1024\n1 MiB, 1 ops; 00.25 sec (4 MiB/sec and 4.0000 ops/sec)\n"
        );
        assert_eq!(transfer.report(Style::Values), "1048576,1,0:00:00.25,4194304.000,4.000\n");
    }

    #[test]
    fn long_transfers_show_a_clock() {
        let transfer = |elapsed| Transfer { verb: "read", offset: 0, length: 512, elapsed };
        let report = transfer(Duration::from_millis(1310)).report(Style::Lines);
        assert!(report.ends_with("512 bytes, 1 ops; 0:00:01.31 (390.839695 bytes/sec and 0.7634 ops/sec)\n"));
        let report = transfer(Duration::from_secs(5357)).report(Style::Values);
        assert!(report.starts_with("512,1,1:29:17.00,"), "{report}");
    }

    #[test]
    fn a_transfer_that_took_no_time_has_a_finite_rate() {
        let transfer = Transfer { verb: "read", offset: 0, length: 0, elapsed: Duration::ZERO };
        assert!(transfer.report(Style::Lines).ends_with("(0 bytes/sec and 1000000000.0000 ops/sec)\n"));
    }

    #[test]
    fn a_dump_shows_sixteen_bytes_in_a_line() {
        let lines: Vec<_> = dump(0x1f4, b"abc 0123456789zZ\x00\xffq").collect();
        assert_eq!(
            lines,
            [
                "000001f4:  61 62 63 20 30 31 32 33 34 35 36 37 38 39 7a 5a  abc.0123456789zZ\n",
                "00000204:  00 ff 71  ..q\n",
            ]
        );
    }
}
