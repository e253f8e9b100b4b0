//! Every server, by name.

use std::fmt;

use clap::{Args, ValueEnum};

/// What a server does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    Echo,
    Http,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Service::Echo => "echo",
            Service::Http => "http",
        })
    }
}

/// Serves on a free port until stdin ends.
#[derive(Debug, Args)]
pub struct ServeArgs {
    pub server: String,
    #[arg(long, value_enum, default_value_t = Service::Echo)]
    pub service: Service,
}

pub fn run(_args: &ServeArgs) -> anyhow::Result<()> {
    todo!()
}
