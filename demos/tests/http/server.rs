//! The server under test: on a thread of its own, with a runtime of its own, on a free port.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use demos::http::{Limits, Site, connection};
use executor::{Files, JoinSet, ListenOptions, Listener, RemoteHandle, Stats};
use futures_lite::future::or;
use proactor::Proactor;
use reactor::{Builder, Reactor, Trigger};

/// What no step of a test may exceed. A hang is a failure.
pub const WATCHDOG: Duration = Duration::from_secs(30);

/// The engines a test runs on.
#[derive(Clone, Copy, Debug)]
pub enum Engine {
    ReactorLevel,
    ReactorEdge,
    Proactor,
}

impl Engine {
    /// As the server names it.
    pub fn name(self) -> &'static str {
        match self {
            Engine::ReactorLevel => "reactor-level",
            Engine::ReactorEdge => "reactor-edge",
            Engine::Proactor => "proactor",
        }
    }

    /// Whether it can be set up here. If not, says so past the test harness, which keeps the output of
    /// tests that pass to itself.
    fn is_available(self) -> bool {
        let Engine::Proactor = self else { return true };
        let missing = Proactor::new().err();
        if let Some(missing) = &missing {
            let _ = writeln!(io::stderr(), "proactor: SKIPPED, cannot be set up here: {missing}");
        }
        missing.is_none()
    }
}

const ENGINES: [Engine; 3] = [Engine::ReactorLevel, Engine::ReactorEdge, Engine::Proactor];

/// Runs `test` on each engine, against a server within these limits that serves files below `root`.
pub fn on_every_engine(limits: Limits, root: Option<PathBuf>, test: fn(&Server)) {
    for engine in ENGINES.into_iter().filter(|engine| engine.is_available()) {
        let (limits, root) = (limits.clone(), root.clone());
        let (done, is_done) = mpsc::channel();
        let body = thread::spawn(move || {
            let server = Server::start(engine, limits, root);
            test(&server);
            server.end();
            let _ = done.send(());
        });
        match is_done.recv_timeout(WATCHDOG) {
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs on {engine:?}"),
            _ => body.join().unwrap_or_else(|_| panic!("failed on {engine:?}")),
        }
    }
}

pub struct Server {
    pub engine: Engine,
    pub addr: SocketAddr,
    pub remote: RemoteHandle,
    thread: thread::JoinHandle<(Stats, Stats)>,
}

impl Server {
    fn start(engine: Engine, limits: Limits, root: Option<PathBuf>) -> Server {
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            let site = Rc::new(Site::new(limits, root.as_deref()).unwrap());
            match engine {
                Engine::ReactorLevel => run_reactor(Trigger::Level, site, ready),
                Engine::ReactorEdge => run_reactor(Trigger::Edge, site, ready),
                Engine::Proactor => run_proactor(site, ready),
            }
        });
        let (addr, remote) = is_ready.recv_timeout(WATCHDOG).unwrap();
        Server { engine, addr, remote, thread }
    }

    /// Stops it, and checks that nothing is left of it.
    fn end(self) {
        self.remote.stop();
        let (before, after) = self.thread.join().unwrap();
        assert_eq!((before.tasks_now, before.timers_now, before.tasks_panicked), (0, 0, 0), "{before}");
        assert_eq!(before.driver.chunks_lent_now, 0, "{before}");
        assert_eq!(before.driver.sources_now.unwrap_or(0), 0, "{before}");
        assert_eq!(after.driver.operations_now.unwrap_or(0), 0, "{after}");
        assert_eq!(after.driver.ops_leaked.unwrap_or(0), 0, "{after}");
        assert_eq!(after.driver.stray_cqes.unwrap_or(0), 0, "{after}");
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        stream
    }

    /// Sends all of it and returns everything that comes back, to the end.
    pub fn talk(&self, input: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        stream.write_all(input.as_ref()).unwrap();
        read_to_end(&mut stream)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

/// Reads to the end, which must not be a reset: that could have overtaken the last response.
pub fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        panic!("{error} after {:?}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads to the end or to a reset, for clients that did more than the server waits for.
pub fn read_to_end_or_reset(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// Reads one response with its body.
pub fn read_response(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        read_byte(stream, &mut bytes).unwrap();
    }
    let head = String::from_utf8(bytes.clone()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    for _ in 0..length.map_or(0, |length| length.parse().unwrap()) {
        read_byte(stream, &mut bytes).unwrap();
    }
    String::from_utf8(bytes).unwrap()
}

fn read_byte(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    bytes.push(byte[0]);
    Ok(())
}

/// The status codes in a server's output, by their lines.
pub fn statuses(output: &str) -> Vec<u16> {
    let mut heads = output.split("HTTP/1.1 ");
    heads.next();
    heads.map(|head| head[..3].parse().unwrap()).collect()
}

fn run_reactor(trigger: Trigger, site: Rc<Site>, ready: mpsc::Sender<(SocketAddr, RemoteHandle)>) -> (Stats, Stats) {
    let owner = Builder::new().trigger(trigger).build().unwrap();
    let handle: Reactor = owner.clone();
    owner.block_on(serve(owner.clone(), site, ready));
    let before = owner.stats();
    drop(owner);
    (before, handle.stats())
}

fn run_proactor(site: Rc<Site>, ready: mpsc::Sender<(SocketAddr, RemoteHandle)>) -> (Stats, Stats) {
    let owner = Proactor::new().expect("an io_uring; `demos doctor` says what is missing");
    let handle = owner.clone();
    owner.block_on(serve(owner.clone(), site, ready));
    let before = owner.stats();
    drop(owner);
    (before, handle.stats())
}

async fn serve<R: Files>(rt: R, site: Rc<Site>, ready: mpsc::Sender<(SocketAddr, RemoteHandle)>) {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut listener = rt.listen(any_port, &ListenOptions::default()).unwrap();
    ready.send((listener.local_addr().unwrap(), rt.remote())).unwrap();
    let mut connections = JoinSet::new();
    let stopped = || async {
        rt.stopped().await;
        None
    };
    while let Some(stream) = or(async { Some(listener.accept().await.unwrap()) }, stopped()).await {
        connections.add(rt.spawn(connection(rt.clone(), stream, Rc::clone(&site))));
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        ended.unwrap();
    }
}

/// Writes until the other side takes no more, or ends it.
pub fn write_until_it_stops(stream: &mut TcpStream, bytes: &[u8], most: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut written = 0;
    while written < most {
        match stream.write(bytes) {
            Ok(count) => written += count,
            Err(_) => break,
        }
    }
    written
}
