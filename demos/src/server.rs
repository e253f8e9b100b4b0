//! What the server commands share: address, signals, the line that says "ready", the summary.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use demos::serve::{Limits, Served, serve};
use executor::{ListenOptions, Listener, Runtime};

use crate::cli::ServerArgs;
use crate::engine::{self, Engine, Program};
use crate::{control, limits, output, signals};

/// How long a killed process may hold an address at most; it was seen to take some milliseconds.
const TAKEDOWN: Duration = Duration::from_millis(200);
const TAKEDOWN_STEP: Duration = Duration::from_millis(2);

/// What a server does with its connections.
pub trait Service: 'static {
    /// Serves one connection to its end.
    fn connection<R: Runtime>(service: Rc<Self>, rt: R, stream: R::Stream) -> impl Future<Output = ()>;
}

/// Runs a server until it is told to stop, and prints what it did.
pub fn run<S: Service>(engine: Option<Engine>, args: ServerArgs, service: S) -> anyhow::Result<()> {
    if !args.listen.ip().is_loopback() && !args.allow_remote {
        bail!(
            "{} can be reached from other machines, and this is a demonstration: \
             listen on 127.0.0.1 or [::1], or say --allow-remote",
            args.listen
        );
    }
    limits::raise_open_files();
    let (served, stats) = engine::run(engine, Server { args, service })?;
    let Served { connections, cut } = served?;
    output::print(&format!("served connections={connections} cut={cut} {stats}"))
}

struct Server<S> {
    args: ServerArgs,
    service: S,
}

impl<S: Service> Program for Server<S> {
    type Output = anyhow::Result<Served>;

    async fn main<R: Runtime>(self, rt: R) -> anyhow::Result<Served> {
        let Server { args, service } = self;
        signals::stop_on_signals(rt.remote()).context("cannot watch for signals")?;
        let listener = listen(&rt, args.listen)
            .await
            .map_err(|error| anyhow!("cannot listen on {}: {error}{}", args.listen, remedy(&error)))?;
        output::print(&format!("listening on {} ({})", listener.local_addr()?, rt.engine()))?;
        if args.control {
            control::answer(&rt)?;
        }
        let most = args.max_connections.map_or(usize::MAX, |most| most as usize);
        let limits = Limits { connections: most.min(limits::connections()), grace: args.grace };
        let service = Rc::new(service);
        let runtime = rt.clone();
        let connection = move |stream| S::connection(Rc::clone(&service), runtime.clone(), stream);
        serve(&rt, listener, &limits, connection).await.context("cannot accept connections any more")
    }
}

/// Listens. An address in use is tried again for a moment: when a process that uses io_uring is killed,
/// the kernel takes its ring down in the background, and the ring holds its listener until then, which
/// SO_REUSEADDR doesn't help against. Without this a server that is killed and started again would fail.
async fn listen<R: Runtime>(rt: &R, address: SocketAddr) -> io::Result<R::Listener> {
    let give_up = rt.now() + TAKEDOWN;
    loop {
        match rt.listen(address, &ListenOptions::default()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && rt.now() < give_up => {
                rt.sleep(TAKEDOWN_STEP).await;
            }
            result => return result,
        }
    }
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
