//! A server as a program for any engine: it listens, says so, serves, and counts.

use std::rc::Rc;

use anyhow::{Context, bail};
use demos::sandbox;
use demos::serve::{Limits, Served, serve};
use executor::{Files, ListenOptions, Listener, Net};

use super::control;
use super::host::Host;
use super::listen::{listen, refusal, watch_over};
use super::team::Team;
use crate::args::ServerArgs;
use crate::engine::Program;
use crate::{descriptors, log, signals};

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
        options.accept_ahead =
            descriptors::has_room_for(connections * S::DESCRIPTORS * workers, options.backlog, workers);
        let addresses = match team {
            Some(team) => {
                options.reuse_port = true;
                team.addresses()
            }
            None => {
                let remote = rt.remote();
                signals::stop_on_signals(move || remote.stop()).context("cannot watch for signals")?;
                &args.listen
            }
        };
        let listeners = listen(&rt, addresses, &options).await;
        let listeners = listeners.map_err(|refused| refusal(refused.address, &refused.error))?;
        for listener in listeners.iter() {
            watch_over(listener).context("cannot set the options of the listener")?;
            if let Some(objection) = service.objection(listener.local_addr()?) {
                bail!("{objection}");
            }
        }
        // The last one to be ready acts for all.
        if team.is_none_or(Team::is_complete) {
            if args.sandbox {
                sandbox::enter()?;
            }
            log::tell_patiently(format_args!("listening on {} ({})", listeners.places()?, rt.engine()));
        }
        if args.control {
            control::answer(&rt)?;
        }
        let per_address = args.max_per_address.map(|most| most as usize);
        let limits = Limits { connections, per_address, grace: args.grace };
        let shared = service.share(&rt);
        let (theirs, runtime) = (Rc::clone(&shared), rt.clone());
        let connection = move |stream| S::connection(Rc::clone(&theirs), runtime.clone(), stream);
        let served = serve(&rt, listeners, &limits, connection).await;
        if let Some(summary) = S::summary::<R>(&shared) {
            log::tell_patiently(summary);
        }
        served.context("cannot accept connections any more")
    }
}

/// The connections each worker may have at the same time, each with so many descriptors: its part of all.
fn connections(args: &ServerArgs, workers: usize, descriptors: usize) -> usize {
    let most = args.max_connections.map_or(usize::MAX, |most| most as usize);
    most.min(descriptors::connections(workers).div_ceil(descriptors)).div_ceil(workers)
}
