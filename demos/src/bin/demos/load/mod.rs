//! What the commands that measure share: servers in processes of their own, one client for all, and the figures.

pub mod child;
pub mod client;
pub mod cores;
pub mod figures;
