//! Checks: every server is asked now and then whether it is there.
//!
//! A server is out after failed checks, and after failed connects of clients, who find out first that it is gone.
//! Requests that fail do not count: a client can choose such requests, and would take the server from all others. That
//! a server is well again only a check can say.

use std::io;
use std::net::SocketAddr;
use std::rc::Weak;
use std::time::SystemTime;

use executor::{IoBuf, Reader, Runtime, Writer};
use futures_lite::future::or;

use super::oneself::connect;
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
            let result = match checked {
                Ok(Err(error)) if is_ours(&error) => continue,
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer to a check within {:?}", settings.connect_timeout)),
            };
            if result.is_err() {
                // What is kept for it would fail, too.
                proxy.idle.clear(server);
            }
            proxy.servers.checked(server, result);
        }
    };
    or(rt.stopped(), checking).await;
}

/// Connects; with a path, asks for it, and is content with any answer that is no error.
async fn check<R: Runtime>(rt: &R, addr: SocketAddr, path: Option<&str>) -> io::Result<()> {
    let mut stream = connect(rt, addr).await?;
    let Some(path) = path else { return Ok(()) };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request).await.0?;
    let (mut received, mut was_interim) = (Vec::new(), false);
    loop {
        // What follows an interim answer may have come with it.
        let has_more = std::mem::take(&mut was_interim);
        let chunk = if has_more { None } else { Some(stream.recv().await?) };
        let is_end = chunk.as_ref().is_some_and(|chunk| chunk.bytes().is_empty());
        received.extend_from_slice(chunk.as_ref().map_or(&[][..], IoBuf::bytes));
        let asked = Asked { is_head: false, is_http10: false, may_stay: false, now: SystemTime::UNIX_EPOCH };
        match take_reply(&received, asked, &mut Vec::new()) {
            Taken::Final(reply) if reply.code < 400 => return Ok(()),
            Taken::Final(reply) => return Err(io::Error::other(format!("a check was answered {}", reply.code))),
            Taken::Partial if is_end => return Err(io::ErrorKind::UnexpectedEof.into()),
            Taken::Partial if received.len() <= LONGEST_HEAD => {}
            Taken::Interim(head_len) => {
                received.drain(..head_len);
                was_interim = true;
            }
            Taken::Partial | Taken::Wrong => return Err(io::Error::other("a check was not answered in HTTP")),
        }
    }
}
