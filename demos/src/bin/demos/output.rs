//! Where results go: to stdout, which somebody may have closed (`demos doctor | head -1`), and to files.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use demos::plot::Destination;
use demos::text::filled;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::tcgetwinsize;
use serde_json::{Value, json};

use crate::{log, origin};

/// Writes `bytes` to stdout at once. Returns false if nobody reads it any more.
pub fn write(bytes: &[u8]) -> anyhow::Result<bool> {
    match write_patiently(bytes) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("cannot write to stdout"),
    }
}

/// Writes all, also where stdout does not block: another program has set the flag, and shares the pipe or the terminal
/// with this one.
fn write_patiently(mut bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    loop {
        // What an error leaves unwritten stays in std's buffer, or in `bytes`.
        let written = if bytes.is_empty() { stdout.flush().map(|()| 0) } else { stdout.write(bytes) };
        match written {
            Ok(0) if bytes.is_empty() => return Ok(()),
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait_for(&stdout, PollFlags::OUT)?,
            Err(error) => return Err(error),
        }
    }
}

/// Blocks until this can be read or written.
pub fn wait_for(file: &impl AsFd, events: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(file, events)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a line, or several, to stdout at once. It is no error that nobody reads it.
pub fn print(text: &str) -> anyhow::Result<()> {
    write(format!("{text}\n").as_bytes()).map(drop)
}

/// Writes prose, broken to the width of the terminal.
pub fn prose(text: &str) -> anyhow::Result<()> {
    print(&filled(text, width()))
}

/// Columns where no terminal says how many it has.
const WIDTH: usize = 80;
/// Less than this is not heeded: a table has to have some room.
const LEAST_WIDTH: usize = 40;

/// Columns that a table or a line of prose may take: what COLUMNS in the environment says, or the terminal, or else 80.
pub fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    let columns = told.or_else(terminal).filter(|columns| *columns > 0);
    columns.map_or(WIDTH, |columns: usize| columns.max(LEAST_WIDTH))
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

    /// Writes the figures, an object to which their origin is added, and the page, each to its file if there is one.
    pub fn write(mut self, json: impl Fn() -> Value, html: impl Fn() -> anyhow::Result<String>) -> anyhow::Result<()> {
        let page = self.html.take();
        self.write_figures(json)?;
        if let Some(file) = page {
            let html = html().context("the plots cannot be drawn")?;
            file.write(&html).context("cannot write the file given with --html")?;
        }
        Ok(())
    }

    /// The same for a command without a page.
    pub fn write_figures(self, json: impl Fn() -> Value) -> anyhow::Result<()> {
        let Some(file) = self.json else { return Ok(()) };
        let mut report = json!({ "origin": origin::json() });
        if let (Value::Object(report), Value::Object(figures)) = (&mut report, json()) {
            report.extend(figures);
        }
        let text = serde_json::to_string_pretty(&report).context("the figures do not fit into JSON")?;
        file.write(&(text + "\n")).context("cannot write the file given with --json")
    }
}

/// A sign of life for what takes some time, on stderr, hidden where that is no terminal.
pub fn spinner() -> anyhow::Result<ProgressBar> {
    let style =
        ProgressStyle::with_template("{spinner} {elapsed}  {msg}").context("the spinner's template is wrong")?;
    let spinner = ProgressBar::no_length().with_style(style);
    spinner.enable_steady_tick(TICK);
    Ok(shown(spinner))
}

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(250);

/// A bar of so many steps, on stderr, hidden where that is no terminal.
pub fn progress_bar(steps: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}")
        .context("the progress bar's template is wrong")?;
    Ok(shown(ProgressBar::new(steps).with_style(style)))
}

/// The bar, unless --quiet hides it.
fn shown(bar: ProgressBar) -> ProgressBar {
    if log::is_quiet() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}
