//! Rules about source files: sizes, forbidden words, what a library may not do.

const FILE_LINES_MAX: usize = 500;

/// Words that never belong into a commit. Split, so that this file passes its own check.
const FORBIDDEN: [(&str, &str); 5] = [
    // Followed by a space: blocks, functions, traits, implementations. The lint `unsafe_code` may be named.
    (concat!("unsafe", " "), "forbidden, in every form"),
    (concat!("#[", "ignore"), "a test that is ignored tests nothing"),
    (concat!("todo", "!("), "unfinished"),
    (concat!("unimplemented", "!("), "unfinished"),
    (concat!("dbg", "!("), "left over from debugging"),
];

/// Files that implement a trait of others with methods that are declared so, and what the lines must begin
/// with. The lint `unsafe_op_in_unsafe_fn` sees that their bodies do nothing of the kind.
const DEMANDED: [(&str, &str); 1] = [("foreign/src/imago/storage.rs", concat!("async unsafe", " fn "))];

/// What libraries below the binaries do not do.
const NOT_IN_LIBRARIES: [(&str, &str); 7] = [
    ("println!", "a library does not print"),
    ("print!", "a library does not print"),
    ("Instant::now", "a library reads no clock"),
    ("SystemTime::now", "a library reads no clock"),
    ("std::env", "a library reads no environment"),
    ("rand::rng()", "a library uses no global random generator"),
    ("thread_rng", "a library uses no global random generator"),
];

const CFG_TEST: &str = "#[cfg(test)]";

const LIBRARIES: [&str; 6] =
    ["blk-core/src/", "blk-raw/src/", "blk-luks/src/", "blk-qcow2/src/", "blk-verify/src/", "blk-sim/src/"];

/// What is wrong with a source file, a line each. `only_tests`: no part of it is built outside of tests.
pub(super) fn check(path: &str, text: &str, only_tests: bool) -> Vec<String> {
    let mut broken = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > FILE_LINES_MAX {
        broken.push(format!("{path}: {} lines, allowed are {FILE_LINES_MAX}", lines.len()));
    }
    let is_library = !only_tests && LIBRARIES.iter().any(|folder| path.starts_with(folder));
    let tests_start = inline_tests_start(&lines);
    for (index, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if DEMANDED.iter().any(|(file, start)| path == *file && code.trim_start().starts_with(start)) {
            continue;
        }
        let library_words: &[_] = if is_library && index < tests_start { &NOT_IN_LIBRARIES } else { &[] };
        let breach = |(word, _): &&(&str, &str)| code.contains(word);
        if let Some((word, why)) = FORBIDDEN.iter().chain(library_words).find(breach) {
            broken.push(format!("{path}:{}: '{}': {why}", index + 1, word.trim_end()));
        }
    }
    broken
}

/// Where the tests begin that stand in the file itself; by custom, they are its end.
fn inline_tests_start(lines: &[&str]) -> usize {
    let is_start =
        |pair: &[&str]| pair[0].trim() == CFG_TEST && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(is_start).unwrap_or(lines.len())
}

/// The files of the modules that `path` declares for tests only, whichever of both layouts they have.
pub(super) fn test_modules(path: &str, text: &str) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let (parent, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let folder = if ["lib", "main", "mod"].contains(&name) { parent } else { stem };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == CFG_TEST).filter_map(|pair| {
        let rest = pair[1].trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        rest.strip_prefix("mod ")?.strip_suffix(';')
    });
    declared
        .flat_map(|module| [format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_passes() {
        let text =
            "//! Doc.\nfn f() {\n    work();\n}\n#[cfg(test)]\nmod tests {\n    fn t() { println!(); }\n}\n";
        assert_eq!(check("blk-core/src/a.rs", text, false), [""; 0]);
        assert_eq!(check("peers/src/a.rs", concat!("unsafe", "_code = \"forbid\""), false), [""; 0]);
    }

    #[test]
    fn a_declared_test_module_does_not_excuse_the_rest_of_the_file() {
        let text = "#[cfg(test)]\nmod tests;\nfn f() {\n    println!();\n}\n";
        assert_eq!(check("blk-core/src/a.rs", text, false).len(), 1);
        assert_eq!(test_modules("blk-core/src/a.rs", text)[0], "blk-core/src/a/tests.rs");
        assert_eq!(test_modules("blk-core/src/lib.rs", text)[1], "blk-core/src/tests/mod.rs");
        assert!(check("blk-core/src/a/tests.rs", "println!();", true).is_empty());
        assert_eq!(check("blk-core/src/a/tests.rs", concat!("dbg", "!(1)"), true).len(), 1);
    }

    #[test]
    fn each_rule_catches_its_breach() {
        assert!(check("a.rs", &"\n".repeat(501), false)[0].contains("501 lines"));
        for kind in ["{", "fn f();", "impl T for S {}", "trait T {}"] {
            assert_eq!(check("a.rs", &format!("{} {kind}", "unsafe"), false).len(), 1, "{kind}");
        }
        let demanded = |path| check(path, concat!("    async unsafe", " fn f() {}\n"), false).len();
        assert_eq!((demanded(DEMANDED[0].0), demanded("foreign/src/imago.rs")), (0, 1));
        assert_eq!(check(DEMANDED[0].0, concat!("unsafe", " {"), false).len(), 1);
        for (word, _) in FORBIDDEN {
            assert_eq!(check("a.rs", word, false).len(), 1, "{word}");
        }
        for (word, _) in NOT_IN_LIBRARIES {
            assert_eq!(check("blk-qcow2/src/a.rs", word, false).len(), 1, "{word}");
            assert!(check("xtask/src/a.rs", word, false).is_empty(), "{word}");
        }
    }

    #[test]
    fn comments_may_say_anything() {
        assert!(check("a.rs", concat!("// no todo", "!(\"here\")"), false).is_empty());
    }
}
