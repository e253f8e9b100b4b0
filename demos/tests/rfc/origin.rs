//! A server behind the proxy that records what reaches it, and sends the answers of the table.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::process::PATIENCE;

const USUAL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

/// It serves until the test's process ends.
pub struct Origin {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    seen: Vec<u8>,
    /// What it answers, before it closes; the usual, after which it stays, if this is empty.
    answer: Vec<u8>,
}

impl Origin {
    pub fn start() -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &state));
            }
        });
        Origin { address, state }
    }

    /// Forgets what it has seen, and takes a new answer.
    pub fn prepare(&self, answer: &[u8]) {
        *self.state.lock().unwrap() = State { seen: Vec::new(), answer: answer.to_vec() };
    }

    /// What has come since then.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.state.lock().unwrap().seen).into_owned()
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = request(&mut reader)?;
        if request.is_empty() {
            return Ok(());
        }
        let answer = {
            let mut state = state.lock().unwrap();
            state.seen.extend_from_slice(&request);
            state.answer.clone()
        };
        let (mut writer, is_head) = (stream, request.starts_with(b"HEAD "));
        match answer.is_empty() {
            true if is_head => writer.write_all(&USUAL[..USUAL.len() - 2])?,
            true => writer.write_all(USUAL)?,
            false => return writer.write_all(&answer),
        }
    }
}

/// One request as the proxy writes it: with `Content-Length: N`, in chunks, or without a body.
fn request(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(Vec::new());
        }
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")) {
        let length = length.parse().map_err(io::Error::other)?;
        reader.take(length).read_to_end(&mut bytes)?;
    }
    if head.lines().any(|line| line == "Transfer-Encoding: chunked") {
        while !bytes.ends_with(b"\r\n0\r\n\r\n") {
            if reader.read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
        }
    }
    Ok(bytes)
}
