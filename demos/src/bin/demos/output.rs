//! Where results go: to stdout, which somebody may have closed (`demos doctor | head -1`), and to files.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use anyhow::Context;
use demos::plot::Destination;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

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

/// The files a report goes to beside stdout. They are opened before anything is measured, for it would be a pity to fail
/// at that after minutes.
pub struct Files {
    json: Option<Destination>,
    html: Option<Destination>,
}

impl Files {
    /// Opens those that were asked for.
    pub fn open(json: Option<&Path>, html: Option<&Path>) -> io::Result<Files> {
        let open = |path: Option<&Path>| path.map(Destination::open).transpose();
        Ok(Files { json: open(json)?, html: open(html)? })
    }

    /// Writes the figures and the page, each to its file if there is one.
    pub fn write(self, json: impl Fn() -> Value, html: impl Fn() -> anyhow::Result<String>) -> anyhow::Result<()> {
        if let Some(file) = self.json {
            let json = serde_json::to_string_pretty(&json()).context("the figures do not fit into JSON")?;
            file.write(&(json + "\n")).context("cannot write the file given with --json")?;
        }
        if let Some(file) = self.html {
            let html = html().context("the plots cannot be drawn")?;
            file.write(&html).context("cannot write the file given with --html")?;
        }
        Ok(())
    }
}

/// A bar of so many steps, on stderr, hidden where that is no terminal.
pub fn progress_bar(steps: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}")
        .context("the progress bar's template is wrong")?;
    Ok(ProgressBar::new(steps).with_style(style))
}
