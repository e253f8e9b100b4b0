//! An echo server: every connection is a task.
//!
//! cargo run -p reactor --example reactor-echo            then, in another terminal:  nc 127.0.0.1 7000

use reactor::{Listener, Reactor as Rt, Reader, Runtime, Stream, TcpListener, TcpStream};

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut chunk = stream.recv().await?;
    while !chunk.is_empty() {
        chunk = stream.exchange(chunk).await?;
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    let rt = Rt::new()?;
    rt.block_on(async {
        let mut listener = TcpListener::bind(&rt, ([127, 0, 0, 1], 7000).into())?;
        println!("listening on {} ({})", listener.local_addr()?, rt.engine());
        loop {
            let stream = listener.accept().await?;
            rt.spawn(echo(stream)).detach();
        }
    })
}
