//! Content of QEMU's formats: qemu-img makes a file, and qemu-io has it open.

use std::fmt::Write as _;

use blk_harness::scenario::Request;

use super::shown::Shown;
use super::{Task, command, not_asked, over_file, quoted, quoted_words, verified_reads};

/// What qemu-io says where something is wrong.
const WRONG: &str = "verification failed|failed:|can.t open|Assertion";
/// Judges what a program has said, in `$said`.
pub(super) fn judge_said() -> String {
    format!("if echo \"$said\" | grep -Eq \"{WRONG}\"; then bug 'a request has gone wrong'; fi")
}

/// A function `judge_end`: how qemu-io has ended, with `$code`, where it was to end with `$1`.
pub(super) const JUDGE_END: &str = r#"judge_end() {
    case $code in
        "$1") ;;
        126|127) trouble 'qemu-io cannot run' ;;
        124|137) bug 'qemu-io does not end' ;;
        *) bug "qemu-io has ended with $code" ;;
    esac
}
"#;
/// What ends a program that does not end by itself.
pub(super) const BOUND: &str = "timeout -k 5 60";

impl Task {
    /// A program of QEMU with the options that open the image, over `file`, options of the file's driver.
    pub(super) fn tool(&self, program: &str, file: &str) -> String {
        let reproduce = self.description().reproduce.as_ref();
        let mut options = reproduce.map_or_else(String::new, |it| format!("driver={}", it.qemu_format));
        let _ = write!(options, ",discard={},{file}", if self.discards { "unmap" } else { "ignore" });
        for (name, value) in &self.names.open_options {
            let value = match value {
                serde_json::Value::Bool(true) => "on".to_owned(),
                serde_json::Value::Bool(false) => "off".to_owned(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let _ = write!(options, ",{name}={value}");
        }
        let (mut words, mut more) = (Vec::new(), "");
        if let Some(it) = reproduce {
            words.clone_from(&it.arguments);
            more = &it.options;
        }
        if !more.is_empty() {
            let _ = write!(options, ",{more}");
        }
        let words = if words.is_empty() { String::new() } else { format!(" {}", quoted_words(&words)) };
        format!("{program}{words} --image-opts {}", quoted(&options))
    }
}

/// The script.
pub(super) fn script(task: &Task) -> String {
    let mut script = task.head() + &task.check_function();
    script += JUDGE_END;
    let open = task.tool(&format!("{BOUND} stdbuf -oL qemu-io -t writeback"), &over_file());
    let judge = judge_said();
    let _ = writeln!(
        script,
        "# The code that it ends with, and its commands.\n\
         run() {{\n    want=$1; shift; code=0; said=$({open} \"$@\" 2>&1) || code=$?\n    echo \"$said\"\n    \
         {judge}\n    \
         judge_end $want\n}}"
    );
    let mut shown = Shown::zeroes(task.size);
    let mut commands = String::new();
    for (request, is_taken) in &task.requests {
        match *request {
            ref refused if !is_taken => not_asked(&mut script, refused),
            Request::Status { .. } => not_asked(&mut script, request),
            Request::Read { offset, length } => commands += &verified_reads(&shown, offset, length),
            Request::Reopen { kill } => {
                if kill {
                    // What a killed process leaves need not pass a check before it is opened again.
                    commands += &(command("flush") + &command("abort"));
                    run(&mut script, ABORTED, &mut commands);
                } else {
                    run(&mut script, ENDED, &mut commands);
                    script.push_str("check\n");
                }
            }
            Request::Check { .. } => {
                run(&mut script, ENDED, &mut commands);
                script.push_str("check\n");
            }
            ref other => {
                if let Request::Discard { offset, length } = *other {
                    // Afterwards nobody can tell what it has to show.
                    commands += &verified_reads(&shown, offset, length);
                }
                commands += &command(&other.to_string());
                shown.make(other);
            }
        }
    }
    run(&mut script, ENDED, &mut commands);
    commands += &verified_reads(&shown, 0, shown.size());
    run(&mut script, ENDED, &mut commands);
    script + "check\necho 'nothing is wrong'\n"
}

/// What qemu-io ends with after its last command, and after `abort`.
const ENDED: u32 = 0;
pub(super) const ABORTED: u32 = 134;

fn run(script: &mut String, code: u32, commands: &mut String) {
    if !commands.is_empty() {
        let _ = writeln!(script, "run {code}{commands}");
        commands.clear();
    }
}
