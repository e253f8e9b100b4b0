//! `demos proxy --compare`: this proxy on each engine beside nginx and HAProxy, all in front of the same servers.
//!
//! One client, the same for all, drives them in turns and checks every byte. Each proxy has one thread, balances by
//! turns, and keeps its connections to the servers. What is compared best is the processor time per request: the
//! requests per second are those of a chain of three, and on a small machine all three share its processors.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use demos::plot::{Table, grouped};
use indicatif::ProgressBar;
use reactor::{Reactor, Trigger};
use serde_json::{Value, json};

use super::rivals::{Rival, Running};
use crate::engine::{self, Engine};
use crate::load::child::Server;
use crate::load::client::{self, Dialogue, EchoDialogue, HttpDialogue, Tally};
use crate::load::figures::{build_note, median};
use crate::{descriptors, output};

const SERVERS: usize = 2;
const CONNECTIONS: usize = 64;
/// Bytes of an echoed message.
const MESSAGE: usize = 128;
/// Bytes out of which messages are cut.
const BLOCK: usize = 1 << 16;
const ROUNDS: usize = 3;
/// The part of a run that goes into warming up.
const WARM_UP: f64 = 0.2;
/// Runs if all contenders are there: six with HTTP, five without, and what takes time around them.
const RUNS: f64 = 12.0 * ROUNDS as f64;
/// More than can be sent.
const ENDLESS: &str = "18446744073709551615";

/// Who is measured.
enum Contender {
    /// The servers, without a proxy.
    Direct,
    Ours(Engine, Server),
    Theirs(Rival, Running),
}

/// Figures of one round.
struct Figures {
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: Option<f64>,
}

impl Contender {
    fn name(&self) -> String {
        match self {
            Contender::Direct => "no proxy".to_owned(),
            Contender::Ours(engine, _) => format!("demos, {engine}"),
            Contender::Theirs(rival, _) => rival.name().to_owned(),
        }
    }

    /// Processor time so far, in ns.
    fn cpu_ns(&mut self) -> anyhow::Result<Option<u64>> {
        Ok(match self {
            Contender::Direct => None,
            Contender::Ours(_, server) => Some(server.snapshot()?.cpu_ns),
            Contender::Theirs(_, running) => Some(running.cpu_ns()?),
        })
    }
}

/// Compares, and prints what came of it.
pub fn run(time: Duration, json: Option<&Path>) -> anyhow::Result<()> {
    let files = output::Files::open(json, None)?;
    let slot = time.div_f64(RUNS);
    descriptors::raise_open_files();
    let progress = output::spinner()?;
    let mut table = Table::new(1, ["", "requests/s", "proxy CPU, µs", "p50, µs", "p99, µs"]);
    let mut rows = Vec::new();
    for is_http in [true, false] {
        compare(is_http, slot, &progress, &mut table, &mut rows)?;
    }
    progress.finish_and_clear();
    output::print(&table.terminal(output::width()))?;
    for rival in [Rival::Nginx, Rival::Haproxy].iter().filter(|rival| !rival.is_there()) {
        output::print(&format!("{} is not installed, and missing here.", rival.name()))?;
    }
    output::prose(&format!(
        "{CONNECTIONS} clients in a closed loop, {SERVERS} servers (`demos http` and `demos echo` on reactor-edge), medians of \
         {ROUNDS} rounds of {:.2} s each. Proxy CPU is its processor time for a request; half of the answers came within p50, 99 of 100 within p99.\nLook at the processor time: \
         clients, proxy and servers share this machine, so the requests per second are those of all three together.\nnginx is \
         measured with HTTP only: most are built without the module that moves plain bytes.\nNext: the same servers with your \
         own load, such as `demos bench 127.0.0.1:8080 --http /plaintext`.",
        slot.as_secs_f64()
    ))?;
    build_note().map_or(Ok(()), output::prose)?;
    files.write_figures(|| json!({ "rounds": ROUNDS, "rows": rows }))
}

/// Measures all contenders with one kind of traffic.
fn compare(
    is_http: bool,
    slot: Duration,
    progress: &ProgressBar,
    table: &mut Table,
    rows: &mut Vec<Value>,
) -> anyhow::Result<()> {
    let client = engine::reactor(Trigger::Edge).context("the client's reactor cannot be set up")?;
    let mut command = vec![if is_http { "http" } else { "echo" }, "--on", Engine::ReactorEdge.name()];
    if is_http {
        command.extend(["--max-requests", ENDLESS]);
    }
    let servers: Vec<_> = (0..SERVERS).map(|_| Server::start(&command)).collect::<Result<_, _>>()?;
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let mut contenders = contenders(is_http, &addresses)?;
    let mut rounds: Vec<Vec<Figures>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        for turn in 0..contenders.len() {
            let place = (round + turn) % contenders.len();
            let contender = &mut contenders[place];
            progress.set_message(contender.name());
            progress.tick();
            let figures = measure(&client, is_http, slot, contender, &addresses);
            rounds[place].push(figures.with_context(|| contender.name())?);
        }
    }
    let kind = if is_http { "HTTP" } else { "TCP" };
    for (contender, rounds) in contenders.iter().zip(&rounds) {
        let of = |figure: &dyn Fn(&Figures) -> Option<f64>| {
            let values: Option<Vec<_>> = rounds.iter().map(figure).collect();
            values.map(median)
        };
        let (requests, cpu) = (of(&|figures| Some(figures.requests_per_second)), of(&|figures| figures.cpu_us));
        let (p50, p99) = (of(&|figures| Some(figures.p50_us)), of(&|figures| Some(figures.p99_us)));
        let cells = [
            format!("{kind}: {}", contender.name()),
            grouped(requests.unwrap_or_default()),
            cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.2}")),
            grouped(p50.unwrap_or_default()),
            grouped(p99.unwrap_or_default()),
        ];
        table.row(None, cells);
        rows.push(json!({
            "traffic": kind,
            "proxy": contender.name(),
            "requests_per_second": requests,
            "proxy_cpu_us_per_request": cpu,
            "p50_us": p50,
            "p99_us": p99,
        }));
    }
    for contender in contenders {
        if let Contender::Ours(_, server) = contender {
            server.end()?;
        }
    }
    servers.into_iter().try_for_each(Server::end)
}

/// All that can be had on this machine.
fn contenders(is_http: bool, servers: &[SocketAddr]) -> anyhow::Result<Vec<Contender>> {
    let targets: Vec<_> = servers.iter().map(|server| format!("--to={server}")).collect();
    let mut command = vec!["proxy", "--keep", "64", "--max-requests", ENDLESS];
    command.extend(targets.iter().map(String::as_str));
    if is_http {
        command.push("--http");
    }
    let mut contenders = vec![Contender::Direct];
    for engine in Engine::ALL.into_iter().filter(|engine| engine.check().is_ok()) {
        let command = [&command[..], &["--on", engine.name()]].concat();
        contenders.push(Contender::Ours(engine, Server::start(&command)?));
    }
    // Debian's nginx moves bytes only with a module that is installed on its own.
    let rivals: &[Rival] = if is_http { &[Rival::Nginx, Rival::Haproxy] } else { &[Rival::Haproxy] };
    for rival in rivals.iter().filter(|rival| rival.is_there()) {
        contenders.push(Contender::Theirs(*rival, Running::start(*rival, is_http, servers)?));
    }
    Ok(contenders)
}

fn measure(
    client: &Reactor,
    is_http: bool,
    slot: Duration,
    contender: &mut Contender,
    servers: &[SocketAddr],
) -> anyhow::Result<Figures> {
    let proxy = match contender {
        Contender::Direct => None,
        Contender::Ours(_, server) => Some(server.address()),
        Contender::Theirs(_, running) => Some(running.address()),
    };
    let block: Rc<[u8]> = std::iter::repeat_with(|| fastrand::u8(..)).take(BLOCK).collect();
    let dialogue = || {
        if is_http {
            (Dialogue::Http(HttpDialogue::new("/plaintext", "Hello, World!", 1)), 1)
        } else {
            (Dialogue::Echo(EchoDialogue::new(Rc::clone(&block), MESSAGE, 1)), 1)
        }
    };
    client.block_on(async {
        let mut peers = Vec::new();
        for server in proxy.as_ref().map_or(servers, std::slice::from_ref) {
            let part = if proxy.is_some() { CONNECTIONS } else { CONNECTIONS / servers.len() };
            peers.extend(client::connect(client, *server, part, dialogue).await?);
        }
        let (peers, _) = client::run(client, peers, client.now() + slot.mul_f64(WARM_UP)).await?;
        let before = contender.cpu_ns()?;
        let (_, tally) = client::run(client, peers, client.now() + slot.mul_f64(1.0 - WARM_UP)).await?;
        let after = contender.cpu_ns()?;
        Ok(figures(&tally, before.zip(after)))
    })
}

fn figures(tally: &Tally, cpu: Option<(u64, u64)>) -> Figures {
    let requests = tally.requests as f64;
    let microseconds = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1e3;
    Figures {
        requests_per_second: requests / tally.elapsed.as_secs_f64(),
        p50_us: microseconds(0.5),
        p99_us: microseconds(0.99),
        cpu_us: cpu.map(|(before, after)| after.saturating_sub(before) as f64 / requests / 1e3),
    }
}
