//! Printing to stdout, which somebody may have closed: `demos doctor | head -1`.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Writes `bytes` to stdout at once. Returns false if nobody reads it any more.
pub fn write(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("cannot write to stdout"),
    }
}

/// Writes a line, or several, to stdout at once. It is no error that nobody reads it.
pub fn print(text: &str) -> anyhow::Result<()> {
    write(format!("{text}\n").as_bytes()).map(drop)
}
