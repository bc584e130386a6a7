//! Compares any two block drivers request by request.

pub mod generate;
pub mod minimise;
pub mod mutate;
pub mod scenario;
pub mod target;
