//! tokio, on one thread: `current_thread` and `spawn` (a `LocalSet` came out the same).

use std::io;
use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::Requests;
use super::{BUFFER, Service, announce, rest_or_fail};

/// Serves on tokio.
pub fn run(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        announce(listener.local_addr())?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(service, stream))),
                Err(error) => rest_or_fail(error)?,
            }
        }
    })
}

async fn connection(service: Service, stream: TcpStream) -> io::Result<()> {
    match service {
        Service::Echo => echo(stream).await,
        Service::Http => hello(stream).await,
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    // `read_buf` doesn't ask for initialised memory, so a page is touched only when bytes arrive in it.
    while stream.read_buf(&mut buffer).await? > 0 {
        stream.write_all(&buffer).await?;
        buffer.clear();
    }
    Ok(())
}

async fn hello(mut stream: TcpStream) -> io::Result<()> {
    let (mut buffer, mut requests, mut output) = (Vec::with_capacity(BUFFER), Requests::default(), Vec::new());
    while stream.read_buf(&mut buffer).await? > 0 {
        requests.answer(&buffer, &mut output)?;
        stream.write_all(&output).await?;
        buffer.clear();
        output.clear();
    }
    Ok(())
}
