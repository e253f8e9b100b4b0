//! Goal: whoever was heard before the stop is answered: a request that the server's kernel had, and also the first
//! one of a connection that was still in its backlog.
//!
//! Method: clients connect and ask at random moments, and so comes the stop. Bytes travel for exactly as long as is
//! known, so each client knows whether its request was there in time; what the server's operations take is little
//! beside the moment that a stop leaves them. Later requests may be answered, too, or find nobody; but the server
//! ends, and cuts nobody off.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use demos::http::Site;
use demos::serve::{LAST_CALL, Limits, serve};
use demos::{echo, http};
use fastrand::Rng;
use sim::{IoBuf, ListenOptions, Listener, Reader, Runtime, Sim, TcpStream, Weather, Writer};

const LATENCY: Duration = Duration::from_micros(300);

/// Runs a server until it is stopped; `last` are the last words of what it owes to `request`. Returns how many
/// requests were there before the stop.
fn world<F>(
    seed: u64,
    connection: impl Fn(Sim, TcpStream) -> F + 'static,
    request: &'static str,
    last: &'static str,
) -> u64
where
    F: Future<Output = ()> + 'static,
{
    // The kernel takes a millisecond or so, and always much less than the server waits.
    let completion = Duration::ZERO..=Duration::from_micros(1_333).min(LAST_CALL / 3);
    // Trouble with accepting takes longer than the moment that is left.
    let weather =
        Weather { latency: LATENCY..=LATENCY, completion, accept_trouble: 0.0, no_buffer: 0.0, ..Weather::stormy() };
    let sim = sim::Builder::new(seed).weather(weather).build();
    let in_time = sim.block_on(async {
        let mut random = Rng::with_seed(seed);
        let listener = sim.listen("127.0.0.1:7".parse().unwrap(), &ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { connections: 100, per_address: None, grace: Duration::from_secs(60) };
        let handle = sim.clone();
        let connection = move |stream| connection(handle.clone(), stream);
        let server = {
            let sim = sim.clone();
            sim.clone().spawn(async move { serve(&sim, listener, &limits, connection).await.unwrap() })
        };
        let stopped = Rc::new(Cell::new(None));
        let clients: Vec<_> = (0..random.u64(1..8))
            .map(|_| sim.spawn(client(sim.clone(), address, random.fork(), Rc::clone(&stopped), request, last)))
            .collect();
        sim.sleep(Duration::from_micros(random.u64(0..5000))).await;
        stopped.set(Some(sim.elapsed()));
        sim.stop();
        assert_eq!(server.await.unwrap().cut, 0);
        let mut in_time = 0;
        for client in clients {
            in_time += client.await.unwrap();
        }
        in_time
    });
    sim.finish();
    in_time
}

/// Asks until the stop; returns how many requests were there before the stop.
async fn client(
    sim: Sim,
    address: SocketAddr,
    mut random: Rng,
    stopped: Rc<Cell<Option<Duration>>>,
    request: &'static str,
    last: &'static str,
) -> u64 {
    sim.sleep(Duration::from_micros(random.u64(0..5000))).await;
    let Ok(mut stream) = sim.connect(address).await else { return 0 };
    let mut in_time = 0;
    loop {
        let is_asked = stream.write_all(request).await.0.is_ok();
        let there = sim.elapsed() + LATENCY;
        let (mut answer, mut is_open) = (Vec::new(), is_asked);
        while is_open && !answer.ends_with(last.as_bytes()) {
            let chunk = stream.recv().await.ok().filter(|chunk| !chunk.bytes().is_empty());
            is_open = chunk.is_some();
            answer.extend(chunk.iter().flat_map(|chunk| chunk.bytes()));
        }
        let was_in_time = is_asked && stopped.get().is_none_or(|stopped| there <= stopped);
        let got = answer.len();
        assert!(!was_in_time || is_open, "there at {there:?}, stopped at {stopped:?}, and {got} bytes of an answer");
        in_time += u64::from(was_in_time);
        if !is_open || stopped.get().is_some() {
            return in_time;
        }
        if random.bool() {
            sim.sleep(Duration::from_micros(random.u64(0..1000))).await;
        }
    }
}

#[test]
fn what_the_echo_server_had_heard_is_answered() {
    let in_time = Cell::new(0);
    sim::for_each_seed(200, |seed| {
        let connection = |sim, stream| async move { drop(echo::connection(sim, stream).await) };
        in_time.set(in_time.get() + world(seed, connection, "hello", "hello"));
    });
    assert!(in_time.get() > 0, "nobody asked before the stop");
}

#[test]
fn what_the_http_server_had_heard_is_answered() {
    let in_time = Cell::new(0);
    let request = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n";
    sim::for_each_seed(200, |seed| {
        let site = Rc::new(Site::new(http::Limits::default(), None).unwrap());
        let connection = move |sim, stream| http::connection(sim, stream, Rc::clone(&site));
        in_time.set(in_time.get() + world(seed, connection, request, "Hello, World!"));
    });
    assert!(in_time.get() > 0, "nobody asked before the stop");
}
