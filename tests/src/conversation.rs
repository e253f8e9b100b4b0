//! A fixed conversation, for tests that disturb it: whatever is done to the runtime, what was said is the same.

use std::io;

use executor::{IoBuf, JoinError, ListenOptions, Listener, Reader, Runtime, Writer};

use crate::engine::{Engine, Stream};
use crate::ms;
use crate::net::V4;

/// Bytes that [`conversation`] returns.
pub const TRANSCRIPT: usize = 2 * 101_001;

/// Two clients, each with three questions of different sizes, served by tasks. The transcript is what
/// the clients got.
///
/// # Errors
/// The first that anybody met.
///
/// # Panics
/// If the server did.
pub async fn conversation<E: Engine>(rt: E::Rt) -> io::Result<Vec<u8>> {
    let mut listener = rt.listen(V4, &ListenOptions::default())?;
    let addr = listener.local_addr()?;
    let server = rt.spawn({
        let rt = rt.clone();
        async move {
            for _ in 0..2 {
                let stream = listener.accept().await?;
                rt.spawn(serve::<E>(stream)).detach();
            }
            io::Result::Ok(())
        }
    });
    let mut transcript = Vec::new();
    for client in 0..2u8 {
        let mut stream = rt.connect(addr).await?;
        for (round, size) in (0..).zip([1usize, 1000, 100_000]) {
            let question = vec![client * 10 + round; size];
            stream.write_all(question).await.0?;
            let (result, answer) = stream.read_exact(vec![0; size]).await;
            result?;
            transcript.extend(answer);
        }
        stream.shutdown().await?;
        let end = stream.recv().await?;
        transcript.extend_from_slice(end.bytes());
        rt.sleep(ms(1)).await;
    }
    match server.await {
        Ok(result) => result?,
        Err(JoinError::Panicked(payload)) => panic!("{}", payload.text()),
        Err(other) => panic!("{other}"),
    }
    Ok(transcript)
}

async fn serve<E: Engine>(mut stream: Stream<E>) -> io::Result<()> {
    loop {
        let chunk = stream.recv().await?;
        if chunk.bytes().is_empty() {
            return stream.shutdown().await;
        }
        stream.write_all(chunk).await.0?;
    }
}
