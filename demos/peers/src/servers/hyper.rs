//! hyper on tokio, on one thread: a whole HTTP/1.1, for what that costs over the tiny one.

use std::convert::Infallible;
use std::net::TcpListener;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::{Service, announce, rest_or_fail};

/// Serves on hyper. Pipelined requests are answered with one write.
pub fn run(_http: Service, listener: TcpListener) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        announce(listener.local_addr())?;
        let mut builder = http1::Builder::new();
        builder.pipeline_flush(true);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = builder.serve_connection(TokioIo::new(stream), service_fn(hello));
                    drop(tokio::spawn(connection));
                }
                Err(error) => rest_or_fail(error)?,
            }
        }
    })
}

async fn hello(_request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"Hello, World!")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}
