//! Goal: ten thousand connections fit into 64 MiB, what the kernel keeps for them included.
//! Method: the built binary in a memory cgroup of its own, clients outside of it, every response checked. Where such a
//! group cannot be made, a limit on the process's own data is the nearest thing.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::process::{Demos, PATIENCE, connect, engines};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

const LIMIT: usize = 64 << 20;
const CONNECTIONS: usize = 10_000;
/// Connections made before they are served: the kernel keeps that many.
const BATCH: usize = 1000;
const GROUPS: &str = "/sys/fs/cgroup/memory";

/// A memory cgroup (version 1), which is there as long as this.
struct Group(PathBuf);

impl Group {
    /// A group with the limit, if this user may make one here.
    fn new() -> Option<Group> {
        let path = Path::new(GROUPS).join(format!("demos-test-{:016x}", fastrand::u64(..)));
        fs::create_dir(&path).ok()?;
        let group = Group(path);
        fs::write(group.0.join("memory.limit_in_bytes"), LIMIT.to_string()).ok()?;
        Some(group)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).expect("a file of the group")
    }

    /// Nobody was killed for want of memory, and nothing was ever refused.
    fn check(&self) {
        let peak: usize = self.read("memory.max_usage_in_bytes").trim().parse().expect("a number");
        println!("{} of {} MiB at most", peak >> 20, LIMIT >> 20);
        assert!(peak <= LIMIT, "{peak} bytes");
        assert_eq!(self.read("memory.failcnt").trim(), "0");
        assert!(self.read("memory.oom_control").contains("oom_kill 0"));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The group is busy until the kernel is done with its last process.
        let start = Instant::now();
        while fs::remove_dir(&self.0).is_err() && start.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
}

/// Connects so many clients, and has each answered.
fn crowd(address: SocketAddr) {
    let mut crowd = Vec::with_capacity(CONNECTIONS);
    while crowd.len() < CONNECTIONS {
        let first = crowd.len();
        crowd.extend((0..BATCH).map(|_| connect(address)));
        for stream in &mut crowd[first..] {
            stream.write_all(b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
        }
        for stream in &mut crowd[first..] {
            let mut response = Vec::new();
            while !response.ends_with(b"Hello, World!") {
                let mut piece = [0; 512];
                let count = stream.read(&mut piece).expect("a response");
                assert!(count > 0, "the server closed a connection");
                response.extend_from_slice(&piece[..count]);
            }
            assert!(response.starts_with(b"HTTP/1.1 200 "));
        }
    }
    assert_eq!(crowd.len(), CONNECTIONS);
}

#[test]
fn ten_thousand_connections_fit_into_64_mib() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).expect("the soft limit can be raised");
    for engine in engines() {
        let group = Group::new();
        let preparation = match &group {
            Some(group) => format!("echo $$ > {}", group.0.join("cgroup.procs").display()),
            None => format!("ulimit -d {}", LIMIT >> 10),
        };
        let demos = Demos::start_after(&preparation, &format!("http --on {engine} --listen 127.0.0.1:0"));
        crowd(demos.address());
        if let Some(group) = &group {
            group.check();
        }
        demos.signal(Signal::TERM);
        let ended = demos.end();
        assert!(ended.status.success() && ended.stdout.contains("connections=10000 cut=0"), "{engine}: {ended:?}");
    }
}
