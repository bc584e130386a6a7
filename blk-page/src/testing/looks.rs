//! What every page has to stand.

use std::path::Path;

use super::browser::{Browser, ENTER, TAB};

/// What is wrong with a page as it is shown.
const LOOKS: &str = include_str!("looks.js");
/// Widths that pages are looked at in: a phone's, and a wide screen's.
const WIDTHS: [u32; 2] = [400, 1400];
/// Keys that are pressed at most.
const KEYS_MAX: usize = 3000;

/// All that can be reached, each with a number, in the order of the page.
const NUMBERED: &str = r#"
const all = [...document.querySelectorAll("a[href], summary, [tabindex]")];
all.forEach((element, index) => { element.dataset.number = index; });
return all.length;
"#;
/// Of what has the focus: its number, and whether it is to be opened.
const FOCUSED: &str = r#"
const element = document.activeElement;
if (!element || !element.dataset.number) return [-1, false];
return [Number(element.dataset.number), element.tagName === "SUMMARY" && !element.parentElement.open];
"#;
const CLOSED: &str =
    r#"return [...document.querySelectorAll("details")].filter((details) => !details.open).length;"#;

/// Looks at a page in the widths of a phone and of a screen, light and dark, with all of it closed and open;
/// goes through it by keyboard alone; and sees which requests it makes.
///
/// # Panics
/// If something is wrong.
pub fn look_at(browser: &Browser, file: &Path) {
    let _ = browser.requests();
    for width in WIDTHS {
        for is_dark in [false, true] {
            browser.open(file, width, is_dark);
            let look = |state: &str| {
                let wrong = browser.run(LOOKS);
                let wrong = wrong.as_array().expect("a list of lines");
                assert!(
                    wrong.is_empty(),
                    "{}, {width} wide, dark: {is_dark}, {state}: {wrong:#?}",
                    file.display()
                );
            };
            look("closed");
            if width == WIDTHS[0] && !is_dark {
                walk_through(browser, file);
            } else {
                browser.run(
                    "document.querySelectorAll('details').forEach((details) => { details.open = true; });",
                );
            }
            look("open");
        }
    }
    let file = format!("file://{}", file.canonicalize().expect("the page is there").display());
    let others: Vec<String> = browser.requests().into_iter().filter(|address| *address != file).collect();
    assert!(others.is_empty(), "requests that leave the page: {others:?}");
}

/// Reaches everything by the key TAB, and opens what is closed by ENTER.
fn walk_through(browser: &Browser, file: &Path) {
    let count = browser.run(NUMBERED).as_u64().expect("a number") as usize;
    let mut reached = vec![false; count];
    for _ in 0..KEYS_MAX {
        browser.press(TAB);
        let focused = browser.run(FOCUSED);
        let Some(number) = focused[0].as_u64() else { break };
        if std::mem::replace(&mut reached[number as usize], true) {
            break;
        }
        if focused[1] == true {
            browser.press(ENTER);
        }
    }
    let missed: Vec<usize> = (0..count).filter(|number| !reached[*number]).collect();
    assert!(missed.is_empty(), "{}: not reached by keyboard: {missed:?} of {count}", file.display());
    assert_eq!(browser.run(CLOSED), 0, "{}: the keyboard does not open all", file.display());
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use maud::{PreEscaped, html};

    use super::*;
    use crate::{Page, scrolling};

    const TEXT: &str = "<p>one</p><p>two</p><p>three</p><p>four</p>";

    /// What is said of a page with this in it.
    fn said(browser: &Browser, body: &str) -> Option<String> {
        let page = Page { title: "A page", lead: "about something" };
        let text = page.render(&html! { (PreEscaped(TEXT)) (PreEscaped(body)) });
        // A page that asks for something has no policy against it.
        let text =
            if body.contains("127.0.0.1") { text.replace("Content-Security-Policy", "x") } else { text };
        let file = std::env::temp_dir().join(format!("blk-page-{}.html", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let looked = catch_unwind(AssertUnwindSafe(|| look_at(browser, &file)));
        std::fs::remove_file(&file).unwrap();
        looked.err().map(|said| said.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    #[test]
    fn a_browser_sees_what_is_wrong() {
        let Some(browser) = Browser::start() else { return };
        let wide = "<div style=\"width:2000px\">wide</div>";
        let good = scrolling("wide", &html! { (PreEscaped(wide)) }).into_string();
        assert_eq!(said(&browser, &good), None);
        for (body, what) in [
            (wide, "overflows"),
            ("<p style=\"color:#999;background:#fff\">grey</p>", "contrast"),
            (&good.replace("tabindex", "title"), "scrolls without a key"),
            ("<details><summary tabindex=\"-1\">no</summary>hidden</details>", "not reached by keyboard"),
            ("<img alt=\"\" src=\"http://127.0.0.1:9/x.png\">", "requests that leave the page"),
        ] {
            let said = said(&browser, body).unwrap_or_default();
            assert!(said.contains(what), "{body}: {said}");
        }
    }
}
