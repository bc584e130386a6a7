//! Findings as data, and as JSON for programs that read one. [`crate::report`] makes the text.

use blk_core::{Extent, bytes};
use serde_json::{Value, json};

use crate::RequestKind;
use crate::journal::Entry;
use crate::reproduce;
use crate::scenario::Scenario;
use crate::stamp::Writer;

pub use blk_verify::finding::*;

/// What is known of a finding: `target` is what the scenario was run on. Members without a value are null.
/// Offsets and lengths are in bytes, and bytes are hexadecimal digits.
pub fn to_json(finding: &Finding, target: &str, scenario: &Scenario) -> Value {
    let crash = match &finding.provoked {
        Some(Provoked::Crash(crash)) => crash_to_json(crash),
        _ => Value::Null,
    };
    let fault = match &finding.provoked {
        Some(Provoked::Fault(fault)) => fault_to_json(fault),
        _ => Value::Null,
    };
    json!({
        "target": target,
        "engine": finding.engine,
        "name": reproduce::file_name(&finding.signature, scenario),
        "signature": signature_to_json(&finding.signature),
        "promise": finding.promise,
        "what": finding.what,
        "request": request_to_json(finding, scenario),
        "difference": finding.difference.as_deref().map(difference_to_json),
        "crash": crash,
        "fault": fault,
        "noticed": (!finding.noticed.is_empty()).then_some(&finding.noticed),
        "notes": finding.notes,
        "history": finding.history.iter().map(begun_to_json).collect::<Vec<_>>(),
        "scenario": serde_json::from_str::<Value>(&scenario.to_json()).expect("a scenario's JSON is JSON"),
        "trace": scenario.to_text(),
        "report": finding.report(),
    })
}

/// The request that noticed: as the run has noted it, or else as it stands in the scenario.
fn request_to_json(finding: &Finding, scenario: &Scenario) -> Value {
    let of_scenario = || {
        let request = scenario.requests.get((finding.request_number as usize).checked_sub(1)?)?;
        let extent = request.range().map(|(offset, length)| Extent::new(offset, length));
        Some(named(finding.request_number, request.kind().name(), &request.to_string(), extent))
    };
    finding.request.map(entry_to_json).or_else(of_scenario).unwrap_or_default()
}

fn entry_to_json((number, entry): (u32, Entry)) -> Value {
    named(number, entry.kind().name(), &entry.to_string(), entry.extent())
}

fn named(number: u32, kind: &str, text: &str, extent: Option<Extent>) -> Value {
    json!({
        "number": number,
        "kind": kind,
        "text": text,
        "offset": extent.map(|extent| extent.offset),
        "length": extent.map(|extent| extent.length),
    })
}

/// A signature as data, which is the same for the same signature.
pub fn signature_to_json(signature: &Signature) -> Value {
    match signature {
        Signature::Content { request, found, expected } => json!({
            "kind": "content",
            "request": request.map(RequestKind::name),
            "found": format!("{found:?}"),
            "expected": format!("{expected:?}"),
        }),
        Signature::Result { request, error } => {
            json!({ "kind": "result", "request": request.name(), "error": error })
        }
        Signature::Status { claim } => json!({ "kind": "status", "claim": claim }),
        Signature::Size => json!({ "kind": "size" }),
        Signature::Image { message } => json!({ "kind": "image", "message": message }),
        Signature::Failed { what, error } => json!({ "kind": "failed", "what": what, "error": error }),
        Signature::Broken { promise, how } => json!({ "kind": "broken", "promise": promise, "how": how }),
        Signature::Panic { message } => json!({ "kind": "panic", "message": message }),
    }
}

fn difference_to_json(difference: &Difference) -> Value {
    let compared = difference.compared.map(|compared| {
        json!({
            "asked": extent_to_json(compared.asked),
            "bytes": compared.bytes,
            "differing_bytes": compared.differing_bytes,
            "differing_sectors": compared.differing_sectors,
        })
    });
    json!({
        "offset": difference.offset,
        "sector": bytes::sector_of(difference.offset),
        "compared": compared,
        "expected": difference.expected.iter().map(side_to_json).collect::<Vec<_>>(),
        "found": side_to_json(&difference.found),
    })
}

fn side_to_json(side: &Side) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let sector = side.sector.iter().map(|piece| {
        json!({ "offset": piece.offset, "bytes": hex(&piece.bytes), "source": source_to_json(&piece.source) })
    });
    json!({
        "bytes": hex(&side.bytes),
        "source": source_to_json(&side.source),
        "sector": sector.collect::<Vec<_>>(),
    })
}

fn source_to_json(source: &Source) -> Value {
    let text = source.to_string();
    match *source {
        Source::Zeroes => json!({ "kind": "zeroes", "text": text }),
        Source::Repeated(byte) => json!({ "kind": "repeated", "byte": byte, "text": text }),
        Source::Unknown => json!({ "kind": "unknown", "text": text }),
        Source::PastEnd => json!({ "kind": "past-end", "text": text }),
        Source::Stamped { writer: Writer::Request(number), request, address, is_here } => json!({
            "kind": "request",
            "number": number,
            "request": request.map(|request| request.to_string()),
            "written_for": address,
            "is_in_place": is_here,
            "text": text,
        }),
        Source::Stamped { writer: Writer::Initial(layer), address, is_here, .. } => json!({
            "kind": "initial",
            "layer": layer,
            "written_for": address,
            "is_in_place": is_here,
            "text": text,
        }),
    }
}

fn extent_to_json(extent: Extent) -> Value {
    json!({ "offset": extent.offset, "length": extent.length })
}

fn crash_to_json(crash: &Crash) -> Value {
    json!({
        "during": crash.during.map(entry_to_json),
        "after_operation": crash.operation,
        "pending": pending_to_json(&crash.pending),
    })
}

fn pending_to_json(pending: &[Pending]) -> Vec<Value> {
    let pending = pending.iter().map(|pending| {
        let (fate, lost) = match &pending.fate {
            Fate::Persisted => ("persisted", Vec::new()),
            Fate::Lost => ("lost", Vec::new()),
            Fate::Torn(lost) => ("torn", lost.iter().copied().map(extent_to_json).collect()),
        };
        let extent = (!pending.extent.is_empty()).then(|| extent_to_json(pending.extent));
        json!({ "fate": fate, "operation": pending.operation, "extent": extent, "lost": lost })
    });
    pending.collect()
}

fn fault_to_json(fault: &Fault) -> Value {
    let numbered = |named: &Option<(u32, String)>| {
        named.as_ref().map(|(number, request)| json!({ "number": number, "text": request }))
    };
    json!({
        "operation": fault.operation,
        "operations": fault.operations,
        "kind": fault.kind,
        "step": fault.step,
        "extent": extent_to_json(fault.extent),
        "how": fault.how,
        "during": numbered(&fault.during),
        "surfaced": numbered(&fault.surfaced),
        "requests_in_flight": fault.is_in_flight,
        "pending": pending_to_json(&fault.pending),
    })
}

fn begun_to_json(begun: &Begun) -> Value {
    json!({
        "number": begun.number,
        "text": begun.request,
        "is_in_flight": begun.is_in_flight,
        "in_flight_with": begun.met,
    })
}
