//! At which prefix of its requests a scenario begins to fail.

use blk_page::{Plot, Shape};
use maud::{Markup, html};

use crate::blame::{Prefix, Verdict, first_same};
use crate::scenario::Scenario;

const WORDS: [&str; 3] = ["nothing", "something else", "this finding"];

pub(super) fn section(blame: &[Prefix], scenario: &Scenario) -> Markup {
    if blame.is_empty() {
        return html! {};
    }
    let points: Vec<(f64, f64)> =
        blame.iter().map(|prefix| (f64::from(prefix.requests as u32), height(*prefix))).collect();
    let plot = Plot {
        title: "What the first requests alone find",
        x: "first requests that are made",
        points: &points,
        shape: Shape::Steps,
        words: &WORDS,
    };
    html! {
        section aria-labelledby="blame" {
            h2 #blame { "Which request is to blame" }
            p { (told(blame, scenario)) }
            (plot.figure())
            details {
                summary { "The prefixes, one by one" }
                ul {
                    @for prefix in blame {
                        li { "requests: " (prefix.requests) "; found: " (word(*prefix)) }
                    }
                }
            }
        }
    }
}

fn level(prefix: Prefix) -> u8 {
    match prefix.verdict {
        Verdict::Clean => 0,
        Verdict::Other => 1,
        Verdict::Same => 2,
    }
}

fn height(prefix: Prefix) -> f64 {
    f64::from(level(prefix))
}

fn word(prefix: Prefix) -> &'static str {
    WORDS[usize::from(level(prefix))]
}

fn told(blame: &[Prefix], scenario: &Scenario) -> String {
    let Some(first) = first_same(blame) else {
        return "No prefix that was tried finds the same.".to_owned();
    };
    let Some(request) = first.checked_sub(1).and_then(|index| scenario.requests.get(index)) else {
        return "It fails without any request.".to_owned();
    };
    let is_exact = blame.iter().any(|prefix| prefix.requests + 1 == first);
    let before =
        if is_exact { "without it the first requests do not find it" } else { "shorter ones were not tried" };
    format!("The requests up to #{first} ({request}) find it; {before}.")
}
