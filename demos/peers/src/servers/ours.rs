//! This project's runtimes: the same plain servers as on the peers, written once, and the servers of
//! `demos`, which do more (limits, deadlines, an orderly end) and are measured for what that costs.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use demos::http::{self, Site};
use demos::serve::{self, serve};
use executor::{Files, IoBuf, Listener, Reader, Runtime, Stream};
use proactor::Proactor;
use reactor::{Reactor, Trigger};
use rustix::process::{Resource, getrlimit};

use super::http::Requests;
use super::{Service, announce};

/// `reactor`, level-triggered.
pub fn reactor_level(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let rt = reactor(Trigger::Level)?;
    let listener = reactor::TcpListener::from_std(&rt, listener)?;
    plain(&rt, service, listener)
}

/// `reactor`, edge-triggered.
pub fn reactor_edge(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let rt = reactor(Trigger::Edge)?;
    let listener = reactor::TcpListener::from_std(&rt, listener)?;
    plain(&rt, service, listener)
}

/// `proactor`.
pub fn proactor(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let rt = Proactor::new()?;
    let listener = proactor::TcpListener::from_std(&rt, listener)?;
    plain(&rt, service, listener)
}

/// How long the spinning ones look for work before they sleep: what the spinning hand-written loops do.
const SPIN: Duration = Duration::from_micros(50);

/// `reactor`, edge-triggered, with a spin before it sleeps.
pub fn reactor_edge_spin(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let rt = reactor::Builder::new().spin(SPIN).build()?;
    let listener = reactor::TcpListener::from_std(&rt, listener)?;
    plain(&rt, service, listener)
}

/// `proactor`, with a spin before it sleeps.
pub fn proactor_spin(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let rt = proactor::Builder::new().spin(SPIN).build()?;
    let listener = proactor::TcpListener::from_std(&rt, listener)?;
    plain(&rt, service, listener)
}

/// The servers of `demos` on `reactor`, level-triggered.
pub fn demo_reactor_level(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let rt = reactor(Trigger::Level)?;
    let listener = reactor::TcpListener::from_std(&rt, listener)?;
    demo(&rt, service, listener)
}

/// The servers of `demos` on `reactor`, edge-triggered.
pub fn demo_reactor_edge(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let rt = reactor(Trigger::Edge)?;
    let listener = reactor::TcpListener::from_std(&rt, listener)?;
    demo(&rt, service, listener)
}

/// The servers of `demos` on `proactor`.
pub fn demo_proactor(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let rt = Proactor::new()?;
    let listener = proactor::TcpListener::from_std(&rt, listener)?;
    demo(&rt, service, listener)
}

fn reactor(trigger: Trigger) -> io::Result<Reactor> {
    reactor::Builder::new().trigger(trigger).build()
}

/// Accepts, and gives each connection a task.
fn plain<R: Runtime>(rt: &R, service: Service, mut listener: R::Listener) -> anyhow::Result<()> {
    announce(listener.local_addr())?;
    rt.block_on(async {
        loop {
            let stream = listener.accept().await?;
            match service {
                Service::Echo => rt.spawn(echo::<R>(stream)).detach(),
                Service::Http => rt.spawn(hello::<R>(stream)).detach(),
            }
        }
    })
}

// How a connection ends is of no interest to either.

async fn echo<R: Runtime>(mut stream: R::Stream) {
    let mut received = stream.recv().await;
    while let Ok(chunk) = received
        && !chunk.bytes().is_empty()
    {
        received = stream.exchange(chunk).await;
    }
}

async fn hello<R: Runtime>(mut stream: R::Stream) {
    let (mut requests, mut output) = (Requests::default(), Vec::new());
    let mut received = stream.recv().await;
    while let Ok(chunk) = received
        && !chunk.bytes().is_empty()
        && requests.answer(chunk.bytes(), &mut output).is_ok()
    {
        drop(chunk);
        // As much room as the last answers took: they are mostly alike.
        let room = output.len();
        received = stream.exchange(std::mem::replace(&mut output, Vec::with_capacity(room))).await;
    }
}

/// Descriptors that are no connections: the engine's, the listener, the standard streams.
const RESERVED: usize = 64;

/// Serves with all limits at their defaults, except that a connection may ask as often as it likes.
fn demo<R: Files>(rt: &R, service: Service, listener: R::Listener) -> anyhow::Result<()> {
    announce(listener.local_addr())?;
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    let connections = files.unwrap_or(usize::MAX).saturating_sub(RESERVED).max(1);
    let limits = serve::Limits { connections, per_address: None, grace: Duration::ZERO };
    let runtime = rt.clone();
    let served = match service {
        Service::Echo => {
            let connection = move |stream| {
                let echo = demos::echo::connection(runtime.clone(), stream);
                async { drop(echo.await) }
            };
            rt.block_on(serve(rt, listener, &limits, connection))
        }
        Service::Http => {
            let site = Rc::new(Site::new(http::Limits { requests: u64::MAX, ..http::Limits::default() }, None)?);
            let connection = move |stream| http::connection(runtime.clone(), stream, Rc::clone(&site));
            rt.block_on(serve(rt, listener, &limits, connection))
        }
    };
    served.map(drop).context("cannot accept connections any more")
}
