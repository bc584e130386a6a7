//! Short texts in the JSON form.

use blk_core::ShortText;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(text: &ShortText, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.as_str())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ShortText, D::Error> {
    let text = String::deserialize(deserializer)?;
    ShortText::new(&text).ok_or_else(|| {
        D::Error::custom(format!("'{text}' has {} bytes, allowed are {}", text.len(), ShortText::BYTES_MAX))
    })
}
