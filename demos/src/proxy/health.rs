//! Checks: every server is asked now and then whether it is there.
//!
//! Clients find out first that a server fails, and their failures count as much as those of checks do. That it is
//! well again only a check can find out, for a server that is out gets no clients.

use std::io;
use std::net::SocketAddr;
use std::rc::Weak;

use executor::{IoBuf, Reader, Runtime, Writer};
use futures_lite::future::or;

use super::reply::{Asked, Taken, take_reply};
use super::shared::{Proxy, is_ours};

/// Bytes of the head of an answer to a check, at most.
const LONGEST_HEAD: usize = 16 * 1024;

/// Checks one server until the runtime stops or the proxy is gone.
pub(crate) async fn watch<R: Runtime>(rt: R, proxy: Weak<Proxy<R>>, server: usize) {
    let checking = async {
        loop {
            let Some(settings) = proxy.upgrade().map(|proxy| proxy.settings.clone()) else { return };
            rt.sleep(settings.check_every).await;
            let Some(addr) = proxy.upgrade().map(|proxy| proxy.servers.addr(server)) else { return };
            let checked = rt.timeout(settings.connect_timeout, check(&rt, addr, settings.check_path.as_deref())).await;
            let Some(proxy) = proxy.upgrade() else { return };
            proxy.idle.sweep(&rt, server);
            match checked {
                Ok(Ok(())) => proxy.servers.report(server, Ok(())),
                Ok(Err(error)) if is_ours(&error) => {}
                Ok(Err(error)) => proxy.fail(server, error.to_string()),
                Err(_) => proxy.fail(server, format!("no answer to a check within {:?}", settings.connect_timeout)),
            }
        }
    };
    or(rt.stopped(), checking).await;
}

/// Connects; with a path, asks for it, and is content with any answer that is no error.
async fn check<R: Runtime>(rt: &R, addr: SocketAddr, path: Option<&str>) -> io::Result<()> {
    let mut stream = rt.connect(addr).await?;
    let Some(path) = path else { return Ok(()) };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request).await.0?;
    let mut received = Vec::new();
    loop {
        let chunk = stream.recv().await?;
        received.extend_from_slice(chunk.bytes());
        let asked = Asked { is_head: false, is_http10: false, may_stay: false };
        match take_reply(&received, asked, &mut Vec::new()) {
            Taken::Final(reply) if reply.code < 400 => return Ok(()),
            Taken::Final(reply) => return Err(io::Error::other(format!("a check was answered {}", reply.code))),
            Taken::Partial if chunk.bytes().is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Taken::Partial if received.len() <= LONGEST_HEAD => {}
            Taken::Interim(head_len) => drop(received.drain(..head_len)),
            Taken::Partial | Taken::Wrong => return Err(io::Error::other("a check was not answered in HTTP")),
        }
    }
}
