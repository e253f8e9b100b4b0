//! Goal: what a client makes the server hold is bounded, and given back when it is gone.
//! Method: the built binary, many clients that begin and never go on, or ask and never read; its memory and
//! descriptors as the kernel counts them.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Demos, PATIENCE, connect, engines};

const CLIENTS: u64 = 300;
/// Of those who never read; each has the kernel take some megabytes.
const DOWNLOADS: u64 = 50;
/// What one of them may cost.
const EACH: u64 = 64 * 1024;

/// The memory a process has in use, exactly.
fn resident(process: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// One answer on a connection of its own: the server is there, and has had a look at what came before.
fn ask(address: SocketAddr) {
    let mut stream = connect(address);
    stream.write_all(b"GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.ends_with("Hello, World!"), "{answer}");
}

fn wait_for_descriptors(process: u32, expected: usize) {
    let begun = Instant::now();
    while descriptors(process) != expected {
        assert!(begun.elapsed() < PATIENCE, "{} descriptors instead of {expected}", descriptors(process));
        thread::sleep(Duration::from_millis(10));
    }
}

fn end(engine: &str, server: Demos) {
    server.signal(Signal::TERM);
    let ended = server.end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{engine}: {ended:?}");
    assert!(ended.stdout.contains(" cut=0 "), "{engine}: {ended:?}");
}

#[test]
fn half_a_request_costs_little() {
    // As much as a head may have, but for its end.
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(16_000));
    for engine in engines() {
        let server = Demos::start(&format!("http --on {engine} --listen 127.0.0.1:0"));
        let (address, process) = (server.address(), server.id());
        let files = descriptors(process);
        // The first answer brings in what is needed once.
        ask(address);
        let memory = resident(process);
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(address)).collect();
        clients.iter_mut().for_each(|client| client.write_all(head.as_bytes()).unwrap());
        (0..3).for_each(|_| ask(address));
        let grown = resident(process).saturating_sub(memory);
        assert!(grown <= CLIENTS * EACH, "{engine}: {} bytes for each client", grown / CLIENTS);
        println!("{engine}: {} bytes for each client in the middle of its head", grown / CLIENTS);
        drop(clients);
        wait_for_descriptors(process, files);
        end(&engine, server);
    }
}

/// A directory with a file of 100 MiB, which takes no room on the disk.
struct Root(PathBuf);

impl Root {
    fn new() -> Root {
        let root = std::env::temp_dir().join(format!("demos-memory-{:016x}", fastrand::u64(..)));
        fs::create_dir(&root).unwrap();
        fs::File::create(root.join("large")).unwrap().set_len(100 << 20).unwrap();
        Root(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn clients_that_never_read_cost_little_and_are_given_up() {
    let root = Root::new();
    for engine in engines() {
        let root = root.0.display();
        let options = format!("http --on {engine} --listen 127.0.0.1:0 --root {root} --stall-timeout 0.5");
        let server = Demos::start(&options);
        let (address, process) = (server.address(), server.id());
        let files = descriptors(process);
        // The first answer brings in what is needed once.
        ask(address);
        let memory = resident(process);
        let asked = Instant::now();
        let mut clients: Vec<_> = (0..DOWNLOADS).map(|_| connect(address)).collect();
        let question = b"GET /files/large HTTP/1.1\r\nHost: a\r\n\r\n";
        clients.iter_mut().for_each(|client| client.write_all(question).unwrap());
        let mut grown = 0;
        // The server has heard of all of them.
        while descriptors(process) < files + usize::try_from(DOWNLOADS).unwrap() {
            assert!(asked.elapsed() < PATIENCE, "{engine}: it does not accept");
            thread::sleep(Duration::from_millis(1));
        }
        // Each has a socket and a file.
        while descriptors(process) != files {
            assert!(asked.elapsed() < PATIENCE, "{engine}: clients that never read are kept");
            grown = grown.max(resident(process).saturating_sub(memory));
            ask(address);
        }
        assert!(asked.elapsed() >= Duration::from_millis(500), "{engine}: given up early");
        assert!(grown <= DOWNLOADS * EACH, "{engine}: {} bytes for each client", grown / DOWNLOADS);
        println!("{engine}: {} bytes for each client that does not read its file", grown / DOWNLOADS);
        end(&engine, server);
    }
}

#[test]
fn a_million_requests_of_a_client_that_never_reads_cost_little() {
    /// What the kernel may have received in one burst, on the proactor: all of its pool.
    const MOST: u64 = 20 << 20;
    let requests = b"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000);
    for engine in engines() {
        // After the last request of a connection the server throws away what comes.
        let options = "--stall-timeout 1 --max-requests 10000000";
        let server = Demos::start(&format!("http --on {engine} --listen 127.0.0.1:0 {options}"));
        let (address, process) = (server.address(), server.id());
        let files = descriptors(process);
        // The first answer brings in what is needed once.
        ask(address);
        let memory = resident(process);
        let mut client: TcpStream = connect(address);
        client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let sent = (0..1_000).map_while(|_| client.write_all(&requests).ok()).count();
        assert!(sent < 1_000, "{engine}: it has read a million requests of a client that does not read");
        let grown = resident(process).saturating_sub(memory);
        assert!(grown <= MOST, "{engine}: {grown} bytes");
        println!("{engine}: {grown} bytes for one client that sends {sent},000 requests and does not read");
        wait_for_descriptors(process, files);
        ask(address);
        drop(client);
        end(&engine, server);
    }
}
