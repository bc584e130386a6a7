//! Compares any two block drivers request by request.

pub mod generate;
pub mod scenario;
pub mod target;
