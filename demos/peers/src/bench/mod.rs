//! To be written.

use clap::Args;

/// To be written.
#[derive(Debug, Args)]
pub struct RunArgs {}

pub fn run(_args: &RunArgs) -> anyhow::Result<()> {
    todo!()
}
