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

use crate::cli::{ServerArgs, WorkersArgs};
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

/// A server whose connections share what belongs to its runtime, such as connections of its own. A [`Service`] is one
/// that shares itself.
pub trait Host: Sized + 'static {
    /// What its connections share.
    type Shared<R: Runtime>: 'static;
    /// How many descriptors each connection takes.
    const DESCRIPTORS: usize;

    /// Called once, on the runtime, before the first connection.
    fn share<R: Runtime>(self, rt: &R) -> Rc<Self::Shared<R>>;
    /// Serves one connection to its end.
    fn connection<R: Net + Files>(shared: Rc<Self::Shared<R>>, rt: R, stream: R::Stream) -> impl Future<Output = ()>;
    /// What else there is to say at the end, in lines of its own.
    fn summary<R: Runtime>(shared: &Self::Shared<R>) -> Option<String>;
}

impl<S: Service> Host for S {
    type Shared<R: Runtime> = S;
    const DESCRIPTORS: usize = 1;

    fn share<R: Runtime>(self, _: &R) -> Rc<S> {
        Rc::new(self)
    }

    fn connection<R: Net + Files>(service: Rc<S>, rt: R, stream: R::Stream) -> impl Future<Output = ()> {
        <S as Service>::connection(service, rt, stream)
    }

    fn summary<R: Runtime>(_: &S) -> Option<String> {
        None
    }
}

/// Runs a server on one runtime until it is told to stop, and prints what it did.
pub fn run<S: Host>(engine: Option<Engine>, args: &ServerArgs, service: S) -> anyhow::Result<()> {
    prepare(args)?;
    let (served, stats) = engine::run(engine, Server { args, service, workers: 1, team: None })?;
    output::print(&format!("served {} {stats}", workers::words(&served?.fields())))
}

/// The same on as many workers as asked for. Each serves with a service of its own, made on its thread.
pub fn run_on_workers<S, M>(
    engine: Option<Engine>,
    args: &ServerArgs,
    workers: &WorkersArgs,
    service: M,
) -> anyhow::Result<()>
where
    S: Host,
    M: Fn() -> anyhow::Result<S> + Sync,
{
    if workers.workers.get() == 1 {
        return run(engine, args, service()?);
    }
    prepare(args)?;
    output::print(&workers::run(engine, args, workers.workers, service)?)
}

/// What comes before a server's runtime.
fn prepare(args: &ServerArgs) -> anyhow::Result<()> {
    check_reach(args.listen, args.allow_remote)?;
    limits::raise_open_files();
    Ok(())
}

/// Refuses addresses that other machines can reach, unless they are wished for.
pub fn check_reach(listen: SocketAddr, allow_remote: bool) -> anyhow::Result<()> {
    if !listen.ip().is_loopback() && !allow_remote {
        bail!(
            "{listen} can be reached from other machines, and this is a demonstration: \
             listen on 127.0.0.1 or [::1], or say --allow-remote"
        );
    }
    Ok(())
}

/// A server on one runtime: alone, or one of a team.
pub struct Server<'a, S> {
    pub args: &'a ServerArgs,
    pub service: S,
    /// How many there are.
    pub workers: usize,
    pub team: Option<&'a Team>,
}

impl<S: Host> Program for Server<'_, S> {
    type Output = anyhow::Result<Served>;

    fn is_sandboxed(&self) -> bool {
        self.args.sandbox
    }

    async fn main<R: Net + Files>(self, rt: R) -> anyhow::Result<Served> {
        let Server { args, service, workers, team } = self;
        let connections = connections(args, workers, S::DESCRIPTORS);
        let mut options = ListenOptions::default();
        options.accept_ahead = limits::has_room_for(connections * S::DESCRIPTORS * workers, options.backlog, workers);
        let address = match team {
            Some(team) => {
                options.reuse_port = true;
                team.address()
            }
            None => {
                let remote = rt.remote();
                signals::stop_on_signals(move || remote.stop()).context("cannot watch for signals")?;
                args.listen
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
        let limits = Limits { connections, per_address, grace: args.grace };
        let shared = service.share(&rt);
        let (theirs, runtime) = (Rc::clone(&shared), rt.clone());
        let connection = move |stream| S::connection(Rc::clone(&theirs), runtime.clone(), stream);
        let served = serve(&rt, listener, &limits, connection).await;
        if let Some(summary) = S::summary::<R>(&shared) {
            output::print(&summary)?;
        }
        served.context("cannot accept connections any more")
    }
}

/// The connections each worker may have at the same time, each with so many descriptors: its part of all.
fn connections(args: &ServerArgs, workers: usize, descriptors: usize) -> usize {
    let most = args.max_connections.map_or(usize::MAX, |most| most as usize);
    most.min(limits::connections(workers).div_ceil(descriptors)).div_ceil(workers)
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
