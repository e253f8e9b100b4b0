//! compio: io_uring with owned buffers, one runtime on this thread, with the set-up flags that its builder
//! offers. (Its managed and multishot reads came out slower.)

use std::io;
use std::net::TcpListener;

use compio::BufResult;
use compio::driver::ProactorBuilder;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::TcpStream;
use compio::runtime::RuntimeBuilder;

use super::http::Requests;
use super::{BUFFER, Service, announce, rest_or_fail};

/// Serves on compio.
pub fn run(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let mut proactor = ProactorBuilder::new();
    proactor.single_issuer(true).defer_taskrun(true).taskrun_flag(true);
    let runtime = RuntimeBuilder::new().with_proactor(proactor).build()?;
    runtime.block_on(async {
        let listener = compio::net::TcpListener::from_std(listener)?;
        announce(listener.local_addr())?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => compio::runtime::spawn(connection(service, stream)).detach(),
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
        BufResult(result, buffer) = stream.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        let result;
        BufResult(result, buffer) = stream.write_all(buffer).await;
        result?;
        buffer.clear();
    }
}

async fn hello(mut stream: TcpStream) -> io::Result<()> {
    let (mut buffer, mut requests, mut output) = (Vec::with_capacity(BUFFER), Requests::default(), Vec::new());
    loop {
        let result;
        BufResult(result, buffer) = stream.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        requests.answer(&buffer, &mut output)?;
        buffer.clear();
        let result;
        BufResult(result, output) = stream.write_all(output).await;
        result?;
        output.clear();
    }
}
