//! A server of `demos` that hostile clients are set upon, and a polite client that is served meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use demos::serve::{Limits, Served, serve};
use demos::{echo, http};
use executor::{RemoteHandle, Runtime};
use socket2::{Domain, Socket, Type};

use crate::engine::Engine;
use crate::net::listen;
use crate::rounds::Rounds;
use crate::{ms, run};

/// How long anything may take that should happen soon.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// What comes in goes out.
    Echo,
    /// HTTP/1.1.
    Http,
}

impl Service {
    /// One after the other.
    #[must_use]
    pub fn of_round(round: u64) -> Service {
        if round.is_multiple_of(2) { Service::Echo } else { Service::Http }
    }

    /// One question, and its answer in full.
    ///
    /// # Panics
    /// If it is another, or does not come.
    pub fn ask(self, stream: &mut TcpStream, number: u64) {
        let (question, answer) = self.exchange(number);
        stream.write_all(question.as_bytes()).expect("the polite client's question goes out");
        let mut received = Vec::new();
        while !received.ends_with(answer.as_bytes()) {
            let mut buffer = [0; 512];
            let count = stream.read(&mut buffer).expect("the polite client's answer comes");
            assert!(count > 0, "the server ended a polite client's connection");
            received.extend_from_slice(&buffer[..count]);
            assert!(received.len() < 512, "{}", String::from_utf8_lossy(&received));
        }
        let expected = if self == Service::Echo { answer } else { "HTTP/1.1 200 OK\r\n".to_owned() };
        assert!(received.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&received));
    }

    /// A question, and how the answer to it ends.
    #[must_use]
    pub fn exchange(self, number: u64) -> (String, String) {
        match self {
            Service::Echo => (format!("question {number}"), format!("question {number}")),
            Service::Http => ("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "Hello, World!".to_owned()),
        }
    }
}

/// A running server, as its clients' thread sees it.
#[derive(Debug)]
pub struct Victim {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Which one it is.
    pub service: Service,
    /// The most chunks it had on loan whenever somebody looked.
    pub most_lent: Arc<AtomicU64>,
}

impl Victim {
    /// A connection on which nothing takes longer than [`PATIENCE`].
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.addr).expect("connect"))
    }

    /// The same, from this address of the loopback network.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn connect_from(&self, addr: Ipv4Addr) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((addr, 0)).into()).expect("bind");
        socket.connect(&self.addr.into()).expect("connect");
        patient(socket.into())
    }
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// Stops the runtime however its clients end.
struct StopOnDrop(RemoteHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Runs the server on the engine, and `clients` on another thread; when they are done, the server is stopped,
/// and checked: no connection had to be cut, no task has panicked, and all that was taken is given back.
///
/// # Panics
/// If the clients do, or the check fails.
pub fn against<E: Engine, T: Send>(
    service: Service,
    connections: usize,
    limits: http::Limits,
    clients: impl FnOnce(&Victim) -> T + Send,
) -> (T, Served) {
    against_limited::<E, T>(service, &Limits { connections, per_address: None, grace: PATIENCE }, limits, clients)
}

/// As [`against`], with all limits of the server.
///
/// # Panics
/// As it does.
pub fn against_limited<E: Engine, T: Send>(
    service: Service,
    limits: &Limits,
    http_limits: http::Limits,
    clients: impl FnOnce(&Victim) -> T + Send,
) -> (T, Served) {
    let (tell, told) = mpsc::channel();
    let most_lent = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        let seen = Arc::clone(&most_lent);
        let clients = scope.spawn(move || {
            let (addr, remote) = told.recv().expect("a server");
            let _stop = StopOnDrop(remote);
            clients(&Victim { addr, service, most_lent: seen })
        });
        let mut served = Served::default();
        run::<E>(async |rt| {
            let (listener, addr) = listen(rt);
            tell.send((addr, rt.remote())).expect("clients");
            let watch = rt.spawn(watch(rt.clone(), Arc::clone(&most_lent)));
            // A polite client may ask as much as it has time for.
            let http_limits = http::Limits { requests: u64::MAX, ..http_limits };
            let site = Rc::new(http::Site::new(http_limits, None).expect("a site without files"));
            let runtime = rt.clone();
            let connection = move |stream| {
                let (rt, site) = (runtime.clone(), Rc::clone(&site));
                async move {
                    match service {
                        // A client that goes without a word is no error of the server's.
                        Service::Echo => drop(echo::connection(rt, stream).await),
                        Service::Http => http::connection(rt, stream, site).await,
                    }
                }
            };
            served = serve(rt, listener, limits, connection).await.expect("accept");
            watch.await.expect("it does not panic");
            let stats = rt.stats();
            assert_eq!((stats.tasks_panicked, stats.tasks_refused, served.cut), (0, 0, 0), "{stats}");
        });
        (clients.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), served)
    })
}

/// Looks how many chunks are lent, until the runtime is stopped.
async fn watch<R: Runtime>(rt: R, most: Arc<AtomicU64>) {
    while rt.timeout(ms(5), rt.stopped()).await.is_err() {
        most.fetch_max(rt.stats().driver.chunks_lent_now, Ordering::Relaxed);
    }
}

/// How long a polite client waited, at the 99th percentile: before the others came, and with them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    quiet: Duration,
    crowded: Duration,
}

impl Waits {
    /// How often the quiet wait fits into the crowded one.
    #[must_use]
    pub fn times(self) -> f64 {
        self.crowded.as_secs_f64() / self.quiet.as_secs_f64()
    }

    /// Takes the worst of all rounds down.
    pub fn report(all: &[Waits], rounds: &mut Rounds) {
        for (name, wait) in [
            ("probe p99 alone, us", all.iter().map(|waits| waits.quiet).max()),
            ("probe p99 beside them, us", all.iter().map(|waits| waits.crowded).max()),
        ] {
            rounds.figure(name, wait.unwrap_or_default().as_micros());
        }
    }
}

/// Questions a polite client asks while it has the server to itself.
const QUIET: u64 = 100;

/// Has a polite client ask and ask while `attack` goes on; all its questions are answered, rightly.
///
/// # Panics
/// If one is not.
pub fn beside_a_polite_client<T>(victim: &Victim, attack: impl FnOnce() -> T) -> (T, Waits) {
    let mut stream = victim.connect();
    let mut ask = move |number| {
        let asked = Instant::now();
        victim.service.ask(&mut stream, number);
        asked.elapsed()
    };
    let quiet = (0..QUIET).map(&mut ask).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let is_over = &is_over;
        let client = scope.spawn(move || {
            // One question comes after the attack in any case: the server has survived it.
            let going_on = (QUIET..).take_while(|_| !is_over.load(Ordering::Relaxed)).map(&mut ask);
            let mut waits: Vec<_> = going_on.collect();
            waits.push(ask(u64::MAX));
            waits
        });
        let done = Over(is_over);
        let result = attack();
        drop(done);
        let crowded = client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (result, Waits { quiet: p99(quiet), crowded: p99(crowded) })
    })
}

/// Ends the polite client's questions however the attack ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn p99(mut waits: Vec<Duration>) -> Duration {
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order.
    End,
    /// By a reset.
    Reset,
}

/// All that still comes, and how it ends.
///
/// # Panics
/// If it does not end.
pub fn drain(stream: &mut TcpStream) -> (Vec<u8>, Ending) {
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => (received, Ending::End),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (received, Ending::Reset),
        Err(error) => panic!("a connection neither ends nor goes on: {error}"),
    }
}
