//! An echo server: every connection is a task.
//!
//! cargo run -p proactor --example proactor-echo            then, in another terminal:  nc 127.0.0.1 7000

use proactor::{Listener, Proactor as Rt, Reader, Runtime, Stream, TcpListener, TcpStream};

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
