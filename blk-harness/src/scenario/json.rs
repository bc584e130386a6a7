//! The JSON form, for other programs: serde's rendering of the types, documented by their attributes.
//!
//! ```json
//! {
//!   "config": { "size-bytes": 262144, "options": { "cluster_size": 512 }, "backing": "raw" },
//!   "requests": [
//!     { "do": "write", "offset": 0, "length": 65536, "fill": { "byte": 17 } },
//!     { "do": "write-zeroes", "offset": 512, "length": 1024, "unmap": true },
//!     { "do": "flush" }
//!   ]
//! }
//! ```

use super::bounds::{DOCUMENT_BYTES_MAX, DOCUMENT_REQUESTS_MAX};
use super::{ParseError, ParseResult, Scenario};

impl Scenario {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// Malformed JSON, unknown fields, values out of range, documents beyond [`DOCUMENT_BYTES_MAX`] or
    /// [`DOCUMENT_REQUESTS_MAX`]; with line and column.
    pub fn from_json(text: &str) -> ParseResult<Self> {
        if text.len() > DOCUMENT_BYTES_MAX {
            let reason = format!("{} bytes of JSON; at most {DOCUMENT_BYTES_MAX} are read", text.len());
            return Err(ParseError::document(reason));
        }
        let scenario: Self = serde_json::from_str(text).map_err(|error| from_serde(&error))?;
        if scenario.requests.len() > DOCUMENT_REQUESTS_MAX {
            let reason =
                format!("{} requests; at most {DOCUMENT_REQUESTS_MAX} are read", scenario.requests.len());
            return Err(ParseError::document(reason));
        }
        scenario.config.check_ranges()?;
        Ok(scenario)
    }

    /// The JSON form, indented, ended by a newline.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("numbers, names and lists are always JSON");
        json + "\n"
    }
}

/// serde puts the place behind its text; we have it before.
fn from_serde(error: &serde_json::Error) -> ParseError {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
    ParseError { line: error.line(), column: error.column(), reason }
}
