//! The demos: servers written once, generic over [`executor::Runtime`], and run on every engine.

#![forbid(unsafe_code)]

pub mod http;
