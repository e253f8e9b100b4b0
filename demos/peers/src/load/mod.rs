//! To be written.

use clap::Args;

/// To be written.
#[derive(Debug, Args)]
pub struct LoadArgs {}

pub fn run(_args: &LoadArgs) -> anyhow::Result<()> {
    todo!()
}
