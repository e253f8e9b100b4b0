//! How to test a service of your own: the same service twice, with a mistake and without.
//!
//! The service sells numbered tickets. A client sends a line for each ticket it wants, `ticket\n`, and gets a line
//! with the number. No number may be sold twice, and no client may be left without an answer: that is what the
//! test below insists on, in any weather.
//!
//! ```text
//! cargo run -p sim --example ticket_counter                                  both, 1000 seeds each
//! SIM_SEED=17 cargo run -p sim --example ticket_counter -- mistaken          one seed again
//! ```
//!
//! The mistaken one passes every test in which what was sent together arrives together, as it nearly always does
//! on a quiet machine. The sim finds it in one of the first seeds.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use sim::{JoinHandle, ListenOptions, Listener, Reader, Runtime, Sim, Stream, Writer};

const LINE: &[u8] = b"ticket\n";

/// The service. It is generic over the runtime: the program that sells real tickets runs it on epoll or io_uring.
struct Counter {
    next: Cell<u64>,
    is_mistaken: bool,
}

impl Counter {
    async fn serve<R: Runtime>(self: Rc<Self>, rt: R, mut listener: R::Listener) -> io::Result<()> {
        loop {
            let stream = listener.accept().await?;
            let counter = Rc::clone(&self);
            rt.spawn(async move { counter.client::<R>(stream).await }).detach();
        }
    }

    async fn client<R: Runtime>(&self, mut stream: R::Stream) -> io::Result<()> {
        let mut pending = Vec::new();
        loop {
            let chunk = stream.recv().await?;
            let bytes = executor::IoBuf::bytes(&chunk);
            if bytes.is_empty() {
                return Ok(());
            }
            pending.extend_from_slice(bytes);
            drop(chunk);
            let mut answer = String::new();
            while pending.starts_with(LINE) {
                pending.drain(..LINE.len());
                answer += &format!("{}\n", self.next.replace(self.next.get() + 1));
            }
            if self.is_mistaken {
                // The mistake: what is left is part of a line, the rest of which may still come.
                pending.clear();
            }
            stream.write_all(answer).await.0?;
        }
    }
}

/// A client that wants `count` tickets; returns their numbers.
async fn buy(sim: Sim, address: SocketAddr, count: usize) -> Vec<u64> {
    let (mut reader, mut writer) = sim.connect(address).await.expect("a connection").split();
    writer.write_all(LINE.repeat(count)).await.0.expect("the service listens");
    writer.shutdown().await.expect("the service listens");
    let mut text = Vec::new();
    while let Ok(chunk) = reader.recv().await
        && !chunk.is_empty()
    {
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).expect("lines").lines().map(|line| line.parse().expect("a number")).collect()
}

/// Three clients buy five tickets each, from a service in the weather of this seed.
fn three_clients(seed: u64, is_mistaken: bool) {
    let sim = Sim::stormy(seed);
    sim.block_on(async {
        let listener = sim.listen("10.0.0.1:80".parse().expect("an address"), &ListenOptions::default()).expect("free");
        let address = listener.local_addr().expect("an address");
        let counter = Rc::new(Counter { next: Cell::new(0), is_mistaken });
        let service = sim.spawn(counter.serve(sim.clone(), listener));
        let clients: Vec<JoinHandle<_>> = (0..3).map(|_| sim.spawn(buy(sim.clone(), address, 5))).collect();
        let mut sold = Vec::new();
        for client in clients {
            let tickets = client.await.expect("a client");
            assert_eq!(tickets.len(), 5, "a client wanted 5 tickets and got {tickets:?}");
            sold.extend(tickets);
        }
        sold.sort_unstable();
        assert_eq!(sold, (0..15).collect::<Vec<_>>(), "each number is sold once");
        service.abort();
    });
    sim.finish();
}

fn main() -> ExitCode {
    let (mistaken, mended) = match std::env::args().nth(1).as_deref() {
        None => (true, true),
        Some("mistaken") => (true, false),
        Some("mended") => (false, true),
        Some(other) => {
            eprintln!("{other}? Say mistaken, mended, or nothing for both.");
            return ExitCode::FAILURE;
        }
    };
    if mistaken && !is_found_out() {
        eprintln!("the mistake was not found");
        return ExitCode::FAILURE;
    }
    if mended {
        sim::for_each_seed(1000, |seed| three_clients(seed, false));
        println!("the mended service passed with all seeds");
    }
    ExitCode::SUCCESS
}

fn is_found_out() -> bool {
    std::panic::catch_unwind(|| sim::for_each_seed(1000, |seed| three_clients(seed, true))).is_err()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_mistake_is_found_and_only_that() {
        assert!(super::is_found_out());
        sim::for_each_seed(200, |seed| super::three_clients(seed, false));
    }
}
