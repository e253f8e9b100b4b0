//! Rungs 15 to 17, `reactor-level`, `reactor-edge`, `proactor`: a task for each connection, on this project's runtimes.
//!
//! Shows: the code of one client reads like that of `blocking`, and one thread serves all. What the rungs before keep in
//! tables by hand, a task keeps in its future. These few lines run on epoll, level- and edge-triggered, and on io_uring.
//!
//! See it: `demos models serve proactor --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000`; or
//! `demos web --on reactor-edge`, then `curl http://127.0.0.1:8080/`.
//!
//! What is next: `demos echo` and `demos http`, which do the same in full; `demos compare` measures them.

use std::io;
use std::pin::pin;
use std::rc::Rc;

use demos::echo;
use demos::serve::unless_stopped;
use executor::{IoBuf, Reader, Runtime, Writer};

use super::service::{Dialogue, Service, Then};
use crate::server;

pub struct Rung {
    pub name: &'static str,
    pub service: Service,
}

impl server::Service for Rung {
    async fn connection<R: Runtime>(rung: Rc<Self>, rt: R, stream: R::Stream) {
        // A client that breaks its connection has ended it.
        let _ = match rung.service {
            Service::Echo => echo::connection(rt, stream).await,
            Service::Web => web(rung.name, rt, stream).await,
        };
    }
}

async fn web<R: Runtime>(name: &str, rt: R, mut stream: R::Stream) -> io::Result<()> {
    let mut dialogue = Dialogue::default();
    let mut stopped = pin!(rt.stopped());
    while let Some(received) = unless_stopped(&rt, stopped.as_mut(), stream.recv()).await {
        let received = received?;
        if received.bytes().is_empty() {
            break;
        }
        let mut output = Vec::new();
        let then = dialogue.answer(Service::Web, name, received.bytes(), &mut output);
        drop(received);
        stream.feed(output).await?;
        if then == Then::Close {
            break;
        }
    }
    stream.shutdown().await
}
