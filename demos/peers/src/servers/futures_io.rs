//! Connections on runtimes that have the `AsyncRead` and `AsyncWrite` of `futures-io`.

use std::io;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::http::Requests;
use super::{BUFFER, Service};

/// Serves one connection to its end. These traits read into initialised memory, so each connection has a
/// whole buffer of it.
pub async fn connection(service: Service, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    match service {
        Service::Echo => echo(stream).await,
        Service::Http => hello(stream).await,
    }
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

async fn hello(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let (mut buffer, mut requests, mut output) = (vec![0; BUFFER], Requests::default(), Vec::new());
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        output.clear();
        requests.answer(&buffer[..count], &mut output)?;
        stream.write_all(&output).await?;
    }
}
