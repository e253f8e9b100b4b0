//! A server to try the codecs with: each message comes back with its bytes in reverse order.
//!
//! An echo would be right with any framing and with none. To turn a message round, the server has to know where it
//! ends.

use std::num::NonZeroUsize;
use std::time::Duration;

use executor::{Runtime, Stream};

use super::{Codec, FrameError, FrameWriter, Frames, Method};
use crate::serve::{LINGER_IDLE, LINGER_TIME, STUCK, linger, unless_stopping};

/// Turns messages round until the peer ends its side, is silent for `silence`, or breaks a rule, or until the runtime
/// stops. A peer that breaks a rule gets a message that names the rule. The limit of their length, or the length itself, is `len`.
///
/// # Errors
/// Those of the stream; a broken rule.
pub async fn connection<R: Runtime>(
    rt: R,
    stream: R::Stream,
    method: Method,
    len: NonZeroUsize,
    silence: Duration,
) -> Result<(), FrameError> {
    let (reader, writer) = stream.split();
    let mut frames = Frames::new(reader, method.codec(len));
    let mut answers = FrameWriter::new(writer, method.codec(len));
    let result = reverse_all(&rt, &mut frames, &mut answers, silence).await;
    let is_refused = !matches!(result, Ok(()) | Err(FrameError::Io(_)));
    if let (true, Err(error)) = (is_refused, &result) {
        // It may be too long for the limit itself, and the peer may not read.
        let _ = rt.timeout(LINGER_IDLE, answers.send(format!("refused: {error}").as_bytes())).await;
    }
    answers.shutdown().await?;
    if is_refused {
        linger(&rt, &mut frames.into_reader(), LINGER_IDLE, LINGER_TIME).await;
    }
    result
}

async fn reverse_all<R: Runtime, C: Codec>(
    rt: &R,
    frames: &mut Frames<<R::Stream as Stream>::ReadHalf, C>,
    answers: &mut FrameWriter<<R::Stream as Stream>::WriteHalf, C>,
    silence: Duration,
) -> Result<(), FrameError> {
    while let Some(next) = unless_stopping(rt, frames.next_unless_silent(rt, silence)).await {
        let Some(message) = next? else { break };
        let mut turned = message.to_vec();
        turned.reverse();
        answers.send_unless_stuck(rt, &turned, STUCK).await?;
    }
    Ok(())
}
