//! Pages about findings of every engine, as `repro` writes them, and what a real browser makes of them.

mod pages {
    pub(crate) mod drivers;
    pub(crate) mod papers;
}

use std::path::{Path, PathBuf};

use blk_harness::scenario::Scenario;
use blk_harness::{Suite, repro};
use blk_page::testing::{Browser, look_at};
use pages::drivers::SUITES;
use pages::papers;

const REQUESTS: &str =
    "write 0 8k\nflush\nwrite 4k 4k\nread 0 8k\nread 4k 4k\nwrite -z 0 4k\nwrite 8k 4k\nflush\nread 0 16k\n";

/// The folder for pages: a fresh one, or the one that the environment names, for people to look at.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = std::env::var_os("BLK_PAGES").map_or_else(|| folder.path().to_owned(), PathBuf::from);
    (folder, out)
}

/// A scenario in which this suite finds something.
fn scenario_of(suite: &Suite) -> Scenario {
    let parse = |config: &str, requests: &str| {
        let text = format!("blk-scenario 1\nconfig size-bytes=256k cluster_size=4k {config}\n{requests}");
        Scenario::from_text(&text).unwrap()
    };
    if suite.name() != "page_race" {
        return parse("", REQUESTS);
    }
    // The one that gives way between its read and its write.
    let gives_way = |points: u8| {
        let writes = format!("write 0 4k\nflush\n@{points} write 0 256\nwrite 256 256\nread 0 512\n");
        parse("lanes=3", &writes)
    };
    let finds = |scenario: &Scenario| suite.replay(scenario).finding().is_some();
    (1..40).map(gives_way).find(finds).expect("some turn comes between")
}

/// Writes the page of a finding of this suite; its path, and its text.
fn page_of(suite: &Suite, out: &Path) -> (PathBuf, String) {
    let scenario = scenario_of(suite);
    assert!(repro::reproduce_scenario(suite, scenario, out).unwrap(), "{suite:?} finds nothing");
    let begins = suite.name().replace('_', "-");
    let mut files = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let is_page = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(&begins) && name.ends_with(".finding.html")
    };
    let page = files.find(is_page).expect("a page lies beside the trace");
    let text = std::fs::read_to_string(&page).unwrap();
    (page, text)
}

/// No page has anything that a browser would load or run: neither such a tag, nor such an attribute.
fn stands_alone(text: &str) {
    let (head, body) = text.split_once("</style>").expect("a page has a style");
    for outside in ["url(", "@import", "http://", "https://"] {
        assert!(!head.contains(outside), "{outside} in {head}");
    }
    for tag in body.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
        let name = tag.split_whitespace().next().unwrap_or_default();
        let loads = ["script", "link", "iframe", "img", "object", "embed", "base", "form", "image", "use"];
        assert!(!loads.contains(&name), "<{tag}>");
        // The text in quotes is a value: quotes inside it are escaped.
        for name in tag.split('"').step_by(2) {
            let name = name.trim().trim_end_matches('=');
            let runs = name == "src"
                || name == "srcset"
                || name.starts_with("on")
                || name.contains("href") && !tag.contains("href=\"#");
            assert!(!runs, "<{tag}>");
        }
    }
}

/// The sections of a page, by their names.
fn sections(text: &str) -> Vec<&str> {
    text.split("aria-labelledby=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn a_page_of_each_engine_tells_what_went_wrong() {
    let (_folder, out) = folder();
    let bytes = ["requests", "sector", "disk", "file", "blame", "reproduce", "report"];
    for suite in &SUITES {
        let (_, text) = page_of(suite, &out);
        stands_alone(&text);
        let sections = sections(&text);
        let has = |name: &str| sections.contains(&name);
        assert_eq!(
            has("provoked"),
            ["page_crash", "page_fault"].contains(&suite.name()),
            "{suite:?} {sections:?}"
        );
        let needed = bytes
            .iter()
            .filter(|name| **name != "sector" || ["page_sequence", "page_race"].contains(&suite.name()));
        let missing: Vec<_> = needed.filter(|name| !has(name)).collect();
        assert!(missing.is_empty(), "{suite:?}: {missing:?} are missing");
        for word in
            ["L2 table", "refcount block", "header", "A Rust test", "With programs of others", "this finding"]
        {
            assert!(text.contains(word), "{suite:?}: {word}");
        }
        for word in ["class=\"lanes\"", "turn: gives way", "in flight with"] {
            assert_eq!(text.contains(word), suite.name() == "page_race", "{suite:?}: {word}");
        }
    }
}

#[test]
fn a_page_has_what_is_known_and_nothing_else_and_escapes_it() {
    for (name, text) in papers::all() {
        stands_alone(&text);
        assert!(text.len() < 4 << 20, "{name}: {}", text.len());
        assert!(text.matches("<h2").count() >= 1, "{name}");
    }
    let text = papers::hostile();
    assert!(text.contains("&lt;script&gt;") && !sections(&text).contains(&"sector"));
    // What an entry that points to the wrong cluster does to the image.
    let text = papers::open();
    assert!(
        text.contains("claimed twice") && text.contains("leaked") && !sections(&text).contains(&"requests")
    );
    let text = papers::large();
    assert!(text.matches("<li").count() > 3000 && text.contains("Requests #9 to #"), "{}", text.len());
}

#[test]
fn a_browser_shows_pages_of_all_engines() {
    let (_folder, out) = folder();
    let Some(browser) = Browser::start() else { return };
    for suite in &SUITES {
        let (page, _) = page_of(suite, &out);
        look_at(&browser, &page);
        browser.photograph(&page, &out.join(format!("{}.png", suite.name())), suite.name() == "page_fault");
    }
    for (name, text) in papers::all() {
        let path = out.join(format!("{name}.html"));
        std::fs::write(&path, text).unwrap();
        look_at(&browser, &path);
        browser.photograph(&path, &path.with_extension("png"), false);
    }
}
