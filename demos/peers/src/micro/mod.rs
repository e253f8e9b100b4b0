//! To be written.

use clap::Args;

/// To be written.
#[derive(Debug, Args)]
pub struct MicroArgs {}

pub fn run(_args: &MicroArgs) -> anyhow::Result<()> {
    todo!()
}
