//! Bytes from one peer to the other, both ways at once.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use executor::{IoBuf, Reader, Runtime, Writer};
use futures_lite::future::{or, try_zip};

use super::pair::Pair;
use super::shared::Proxy;

/// Joins a client with a server until both have said all, one of them fails, or both are silent for too long.
///
/// A stop of the runtime changes nothing here: nobody but the two peers knows whether they are in the middle of
/// something. Connections go on until the grace period is over.
pub(crate) async fn relay<R: Runtime>(proxy: &Proxy<R>, rt: &R, stream: R::Stream, client: IpAddr) {
    let mut front: Pair<R> = Pair::new(stream);
    let (from_client, to_client, front_is_midway) = front.parts();
    front_is_midway.set(true);
    // The client learns by a reset that no server could be reached: an orderly end would be an empty answer.
    let Ok(mut link) = proxy.reach(rt, client, &mut Vec::new(), true).await else { return };
    link.place.count();
    let (from_server, to_server, back_is_midway) = link.pair.parts();
    back_is_midway.set(true);
    let moved = Cell::new(rt.turn_time());
    let there = pump(rt, from_client, to_server, &moved);
    let back = pump(rt, from_server, to_client, &moved);
    let both = async {
        // A side that fails takes the other direction along: no peer shall take a broken connection for a whole one.
        // Only two orderly ends make the proxy close in order. Everything else makes it reset both sides.
        let is_whole = try_zip(there, back).await.is_ok();
        front_is_midway.set(!is_whole);
        back_is_midway.set(!is_whole);
    };
    or(both, silence(rt, &moved, proxy.settings.idle_timeout)).await;
}

/// One direction. The end of the stream is passed on, and does not end the other direction (half-close). One chunk
/// at a time: while it is written, nothing is read, so who does not read stops who sends (back-pressure).
async fn pump<R: Runtime>(
    rt: &R,
    from: &mut impl Reader,
    to: &mut impl Writer,
    moved: &Cell<Instant>,
) -> io::Result<()> {
    loop {
        let chunk = from.recv().await?;
        moved.set(rt.turn_time());
        if chunk.bytes().is_empty() {
            return to.shutdown().await;
        }
        to.write_all(chunk).await.0?;
        moved.set(rt.turn_time());
    }
}

/// Waits until nothing has moved for `time`. Its timer is set anew only when it fires.
async fn silence<R: Runtime>(rt: &R, moved: &Cell<Instant>, time: Duration) {
    loop {
        let end = moved.get() + time;
        if rt.turn_time() >= end {
            return;
        }
        rt.sleep_until(end).await;
    }
}
