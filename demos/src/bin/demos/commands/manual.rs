//! `demos completions` and `demos man`: what a shell and man(1) want to know of the command line.

use anyhow::{Context, anyhow};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::output;

/// Prints a script that lets a shell complete the command line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos completions bash > ~/.local/share/bash-completion/completions/demos
  demos completions fish > ~/.config/fish/completions/demos.fish")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints a manual page, of `demos` or of a command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos man | man -l -
  demos man http | man -l -
  demos man files send > demos-files-send.1")]
pub struct ManArgs {
    /// The command.
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

/// Prints the script for `program`.
pub fn completions(args: &CompletionsArgs, mut program: Command) -> anyhow::Result<()> {
    let (name, mut script) = (program.get_name().to_owned(), Vec::new());
    clap_complete::generate(args.shell, &mut program, name, &mut script);
    output::write(&script).map(drop)
}

/// Prints the page.
pub fn man(args: &ManArgs, mut program: Command) -> anyhow::Result<()> {
    program.build();
    let mut command = &program;
    for name in &args.command {
        let found = command.find_subcommand(name);
        command = found.ok_or_else(|| anyhow!("there is no command {name}: `demos --help` lists all"))?;
    }
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).context("the page cannot be made")?;
    output::write(&page).map(drop)
}
