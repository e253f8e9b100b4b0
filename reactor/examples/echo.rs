//! An echo server: every connection is a task.
//!
//! cargo run -p reactor --example reactor-echo            then, in another terminal:  nc 127.0.0.1 7000
//! cargo run -p reactor --example reactor-echo -- 127.0.0.1:0     listens on a free port, and says which

use reactor::{Listener, Reactor as Rt, Reader, Runtime, Stream, TcpListener, TcpStream};

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut chunk = stream.recv().await?;
    while !chunk.is_empty() {
        chunk = stream.exchange(chunk).await?;
    }
    Ok(())
}

/// Where to listen: the first argument, if there is one.
fn address() -> std::io::Result<std::net::SocketAddr> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".to_owned());
    let hint = format!("{address} is not an address: give one such as 127.0.0.1:7000");
    address.parse().map_err(|_| std::io::Error::other(hint))
}

fn main() -> std::io::Result<()> {
    let address = address()?;
    let rt = Rt::new()?;
    rt.block_on(async {
        let mut listener = TcpListener::bind(&rt, address)?;
        println!("listening on {} ({})", listener.local_addr()?, rt.engine());
        loop {
            let stream = listener.accept().await?;
            rt.spawn(echo(stream)).detach();
        }
    })
}
