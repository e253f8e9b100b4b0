//! `demos files send` and `demos files receive`: the command line, the progress bar, the summaries.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use demos::files::{Arrival, Fault, Folder, Inbox, Sender, Step, Uploads, receive};
use executor::{Files, Net, Runtime, Stream};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{self, EngineArgs, ServerArgs, some_seconds};
use crate::engine::{self, Program};
use crate::server::{self, Host};
use crate::{log, output};

/// Sends files to another machine, or receives them.
///
/// The receiver checks the digest of each file, and continues where a broken connection ended. It never writes outside
/// its folder, and overwrites nothing unless you tell it to. The protocol is a length and a line of JSON, and then the
/// bytes: a few lines in any language speak it (`demos/src/files/mod.rs`).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos files receive --folder ./in --listen 127.0.0.1:7070
  demos files send photo.jpg notes.txt --to 127.0.0.1:7070
  demos files send --help                     all that can be said to the sender")]
pub struct FilesArgs {
    #[command(subcommand)]
    side: Side,
}

#[derive(Debug, Subcommand)]
enum Side {
    Send(SendArgs),
    Receive(ReceiveArgs),
}

/// Sends files to a receiver, under their names without their folders.
///
/// Each file is read twice, because the digest is sent before the bytes. No two may have the same name. If the connection breaks, a new one continues
/// where it ended; so does the same command, run again. The exit code is 0 if the receiver has all files.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos files send photo.jpg notes.txt --to 127.0.0.1:7070
  demos files send disk.img --to example.org:7070 --retries 20 --on reactor-edge")]
struct SendArgs {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Where the receiver listens.
    #[arg(long, value_name = "HOST:PORT", value_parser = args::host)]
    to: String,

    /// How many new connections in a row may make no progress before it gives up.
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    retries: u32,

    /// Seconds a connection may make no progress before it is given up.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = some_seconds)]
    patience: Duration,

    #[command(flatten)]
    engine: EngineArgs,
}

/// Receives files into a folder, from any number of senders.
///
/// It prints `listening on ADDR:PORT (ENGINE)` when it accepts, and a line for each file, and serves until SIGHUP, SIGINT or
/// SIGTERM. If a connection breaks, the part that has arrived stays in the folder until the rest of the file comes. Its
/// name begins with a dot and ends with .part. At the beginning and at the end the receiver says how many parts there
/// are, and how to remove them. A file that is refused for good, such as one that the disk has no room for, leaves no
/// part.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos files receive --folder ./in
  demos files receive --folder ./in --listen 127.0.0.1:7070 --overwrite
  demos files receive --folder ./in --max-size 1000000 --on reactor-level")]
struct ReceiveArgs {
    /// The folder for the files. It must exist.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,

    /// Replace files that exist.
    #[arg(long)]
    overwrite: bool,

    /// The largest file that is accepted, in bytes. Default: 16 GiB.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 30, hide_default_value = true)]
    max_size: u64,

    /// Seconds a sender may make no progress before it is given up.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = some_seconds)]
    patience: Duration,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// Sends, or receives.
pub fn run(args: FilesArgs) -> anyhow::Result<()> {
    match args.side {
        Side::Send(args) => send(args),
        Side::Receive(args) => receive_files(&args),
    }
}

fn receive_files(args: &ReceiveArgs) -> anyhow::Result<()> {
    ensure!(!args.server.sandbox, "a receiver has to write files, which --sandbox gives up: do without it");
    let folder = Folder::open(&args.folder, args.overwrite)
        .with_context(|| format!("cannot use {}: give a folder that exists with --folder", args.folder.display()))?;
    let inbox = Inbox { folder, max_size: args.max_size, patience: args.patience, uploads: Uploads::default() };
    server::run(args.engine.on, &args.server, Receiver { inbox, path: args.folder.clone() })
}

struct Receiver {
    inbox: Inbox,
    path: PathBuf,
}

impl Host for Receiver {
    type Shared<R: Runtime> = Receiver;
    /// Its own, that of a file, and for a moment that of the folder.
    const DESCRIPTORS: usize = 3;

    fn share<R: Runtime>(self, _: &R) -> Rc<Receiver> {
        if let Some(unfinished) = self.unfinished() {
            log::tell(unfinished);
        }
        Rc::new(self)
    }

    async fn connection<R: Net + Files>(receiver: Rc<Self>, rt: R, stream: R::Stream) {
        let peer = stream.peer_addr().map_or_else(|_| "somebody".to_owned(), |address| address.to_string());
        // What concerns a file is reported; of a connection without any there is nothing to say.
        let _ = receive(rt, stream, &receiver.inbox, |arrival| report(&peer, arrival)).await;
    }

    fn summary<R: Runtime>(receiver: &Receiver) -> Option<String> {
        receiver.unfinished()
    }
}

impl Receiver {
    /// How much has come of files that are not finished, and what can be done about them; if there are any.
    fn unfinished(&self) -> Option<String> {
        // A folder that can't be listed is no trouble of the receiver's, which knows its files by name.
        let (files, bytes) = self.inbox.folder.unfinished().ok()?;
        let parts = self.path.join(".*.part");
        let line = format!(
            "unfinished files={files} bytes={bytes}: they go on when they are sent again; to be rid of them delete {}",
            parts.display()
        );
        (files > 0).then_some(line)
    }
}

fn report(peer: &str, arrival: &Arrival) {
    // A name that was refused may be anything.
    let (name, size) = (arrival.offer.name.escape_debug(), arrival.offer.size);
    let line = match &arrival.outcome {
        Ok(before) => format!("received {name} bytes={size} resumed_at={before} from={peer}"),
        Err(why) => format!("refused {name} bytes={size} from={peer}: {why}"),
    };
    log::tell(line);
}

fn send(args: SendArgs) -> anyhow::Result<()> {
    for (number, path) in args.files.iter().enumerate() {
        let has_its_name = |other: &&PathBuf| other.file_name() == path.file_name();
        if let Some(other) = args.files[..number].iter().find(has_its_name) {
            let (one, other) = (other.display(), path.display());
            bail!("{one} and {other} have the same name, and would be one file there: send them one after another");
        }
    }
    let addresses = args::find(&args.to)?;
    let (result, _stats) = engine::run(engine::for_client(args.engine.on)?, Sending { args, addresses })?;
    result
}

struct Sending {
    args: SendArgs,
    addresses: Vec<SocketAddr>,
}

impl Program for Sending {
    type Output = anyhow::Result<()>;

    async fn main<R: Net + Files>(self, rt: R) -> anyhow::Result<()> {
        let Sending { args, addresses } = self;
        let mut sender = Sender::new(rt.clone(), addresses, args.patience, args.retries);
        // It works without.
        sender.prepare = |stream| drop(server::watch_over(stream));
        let (mut failed, mut hint) = (0, "");
        for path in &args.files {
            if let Err(error) = send_one(&rt, &mut sender, path).await {
                log::say_last(format_args!("demos: {}: {error:#}", path.display()));
                failed += 1;
                if matches!(error.downcast_ref(), Some(Fault::Broken(_))) {
                    hint = " (`demos files receive` starts a receiver)";
                }
            }
        }
        // Each file has been answered for; how the connection ends doesn't matter any more.
        let _ = sender.end().await;
        if failed > 0 {
            bail!("{failed} of {} files were not sent to {}{hint}", args.files.len(), args.to);
        }
        Ok(())
    }
}

async fn send_one<R: Files>(rt: &R, sender: &mut Sender<R>, path: &Path) -> anyhow::Result<()> {
    let name = path.file_name().context("it has no name")?.to_str().context("its name is no UTF-8")?.to_owned();
    let (file, size) = open(path).context("cannot open it")?;
    let file = rt.file_from_std(file)?;
    let bar = bar(size, &name)?;
    bar.set_message("digest");
    let offer = Sender::<R>::offer(&file, name, size, |done| bar.set_position(done)).await.context("cannot read it")?;
    bar.set_message("sending");
    bar.set_position(0);
    bar.reset_eta();
    let sent = sender.send(&file, &offer, |step| match step {
        Step::Place(place) => bar.set_position(place),
        Step::Broken(why, pause) => bar.suspend(|| log::say(format_args!("demos: {why}; trying again in {pause:?}"))),
    });
    let sent = sent.await;
    bar.finish_and_clear();
    let sent = sent?;
    output::print(&format!(
        "sent {} bytes={} carried={} offers={} sha256={}",
        offer.name.escape_debug(),
        offer.size,
        sent.carried,
        sent.offers,
        offer.sha256
    ))
}

/// Opens a regular file, without waiting for the other end of what is none.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok((file, metadata.len()))
}

/// Hidden by itself where stderr is no terminal.
fn bar(size: u64, name: &str) -> anyhow::Result<ProgressBar> {
    if log::is_quiet() {
        return Ok(ProgressBar::hidden());
    }
    let style = "{prefix} {msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let bar = ProgressBar::new(size).with_style(ProgressStyle::with_template(style)?);
    Ok(bar.with_prefix(name.escape_debug().to_string()))
}
