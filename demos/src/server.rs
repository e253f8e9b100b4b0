//! What the server commands share: address, signals, the line that says "ready", the summary.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use demos::sandbox;
use demos::serve::{Limits, Served, serve};
use executor::{Files, ListenOptions, Listener, Net, Runtime};

use crate::cli::ServerArgs;
use crate::engine::{self, Engine, Program};
use crate::workers::{self, Team};
use crate::{control, limits, output, signals};

/// How long a killed process may hold an address at most; it was seen to take some milliseconds.
pub const TAKEDOWN: Duration = Duration::from_millis(200);
pub const TAKEDOWN_STEP: Duration = Duration::from_millis(2);

/// What a server does with its connections.
pub trait Service: 'static {
    /// Serves one connection to its end.
    fn connection<R: Net + Files>(service: Rc<Self>, rt: R, stream: R::Stream) -> impl Future<Output = ()>;
}

/// Runs a server until it is told to stop, and prints what it did. Each worker serves with a service of
/// its own, made on its thread.
pub fn run<S, M>(engine: Option<Engine>, args: &ServerArgs, service: M) -> anyhow::Result<()>
where
    S: Service,
    M: Fn() -> anyhow::Result<S> + Sync,
{
    if !args.listen.ip().is_loopback() && !args.allow_remote {
        bail!(
            "{} can be reached from other machines, and this is a demonstration: \
             listen on 127.0.0.1 or [::1], or say --allow-remote",
            args.listen
        );
    }
    limits::raise_open_files();
    let summary = if args.workers.get() == 1 {
        let (served, stats) = engine::run(engine, Server { args, service: service()?, team: None })?;
        format!("served {} {stats}", workers::words(&served?.fields()))
    } else {
        workers::run(engine, args, service)?
    };
    output::print(&summary)
}

/// A server on one runtime: alone, or one of a team.
pub struct Server<'a, S> {
    pub args: &'a ServerArgs,
    pub service: S,
    pub team: Option<&'a Team>,
}

impl<S: Service> Program for Server<'_, S> {
    type Output = anyhow::Result<Served>;

    fn is_sandboxed(&self) -> bool {
        self.args.sandbox
    }

    async fn main<R: Net + Files>(self, rt: R) -> anyhow::Result<Served> {
        let Server { args, service, team } = self;
        let (address, options) = match team {
            Some(team) => (team.address(), ListenOptions { reuse_port: true, ..ListenOptions::default() }),
            None => {
                let remote = rt.remote();
                signals::stop_on_signals(move || remote.stop()).context("cannot watch for signals")?;
                (args.listen, ListenOptions::default())
            }
        };
        let listener = listen(&rt, address, &options).await.map_err(|error| refusal(address, &error))?;
        // The last one to be ready acts for all.
        if team.is_none_or(Team::is_complete) {
            if args.sandbox {
                sandbox::enter()?;
            }
            output::print(&format!("listening on {} ({})", listener.local_addr()?, rt.engine()))?;
        }
        if args.control {
            control::answer(&rt)?;
        }
        let per_address = args.max_per_address.map(|most| most as usize);
        let limits = Limits { connections: connections(args), per_address, grace: args.grace };
        let service = Rc::new(service);
        let runtime = rt.clone();
        let connection = move |stream| S::connection(Rc::clone(&service), runtime.clone(), stream);
        serve(&rt, listener, &limits, connection).await.context("cannot accept connections any more")
    }
}

/// The connections each worker may have at the same time: its part of all.
fn connections(args: &ServerArgs) -> usize {
    let workers = usize::from(args.workers.get());
    let most = args.max_connections.map_or(usize::MAX, |most| most as usize);
    most.min(limits::connections(workers)).div_ceil(workers)
}

/// Listens. An address in use is tried again for a moment: when a process that uses io_uring is killed,
/// the kernel takes its ring down in the background, and the ring holds its listener until then, which
/// SO_REUSEADDR doesn't help against. Without this a server that is killed and started again would fail.
async fn listen<R: Runtime>(rt: &R, address: SocketAddr, options: &ListenOptions) -> io::Result<R::Listener> {
    let give_up = rt.now() + TAKEDOWN;
    loop {
        match rt.listen(address, options) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && rt.now() < give_up => {
                rt.sleep(TAKEDOWN_STEP).await;
            }
            result => return result,
        }
    }
}

/// Says where it is impossible to listen, why, and what to do about it.
pub fn refusal(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    anyhow!("cannot listen on {address}: {error}{}", remedy(error))
}

/// What to do about an address that cannot be listened on.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => {
            ". Another program listens there: choose another port with --listen ADDR:PORT (0: any free one)"
        }
        ErrorKind::AddrNotAvailable => ". This machine has no such address: choose another with --listen ADDR:PORT",
        ErrorKind::PermissionDenied => ". Low ports are reserved: choose one above 1023 with --listen ADDR:PORT",
        _ => "",
    }
}
