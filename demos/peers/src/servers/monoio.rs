//! monoio: io_uring with owned buffers, one runtime on this thread.
//!
//! `monoio` is as its documentation has it. `monoio-defer` is given a builder that sets SINGLE_ISSUER and
//! DEFER_TASKRUN, which the documentation doesn't mention and which more than halves its cost at partial
//! load: without them, each completion interrupts the thread.

use std::io;
use std::net::TcpListener;

use io_uring_06::IoUring;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::{IoUringDriver, RuntimeBuilder};

use super::http::Requests;
use super::{BUFFER, Service, announce, rest_or_fail};

/// Serves on monoio as documented.
pub fn run(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    serve(service, listener, RuntimeBuilder::new())
}

/// Serves on monoio with completions that wait until they are asked for.
pub fn run_defer(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let mut uring = IoUring::builder();
    uring.setup_single_issuer().setup_defer_taskrun();
    serve(service, listener, RuntimeBuilder::new().uring_builder(uring))
}

fn serve(service: Service, listener: TcpListener, builder: RuntimeBuilder<IoUringDriver>) -> anyhow::Result<()> {
    builder.build()?.block_on(async {
        let listener = monoio::net::TcpListener::from_std(listener)?;
        announce(listener.local_addr())?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(monoio::spawn(connection(service, stream))),
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
    loop {
        let result;
        (result, buffer) = stream.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        let result;
        (result, buffer) = stream.write_all(buffer).await;
        result?;
    }
}

async fn hello(mut stream: TcpStream) -> io::Result<()> {
    let (mut buffer, mut requests, mut output) = (Vec::with_capacity(BUFFER), Requests::default(), Vec::new());
    loop {
        let result;
        (result, buffer) = stream.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        output.clear();
        requests.answer(&buffer, &mut output)?;
        let result;
        (result, output) = stream.write_all(output).await;
        result?;
    }
}
