//! One thread per connection, and blocking calls: what there was before.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::http::Requests;
use super::{BUFFER, Service, announce, rest_or_fail};

/// Bytes of a thread's stack. The default (2 MiB) is only address space, but much of it.
const STACK: usize = 64 * 1024;

/// Serves with threads.
pub fn run(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    announce(listener.local_addr())?;
    loop {
        let accepted = listener.accept().and_then(|(stream, _)| {
            thread::Builder::new().stack_size(STACK).spawn(move || connection(service, stream))
        });
        if let Err(error) = accepted {
            rest_or_fail(error)?;
        }
    }
}

fn connection(service: Service, stream: TcpStream) -> io::Result<()> {
    match service {
        Service::Echo => echo(stream),
        Service::Http => hello(stream),
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}

fn hello(mut stream: TcpStream) -> io::Result<()> {
    let (mut buffer, mut requests, mut output) = (vec![0; BUFFER], Requests::default(), Vec::new());
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        output.clear();
        requests.answer(&buffer[..count], &mut output)?;
        stream.write_all(&output)?;
    }
}
