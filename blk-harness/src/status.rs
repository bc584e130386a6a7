//! What a process says of itself every few seconds, as text: who runs `cargo fuzz` by hand reads it.

use std::time::Duration;

use serde_json::Value;

/// Counts that are shown as rates and shares.
const SHOWN: [&str; 5] = ["scenarios", "requests", "accepted", "bytes_compared", "bytes_read"];

/// One line: rates of scenarios and requests, shares in percent, then all other counts.
pub(crate) fn line(elapsed: Duration, counts: &Value) -> String {
    let count = |name: &str| counts[name].as_u64();
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let mut fields = vec![format!("blk: {:>4} s", elapsed.as_secs())];
    for name in ["scenarios", "requests"] {
        if let Some(count) = count(name) {
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
            fields.push(format!("{:.0} {name}/s", count as f64 / seconds));
        }
    }
    for (name, part, whole) in
        [("accepted", "accepted", "requests"), ("compared", "bytes_compared", "bytes_read")]
    {
        if let (Some(part), Some(whole @ 1..)) = (count(part), count(whole)) {
            fields.push(format!("{name} {} %", part * 100 / whole));
        }
    }
    if let Some(kinds) = counts["kinds"].as_array() {
        let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
        fields.push(format!("clusters: {}", kinds.join(" ")));
    }
    for (name, value) in counts.as_object().into_iter().flatten() {
        if let Some(count) = value.as_u64().filter(|_| !SHOWN.contains(&name.as_str())) {
            fields.push(format!("{} {count}", name.replace('_', " ")));
        }
    }
    fields.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_a_line() {
        let counts = serde_json::json!({
            "scenarios": 20, "requests": 200, "accepted": 190, "bytes_read": 8, "bytes_compared": 8,
            "kinds": ["data", "zero"], "transitions": 3,
        });
        assert_eq!(
            line(Duration::from_secs(2), &counts),
            "blk:    2 s | 10 scenarios/s | 100 requests/s | accepted 95 % | compared 100 % | clusters: data zero | transitions 3"
        );
    }
}
