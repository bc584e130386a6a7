//! The frame of every page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
/// The browser loads nothing, whatever a page contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// What a page is about.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Its title, as plain text.
    pub title: &'a str,
    /// One sentence below it, as plain text.
    pub lead: &'a str,
}

impl Page<'_> {
    /// The whole file.
    pub fn render(&self, body: &Markup) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header {
                        h1 { (self.title) }
                        p.lead { (self.lead) }
                    }
                    main #main { (body) }
                }
            }
        };
        page.into_string()
    }
}

/// What may be wider than the page: it scrolls by itself, and the keyboard reaches it. `name` says what it
/// is.
pub fn scrolling(name: &str, body: &Markup) -> Markup {
    html! { div.scrolling role="region" aria-label=(name) tabindex="0" { (body) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_all_of_itself_inside_and_escapes_what_it_is_given() {
        let page = Page { title: "<b>", lead: "\"&'<script>" };
        let text = page.render(&scrolling("<i>", &html! { p { "</main>" } }));
        for outside in ["http://", "https://", " src=", "url(", "@import", "<script", "<link", "<b>", "<i>"] {
            assert!(!text.contains(outside), "{outside} in {text}");
        }
        assert_eq!(text.matches("</main>").count(), 1);
        assert!(text.starts_with("<!DOCTYPE html>") && text.contains("default-src 'none'"));
    }
}
