//! Connections that ask in lockstep.
//!
//! While all connections send, the server is stopped. So it finds all requests at once, whatever the speed of
//! the machine, and every turn is like the one before. A single connection needs no stop: it waits for its
//! answer before it goes on.

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::plan::{Scenario, Shape};
use crate::servers::Service;

/// How long an answer may take, or a server to fall asleep.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the kernel is asked what a server does.
const ASK: Duration = Duration::from_micros(50);

const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BODY: &[u8] = b"Hello, World!";

/// The connections of a scenario.
pub struct Crowd {
    server: Pid,
    address: SocketAddr,
    /// So many of them.
    count: usize,
    /// Whether each request has a connection of its own.
    is_churn: bool,
    streams: Vec<TcpStream>,
    request: Vec<u8>,
    /// How an answer ends, and its length.
    end: Vec<u8>,
    answer: Vec<u8>,
}

impl Crowd {
    /// Connects.
    pub fn new(server: Pid, address: SocketAddr, scenario: &Scenario) -> anyhow::Result<Crowd> {
        let request = match scenario.service {
            Service::Echo => (0..scenario.message).map(|place| b'a' + (place % 26) as u8).collect(),
            Service::Http => REQUEST.to_vec(),
        };
        let end = if scenario.service == Service::Echo { request.clone() } else { BODY.to_vec() };
        let count = scenario.connections as usize;
        let is_churn = scenario.shape == Shape::Churn;
        let answer = Vec::new();
        let mut crowd = Crowd { server, address, count, is_churn, streams: Vec::new(), request, end, answer };
        crowd.connect()?;
        let length = crowd.measure_answer()?;
        crowd.answer = vec![0; length];
        Ok(crowd)
    }

    fn connect(&mut self) -> anyhow::Result<()> {
        self.streams.clear();
        for _ in 0..self.count {
            let stream = TcpStream::connect_timeout(&self.address, PATIENCE).context("cannot connect")?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            self.streams.push(stream);
        }
        Ok(())
    }

    /// Asks once, and tells how long the answer is. All others are as long.
    fn measure_answer(&mut self) -> anyhow::Result<usize> {
        let stream = self.streams.first_mut().context("there are no connections")?;
        stream.write_all(&self.request)?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        while !answer.ends_with(&self.end) {
            let count = stream.read(&mut buffer).map_err(no_answer)?;
            ensure!(count > 0, "the server has closed a connection");
            answer.extend_from_slice(&buffer[..count]);
        }
        Ok(answer.len())
    }

    /// Every connection asks so many times.
    pub fn ask(&mut self, turns: u32) -> anyhow::Result<()> {
        for _ in 0..turns {
            let stopped = if self.count > 1 { Some(Stopped::new(self.server)?) } else { None };
            if self.is_churn {
                self.connect()?;
            }
            for stream in &mut self.streams {
                stream.write_all(&self.request).context("cannot send")?;
            }
            drop(stopped);
            for stream in &mut self.streams {
                stream.read_exact(&mut self.answer).map_err(no_answer)?;
                ensure!(self.answer.ends_with(&self.end), "the server has sent a wrong answer");
            }
        }
        // What comes after the last answer belongs to the last turn.
        wait_until_all(self.server, 'S').context("it does not fall asleep after its answers")
    }
}

fn no_answer(error: io::Error) -> anyhow::Error {
    match error.kind() {
        // What a socket's time limit comes out as.
        ErrorKind::WouldBlock => anyhow!("there is no answer within {PATIENCE:?}"),
        _ => anyhow!(error).context("there is no answer"),
    }
}

/// A server that was asleep, and is stopped until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(server: Pid) -> anyhow::Result<Stopped> {
        wait_until_all(server, 'S').context("it does not fall asleep between requests")?;
        kill_process(server, Signal::STOP).context("cannot stop the server")?;
        let stopped = Stopped(server);
        wait_until_all(server, 'T').context("it does not stop")?;
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It fails only if the server has ended; then there is no answer.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Waits until all threads of a process are in a state of proc_pid_stat(5).
fn wait_until_all(process: Pid, state: char) -> anyhow::Result<()> {
    let start = Instant::now();
    while !states(process)?.chars().all(|other| other == state) {
        ensure!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        thread::sleep(ASK);
    }
    Ok(())
}

/// A letter for each thread.
fn states(process: Pid) -> anyhow::Result<String> {
    let mut states = String::new();
    for thread in fs::read_dir(format!("/proc/{process}/task")).context("the server has ended")? {
        match fs::read_to_string(thread?.path().join("stat")) {
            Ok(stat) => states.extend(state(&stat)),
            // The thread has ended: the file is gone, or has nothing to say any more.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error).context("cannot ask what the server does"),
        }
    }
    Ok(states)
}

/// The letter behind the name, which may hold anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_stands_behind_the_name() {
        assert_eq!(state("7 (a) R (b)) S 1 7 7"), Some('S'));
        assert_eq!(state("7 (peers) T 1 7 7"), Some('T'));
        assert_eq!(state(""), None);
    }

    #[test]
    fn this_process_runs() {
        let process = Pid::from_raw(std::process::id() as i32).unwrap();
        assert!(states(process).unwrap().contains('R'));
    }
}
