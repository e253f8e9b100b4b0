//! `demos udp serve` and `demos udp ask`.

use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use demos::mailbox::{Sender, mailbox};
use demos::udp::{Client, LONGEST_DATAGRAM, Loss, Patience, Served, Unanswered, serve};
use executor::{Files, Net, Runtime};
use futures_lite::future::{or, pending};
use hdrhistogram::Histogram;

use crate::args::{self, EngineArgs, address, some_seconds};
use crate::engine::{self, Program};
use crate::input::Input;
use crate::{log, output, server, signals};

/// Lines that may wait for the server.
const LINES: usize = 4;
/// How long it may be silent before the user is told.
const SILENCE: Duration = Duration::from_secs(1);
/// Bytes of a line at most; a longer one is taken for two.
const LONGEST_LINE: u64 = 1 << 20;
/// The longest time that is told from a longer one, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;

/// Runs an upper-case server over UDP, or a client that copes with loss.
///
/// The server answers each datagram with the same text in capitals. The client sends lines, numbers them, and asks
/// again if no answer comes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos udp serve --listen 127.0.0.1:7070
  echo hello | nc -u -w 1 127.0.0.1 7070
  demos udp serve --listen 127.0.0.1:7070 --drop 0.3
      a network that loses a third
  seq 100 | demos udp ask 127.0.0.1:7070
      see how often it has to ask")]
pub struct UdpArgs {
    #[command(subcommand)]
    side: Side,
}

#[derive(Debug, Subcommand)]
enum Side {
    Serve(ServeArgs),
    Ask(AskArgs),
}

/// Answers each datagram with the same text in capitals.
///
/// It prints `listening on ADDR:PORT (ENGINE)` when it is ready, and serves until SIGHUP, SIGINT or SIGTERM.
/// It also says on
/// stderr, or to --log, which datagrams were too long.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos udp serve
      on 127.0.0.1:8080; then: echo hello | nc -u -w 1 127.0.0.1 8080
  demos udp serve --drop 0.3 --seed 7               the same losses each time
  demos udp serve --room 10 --on reactor-level
      longer datagrams lose their end")]
struct ServeArgs {
    /// Where to receive. Port 0: the kernel chooses a free port.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    listen: SocketAddr,

    /// Allow addresses that other machines can reach. A sender can forge its address; the answers then go to that
    /// address.
    #[arg(long)]
    allow_remote: bool,

    /// The chance, from 0 to 1, that the server drops a datagram on purpose: each question, and each answer.
    #[arg(long, value_name = "CHANCE", default_value_t = 0.0, value_parser = chance)]
    drop: f64,

    /// Drop the same datagrams in each run with this seed.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Bytes of room for a datagram; a longer one loses its end.
    #[arg(long, value_name = "BYTES", default_value_t = 2048, value_parser = length)]
    room: u32,

    #[command(flatten)]
    engine: EngineArgs,
}

/// Sends each line of stdin to a server, and prints the answers.
///
/// It sends long lines in pieces. At the end it prints counters on stderr: questions that were answered, datagrams sent,
/// waits without an answer (timeouts), answers to questions already answered (late), and the time of an answer in
/// microseconds. The exit code is 0 if every line was answered completely.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo hello | demos udp ask 127.0.0.1:8080
  seq 100 | demos udp ask 127.0.0.1:8080 --timeout 0.05 --retries 20
  demos udp ask localhost:8080 --piece 100 --on reactor-edge < README.md")]
struct AskArgs {
    /// Where the server is.
    #[arg(value_name = "HOST:PORT", value_parser = args::host)]
    server: String,

    /// Seconds to wait for an answer before asking again. The wait doubles with each try, up to 16 times this value.
    #[arg(long, value_name = "SECONDS", default_value = "0.2", value_parser = some_seconds)]
    timeout: Duration,

    /// How often to ask again before giving up.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    retries: u32,

    /// Largest piece of a line in one datagram, in bytes. A network packet carries some 1,400.
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = length)]
    piece: u32,

    #[command(flatten)]
    engine: EngineArgs,
}

fn chance(text: &str) -> Result<f64, String> {
    let chance = text.parse().ok().filter(|chance| (0.0..=1.0).contains(chance));
    chance.ok_or_else(|| "give a number from 0 to 1, such as 0.3".to_owned())
}

fn length(text: &str) -> Result<u32, String> {
    let length = text.parse().ok().filter(|length| (1..=LONGEST_DATAGRAM as u32).contains(length));
    length.ok_or_else(|| format!("give a number of bytes from 1 to {LONGEST_DATAGRAM}"))
}

/// Serves, or asks.
pub fn run(args: UdpArgs) -> anyhow::Result<()> {
    match args.side {
        Side::Serve(args) => {
            server::check_reach([args.listen], args.allow_remote)?;
            let (served, stats) = engine::run(args.engine.on, Serving(args))?;
            log::tell_patiently(format_args!("served {} {stats}", served?));
            Ok(())
        }
        Side::Ask(args) => {
            let servers = args::find(&args.server)?;
            engine::run(engine::for_client(args.engine.on)?, Asking { args, servers })?.0
        }
    }
}

struct Serving(ServeArgs);

impl Program for Serving {
    type Output = anyhow::Result<Served>;

    async fn main<R: Net + Files>(self, rt: R) -> anyhow::Result<Served> {
        let args = self.0;
        let remote = rt.remote();
        signals::stop_on_signals(move || remote.stop()).context("cannot watch for signals")?;
        let socket = rt.bind_udp(args.listen).map_err(|error| server::refusal(args.listen, &error))?;
        log::tell_patiently(format_args!("listening on {} ({})", socket.local_addr()?, rt.engine()));
        let random = args.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let cut = |bytes, from| log::say(format_args!("cut bytes={bytes} room={} from={from}", args.room));
        let loss = Loss { chance: args.drop, random };
        serve(&rt, &socket, args.room as usize, loss, cut).await.context("cannot receive any more")
    }
}

struct Asking {
    args: AskArgs,
    servers: Vec<SocketAddr>,
}

impl Program for Asking {
    type Output = anyhow::Result<()>;

    async fn main<R: Net + Files>(self, rt: R) -> anyhow::Result<()> {
        let Asking { args, servers } = self;
        let patience = Patience { first: args.timeout, retries: args.retries };
        let mut client =
            Client::new(&rt, servers, patience).with_context(|| format!("cannot send to {}", args.server))?;
        let (stdin, mut lines) = mailbox(LINES);
        thread::Builder::new().name("stdin".to_owned()).spawn(move || read_lines(&stdin))?;
        let mut complained = false;
        let mut times = Histogram::<u64>::new_with_max(LONGEST_US, 3).context("the histogram's bounds are wrong")?;
        while let Some(line) = lines.receive().await {
            let line = line.context("cannot read stdin")?;
            let mut answer = Vec::with_capacity(line.len() + 1);
            // An empty line is a question, too.
            for piece in line.chunks(args.piece as usize).chain(line.is_empty().then_some(&[][..])) {
                let asked = rt.now();
                match or(client.ask(piece), complain(&rt, &patience, &mut complained)).await {
                    Ok(piece) => answer.extend(piece),
                    Err(unanswered) => bail!("{unanswered}{}; {}", hint(&unanswered), client.outcome),
                }
                times.saturating_record(u64::try_from((rt.now() - asked).as_micros()).unwrap_or(LONGEST_US));
            }
            answer.push(b'\n');
            if !output::write(&answer)? {
                break;
            }
        }
        let time = |quantile| times.value_at_quantile(quantile);
        log::say_last(format_args!("{} p50_us={} p99_us={}", client.outcome, time(0.5), time(0.99)));
        Ok(())
    }
}

/// Says once that no answer comes, for it may take long until it is given up. It never ends: somebody else does.
async fn complain<R: Runtime, T>(rt: &R, patience: &Patience, complained: &mut bool) -> T {
    rt.sleep(SILENCE).await;
    if !*complained {
        *complained = true;
        let longest = patience.longest().as_secs_f64();
        log::say(format_args!(
            "no answer for {SILENCE:?}; asking again, for {longest:.1} s at most (--timeout, --retries)"
        ));
    }
    pending().await
}

fn hint(unanswered: &Unanswered) -> &'static str {
    match unanswered {
        Unanswered::Silence(..) => " (is a server there? `demos udp serve` starts one)",
        Unanswered::Cut(..) => " (send less at once with --piece)",
        Unanswered::Unsent(_) => "",
    }
}

/// Posts the lines of stdin without their ends, until there are no more or nobody is interested.
fn read_lines(lines: &Sender<io::Result<Vec<u8>>>) {
    let mut stdin = BufReader::new(Input::new());
    loop {
        let mut line = Vec::new();
        let read = (&mut stdin).take(LONGEST_LINE).read_until(b'\n', &mut line);
        line.pop_if(|end| *end == b'\n');
        let is_last = !matches!(read, Ok(1..));
        if matches!(read, Ok(0)) || lines.post(read.map(|_| line)).is_err() || is_last {
            return;
        }
    }
}
