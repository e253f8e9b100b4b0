//! A server that says its name to whoever comes, listens to the end, and closes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

/// Dropping it closes its port.
pub struct Label {
    pub address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Label {
    /// On this address; port 0 is any.
    pub fn start(name: &str, address: SocketAddr) -> Label {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().unwrap();
        let (name, is_over) = (name.to_owned(), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&is_over);
        let thread = spawn(move || {
            for client in listener.incoming() {
                if flag.load(Ordering::Relaxed) {
                    return;
                }
                // A check says nothing and does not listen.
                let Ok(mut client) = client else { continue };
                let _ = client.write_all(name.as_bytes());
                let _ = client.shutdown(Shutdown::Write);
                let _ = client.read_to_end(&mut Vec::new());
            }
        });
        Label { address, is_over, thread: Some(thread) }
    }

    pub fn start_anywhere(name: &str) -> Label {
        Label::start(name, "127.0.0.1:0".parse().unwrap())
    }
}

impl Drop for Label {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
