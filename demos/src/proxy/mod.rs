//! A load balancer: one address in front of several servers.
//!
//! It shows what every site behind more than one machine has: somebody who chooses a server for each client
//! ([`Policy`]), notices when one fails, gives its work to the others, and takes it back when it is well again.
//!
//! ```text
//! demos http --listen 127.0.0.1:9001 & demos http --listen 127.0.0.1:9002 &
//! demos proxy --http --to 127.0.0.1:9001 --to 127.0.0.1:9002     then: curl -i http://127.0.0.1:8080/
//! ```
//!
//! Kill one of the two and ask on: no request fails, and the proxy says who is out. Start it again: it is back.
//!
//! # Two kinds
//!
//! Without `--http` it moves bytes and knows nothing of them: a server is chosen for each *connection*, and the end
//! of either side is passed on to the other. With `--http` it reads requests, and a server is chosen for each
//! *request*: connections to servers are kept for the next request, whoever's it is, and what concerns the one
//! connection (hop-by-hop headers) is not passed to the other.
//!
//! # What is never done
//!
//! * A connection or request whose first byte has reached a server goes to no other server, unless it may be
//!   repeated (GET, HEAD, OPTIONS without a body) and no byte of an answer has come.
//! * Nobody is read from whose last bytes have not been passed on: between two peers lies one chunk at a time.
//! * No request is passed on as it stands: each is read as strictly as `demos http` reads it, and written anew. What
//!   could be read in two ways is refused, so a server cannot take part of one client's body for another's request.
//! * With HTTP, no request goes in a circle, also not by way of another proxy: one that has been here, as its `Via` says,
//!   is answered 508. Bytes have no such mark: there, the number of connections is the only bound.
//!
//! # Reading order
//!
//! `balance.rs` (which server is next), `servers.rs` (which ones are in), `shared.rs` (what connections share), `oneself.rs`
//! (a proxy that meets itself), `health.rs` (checks),
//! `pair.rs` (how connections end), `relay.rs` (bytes), then HTTP: `exchange.rs` (the life of a connection), `sending.rs`, `passing.rs` (bodies, there and
//! back), `request.rs`, `reply.rs` (heads), `idle.rs` (connections that are kept).

mod balance;
mod exchange;
mod health;
mod idle;
mod oneself;
mod pair;
mod passing;
mod relay;
mod reply;
mod request;
mod sending;
mod servers;
mod settings;
mod shared;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use executor::{Runtime, Stream};

pub use balance::Policy;
pub use servers::{Event, Target};
pub use settings::Settings;
pub use shared::Proxy;

impl<R: Runtime> Proxy<R> {
    /// A proxy in front of `targets`. Whatever happens to one of them is told to `observer`. All are in at first, and
    /// each is checked for the first time after [`Settings::check_every`].
    pub fn new(rt: &R, targets: &[Target], settings: Settings, observer: impl Fn(&Event) + 'static) -> Rc<Proxy<R>> {
        let proxy = Rc::new(Proxy::unchecked(targets, settings, observer));
        for server in 0..targets.len() {
            rt.spawn(health::watch(rt.clone(), Rc::downgrade(&proxy), server)).detach();
        }
        proxy
    }
}

/// Serves one connection to its end. Whatever goes wrong with it ends it and nothing else.
///
/// # Cancel safety
/// Dropping this future closes the connection, and the one to the server with it.
pub async fn connection<R: Runtime>(proxy: Rc<Proxy<R>>, rt: R, stream: R::Stream) {
    // Who has gone already has no address.
    let Ok(client) = stream.peer_addr() else { return };
    match &proxy.settings.http {
        Some(limits) => exchange::converse(&proxy, &rt, stream, client.ip(), limits).await,
        None => relay::relay(&proxy, &rt, stream, client.ip()).await,
    }
}
