//! The space of disks of which only the limits are known.

use super::{Geometry, Kind, Knob, Space, no_contradictions, not_tuned};
use crate::scenario::{Config, Value};

/// The option of [`PLAIN`] that says what is allocated as one, bytes.
pub const UNIT: &str = "cluster_size";

/// The option of [`PLAIN`] that says what requests have to be multiples of, bytes.
pub const ALIGNMENT: &str = "request_alignment";

const UNIT_BYTES: u64 = 64 << 10;

/// A driver without options of its own. Both options of this space are not the driver's: they say where
/// requests go.
pub static PLAIN: Space = Space {
    name: "a plain disk",
    knobs: &[
        Knob::new(
            UNIT,
            Kind::PowerOfTwo { min: 512, max: 2 << 20 },
            Some(Value::Number(UNIT_BYTES)),
            &[
                (5, Some(Value::Number(512))),
                (2, Some(Value::Number(1 << 10))),
                (5, Some(Value::Number(4 << 10))),
                (2, Some(Value::Number(16 << 10))),
                (2, Some(Value::Number(UNIT_BYTES))),
            ],
        ),
        Knob::new(ALIGNMENT, Kind::PowerOfTwo { min: 1, max: 2 << 20 }, Some(Value::Number(1)), &[(1, None)]),
    ],
    ignored: &[],
    old_header: None,
    unit: Some(UNIT),
    backing_option: None,
    legalize: no_contradictions,
    geometry,
    described: None,
    tune: not_tuned,
};

fn geometry(config: &Config) -> Geometry {
    let unit_bytes = config.options.number(UNIT).unwrap_or(UNIT_BYTES);
    Geometry {
        unit_bytes,
        table_reach_bytes: unit_bytes / 8 * unit_bytes,
        compressed_unit_bytes: Some(unit_bytes),
        alignment_bytes: config.options.number(ALIGNMENT).unwrap_or(1),
        size_is_file_length: false,
        snapshots: false,
        bitmaps: false,
        is_dense: false,
        amendments: &[],
    }
}
