//! The demonstrations: for each, what its command line says, and how it is run.

pub mod proxy;
