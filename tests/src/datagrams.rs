//! What holds for datagrams of every kind, said once.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use executor::{Address, DatagramSocket, IoBuf, LENT_DATAGRAM, Port, Runtime, yield_now};

use crate::net::Pattern;
use crate::poll_once;

/// Nothing is cut without a word, and what comes next is whole. `send` sends so many bytes of the pattern.
///
/// # Panics
/// If that does not hold.
pub async fn what_is_cut_is_told<P: Port, A: Address>(
    socket: &DatagramSocket<P, A>,
    pattern: &Pattern,
    longest: usize,
    send: impl Fn(usize),
) {
    for len in [LENT_DATAGRAM + 1, longest] {
        send(len);
        let datagram = socket.recv_from().await.unwrap();
        assert_eq!((datagram.len, datagram.bytes.len(), datagram.is_cut()), (len, LENT_DATAGRAM, true));
        pattern.check(0, datagram.bytes.bytes());
        send(len);
        let error = socket.recv().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains(&format!("{len} bytes")), "{error}");
        send(5);
        assert_eq!(socket.recv().await.unwrap().len(), 5);
    }
}

/// Receives are begun and dropped in every state while numbers come, and none is lost. `send` sends one, and is told how
/// many arrived; it says if there is no room now.
///
/// # Panics
/// If that does not hold.
pub async fn dropped_receives_lose_none<R: Runtime, P: Port, A: Address>(
    rt: &R,
    socket: &DatagramSocket<P, A>,
    longest: usize,
    send: impl Fn(u32, u32) -> bool,
) {
    const MANY: u32 = 500;
    let mut random = fastrand::Rng::with_seed(4);
    let (mut sent, mut received) = (0, 0);
    while received < MANY {
        while sent < MANY && random.u8(..3) > 0 && send(sent, received) {
            sent += 1;
        }
        let is_lent = random.bool();
        let mut lent = pin!(socket.recv_from());
        let mut owned = pin!(socket.read_from(vec![0; if random.bool() { 8 } else { longest }]));
        let polls = if received < sent { random.u8(1..5) } else { 1 };
        for _ in 0..polls {
            let number = match is_lent {
                true => poll_once(&mut lent).await.map(|result| result.unwrap().bytes.to_vec()),
                false => poll_once(&mut owned).await.map(|(result, bytes)| bytes[..result.unwrap().0].to_vec()),
            };
            if let Some(number) = number {
                assert_eq!(number, received.to_le_bytes());
                received += 1;
                break;
            }
            if random.bool() {
                yield_now().await;
            } else {
                rt.sleep(Duration::from_micros(50)).await;
            }
        }
    }
}
