//! Rules about source files: sizes, forbidden words, what a library may not do.

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Words that never belong into a commit. Split, so that this file passes its own check.
const FORBIDDEN: [(&str, &str); 6] = [
    (concat!("unsafe", " {"), "unsafe code is forbidden"),
    (concat!("unsafe", " fn"), "unsafe code is forbidden"),
    (concat!("#[", "ignore"), "a test that is ignored tests nothing"),
    (concat!("todo", "!("), "unfinished"),
    (concat!("unimplemented", "!("), "unfinished"),
    (concat!("dbg", "!("), "left over from debugging"),
];

/// What libraries below the binaries do not do.
const NOT_IN_LIBRARIES: [(&str, &str); 6] = [
    ("println!", "a library does not print"),
    ("Instant::now", "a library reads no clock"),
    ("SystemTime::now", "a library reads no clock"),
    ("std::env", "a library reads no environment"),
    ("rand::rng()", "a library uses no global random generator"),
    ("thread_rng", "a library uses no global random generator"),
];

const LIBRARIES: [&str; 4] = ["blk-core/src/", "blk-raw/src/", "blk-qcow2/src/", "blk-verify/src/"];

/// What is wrong with a source file, a line each.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > FILE_LINES_MAX {
        broken.push(format!("{path}: {} lines, allowed are {FILE_LINES_MAX}", lines.len()));
    }
    let is_library = LIBRARIES.iter().any(|folder| path.starts_with(folder)) && !path.ends_with("/tests.rs");
    let tests_start = lines.iter().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut words: Vec<_> = FORBIDDEN.to_vec();
        if is_library && index < tests_start {
            words.extend(NOT_IN_LIBRARIES);
        }
        for (word, why) in words {
            if code.contains(word) {
                broken.push(format!("{path}:{}: '{word}': {why}", index + 1));
            }
        }
    }
    broken.extend(long_functions(path, &lines));
    broken
}

/// Functions by their indentation: from `fn` to the brace in the same column.
fn long_functions(path: &str, lines: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (index, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if let Some((start, column)) = open
            && indent == column
            && line.trim_start().starts_with('}')
        {
            let length = index - start + 1;
            if length > FUNCTION_LINES_MAX {
                let allowed = format!("allowed are {FUNCTION_LINES_MAX}");
                broken.push(format!("{path}:{}: a function of {length} lines, {allowed}", start + 1));
            }
            open = None;
        }
        if open.is_none() && starts_function(line.trim_start()) && !line.trim_end().ends_with(['}', ';']) {
            open = Some((index, indent));
        }
    }
    broken
}

fn starts_function(line: &str) -> bool {
    let mut rest = line;
    for word in ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "extern "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest.starts_with("fn ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_passes() {
        let text =
            "//! Doc.\nfn f() {\n    work();\n}\n#[cfg(test)]\nmod tests {\n    fn t() { println!(); }\n}\n";
        assert_eq!(check("blk-core/src/a.rs", text), [""; 0]);
    }

    #[test]
    fn each_rule_catches_its_breach() {
        let long = format!("fn f() {{\n{}}}\n", "    work();\n".repeat(70));
        assert!(check("a.rs", &long)[0].contains("a function of 72 lines"));
        assert!(check("a.rs", &"\n".repeat(501))[0].contains("501 lines"));
        for (word, _) in FORBIDDEN {
            assert_eq!(check("a.rs", word).len(), 1, "{word}");
        }
        for (word, _) in NOT_IN_LIBRARIES {
            assert_eq!(check("blk-qcow2/src/a.rs", word).len(), 1, "{word}");
            assert!(check("xtask/src/a.rs", word).is_empty(), "{word}");
        }
    }

    #[test]
    fn comments_may_say_anything() {
        assert!(check("a.rs", concat!("// no todo", "!(\"here\")")).is_empty());
    }
}
