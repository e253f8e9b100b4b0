//! `demos rpc`.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use demos::rpc::{self, CallError, Client, Greeter, HelloServer, Limits, Scene, Step, Trace};
use executor::Runtime;
use serde_json::Value;

use crate::args::{self, EngineArgs, ServerArgs, some_seconds};
use crate::engine::{self, Program};
use crate::server::{self, Host};
use crate::{log, output};

/// Shows the nine steps of a remote procedure call; serves such calls, and makes them.
///
/// Without a command it calls itself: one call step by step, several at once, and everything that can go wrong.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  demos rpc                                    nine steps, and what can go wrong
  demos rpc --trace --on reactor-edge          the nine steps alone
  demos rpc serve --trace                      a server that tells what it does
  demos rpc call 127.0.0.1:8080 Hello.SayHello '{\"name\": \"Ada\"}' --trace"
)]
pub struct RpcCommand {
    #[command(subcommand)]
    command: Option<Which>,

    /// Show only one call and its steps.
    #[arg(long)]
    trace: bool,

    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, Subcommand)]
enum Which {
    Serve(ServeArgs),
    Call(CallArgs),
}

/// Serves the interface Hello: SayHello(name), SayHelloLater(name, ms), Count() and Crash().
///
/// It prints `listening on ADDR:PORT (ENGINE)` when it accepts, and serves until SIGHUP, SIGINT or SIGTERM.
/// A message is its
/// length (four bytes, highest first) and JSON: `{"call": 1, "method": "Hello.SayHello", "arguments": {...}}`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos rpc serve                              serve on 127.0.0.1:8080
  demos rpc serve --trace --max-calls 4        tell the steps; four calls at once")]
struct ServeArgs {
    /// Print each step of each call on stderr, with the time.
    #[arg(long)]
    trace: bool,

    /// Calls at the same time on one connection.
    #[arg(long, value_name = "NUMBER", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    max_calls: u16,

    /// Seconds a call may take.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = some_seconds)]
    max_time: Duration,

    /// Seconds a client may send nothing while no call of it is under way.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = some_seconds)]
    idle_timeout: Duration,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// Calls a method by its name, and prints the result.
///
/// Without a result the exit code is 1, and stderr says why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos rpc call 127.0.0.1:8080 Hello.SayHello '{\"name\": \"Ada\"}'
  demos rpc call 127.0.0.1:8080 Hello.SayHelloLater '{\"name\": \"Ada\", \"ms\": 2000}'
  demos rpc call 127.0.0.1:8080 Hello.Count --timeout 1")]
struct CallArgs {
    /// Where the server is.
    #[arg(value_name = "HOST:PORT", value_parser = args::host)]
    server: String,

    /// The interface, a dot and the method.
    method: String,

    /// The arguments by name, as JSON.
    #[arg(value_name = "JSON", default_value = "{}", value_parser = json)]
    arguments: Value,

    /// Seconds to wait for the result; then the call is cancelled.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = some_seconds)]
    timeout: Duration,

    /// Print each step of the call on stderr, with the time.
    #[arg(long)]
    trace: bool,

    #[command(flatten)]
    engine: EngineArgs,
}

fn json(text: &str) -> Result<Value, String> {
    let value = serde_json::from_str(text).ok().filter(Value::is_object);
    value.ok_or_else(|| "give the arguments as JSON, such as '{\"name\": \"Ada\"}'".to_owned())
}

/// Shows, serves or calls.
pub fn run(args: RpcCommand) -> anyhow::Result<()> {
    match args.command {
        None => engine::run(args.engine.on, Show { only_steps: args.trace })?.0,
        Some(Which::Call(args)) => {
            let servers = args::find(&args.server)?;
            engine::run(engine::for_client(args.engine.on)?, Call { args: &args, servers: &servers })?.0
        }
        Some(Which::Serve(args)) => {
            let limits = Limits { calls: args.max_calls.into(), time: args.max_time, silence: args.idle_timeout };
            server::run(args.engine.on, &args.server, Desk { limits, is_traced: args.trace })
        }
    }
}

/// A step as a line: the time since the first one, in microseconds.
fn line(time: Duration, step: &Step) -> String {
    format!("{:>9} µs  step {}  {}", time.as_micros(), step.number, step.what)
}

/// Steps go to stderr, where they are in nobody's way.
fn trace<R: Runtime>(rt: &R, is_wanted: bool) -> Trace {
    if !is_wanted {
        return Trace::default();
    }
    let (rt, first) = (rt.clone(), OnceCell::new());
    Trace::new(move |step| {
        let now = rt.now();
        log::say(format_args!("call {:<4} {}", step.call, line(now - *first.get_or_init(|| now), step)));
    })
}

struct Show {
    only_steps: bool,
}

impl Program for Show {
    type Output = anyhow::Result<()>;

    async fn main<R: Runtime>(self, rt: R) -> anyhow::Result<()> {
        output::print(&format!("Remote procedure calls on {}: client and server are in this process.", rt.engine()))?;
        let first = OnceCell::new();
        let tell = move |scene| {
            // Nobody reads it any more: no reason to stop.
            let _ = output::print(&match scene {
                Scene::Title(title) => format!("\n{title}:"),
                Scene::Step(time, step) => line(time - *first.get_or_init(|| time), &step),
                Scene::Line(line) => format!("  {line}"),
            });
        };
        rpc::show(&rt, self.only_steps, tell).await.context("a call that ought to succeed")?;
        if !self.only_steps {
            output::prose(
                "\nLook at steps 3 to 4 and 8 to 9: they are the network, and most of the time.\nNext: `demos rpc serve --trace` \
                 in one window and `demos rpc call 127.0.0.1:8080 Hello.SayHello '{\"name\": \"Ada\"}' --trace` in \
                 another;\nthe code is in demos/src/rpc/.",
            )?;
        }
        Ok(())
    }
}

struct Call<'a> {
    args: &'a CallArgs,
    servers: &'a [SocketAddr],
}

impl Program for Call<'_> {
    type Output = anyhow::Result<()>;

    async fn main<R: Runtime>(self, rt: R) -> anyhow::Result<()> {
        let CallArgs { server, method, arguments, timeout, trace: is_traced, .. } = self.args;
        let client = Client::connect(&rt, self.servers, *timeout, trace(&rt, *is_traced)).await;
        let client = client
            .map_err(|error| anyhow!("cannot connect to {server}: {error}; is `demos rpc serve` running there?"))?;
        let result: Result<Value, _> = client.call(method, arguments).await;
        client.close().await;
        let result = result.map_err(|error| match &error {
            CallError::Closed(_) | CallError::TimedOut(_) => {
                anyhow!("{error}. Is it `demos rpc serve` that runs at {server}?")
            }
            _ => error.into(),
        });
        output::print(&result?.to_string())
    }
}

struct Desk {
    limits: Limits,
    is_traced: bool,
}

/// What all connections share: the procedures, and where steps are told.
struct Shared<R> {
    stub: Rc<HelloServer<Greeter<R>>>,
    limits: Limits,
    trace: Trace,
}

impl Host for Desk {
    type Shared<R: Runtime> = Shared<R>;
    const DESCRIPTORS: usize = 1;

    fn share<R: Runtime>(self, rt: &R) -> Rc<Shared<R>> {
        let stub = Rc::new(HelloServer(Rc::new(Greeter::new(rt.clone()))));
        Rc::new(Shared { stub, limits: self.limits, trace: trace(rt, self.is_traced) })
    }

    async fn connection<R: Runtime>(shared: Rc<Shared<R>>, rt: R, stream: R::Stream) {
        let stub = Rc::clone(&shared.stub);
        rpc::connection(rt, stream, stub, shared.limits, shared.trace.clone()).await;
    }

    fn summary<R: Runtime>(_: &Shared<R>) -> Option<String> {
        None
    }
}
