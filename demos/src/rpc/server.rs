//! The server's side: messages come in, procedures run, replies go out.
//!
//! Each call is a task of its own, so a slow one holds up no other. Those tasks send their replies through one bounded
//! queue to the one writer. A client that does not read its replies fills the queue; then its calls wait, then they
//! are too many, and then nothing more is read from it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use executor::{AbortHandle, Runtime, Stream, panic_text};
use futures_lite::FutureExt;
use futures_lite::future::try_zip;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Trace;
use super::wire::{Fault, Kind, Outcome, Reply, Request, codec};
use crate::framing::{FrameError, FrameWriter, Frames};
use crate::serve::{LINGER_IDLE, LINGER_TIME, STUCK, linger, unless_stopping};

/// What one connection may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls at the same time.
    pub calls: usize,
    /// How long a call may take.
    pub time: Duration,
    /// How long a client may be silent that waits for no call.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { calls: 64, time: Duration::from_secs(30), silence: Duration::from_secs(60) }
    }
}

/// A server stub.
pub trait Dispatch: 'static {
    /// The names that it knows.
    fn methods(&self) -> &'static [&'static str];

    /// Finds the procedure, and makes its arguments out of the message.
    fn dispatch(&self, method: &str, arguments: Value) -> Answer;
}

/// What a server stub made of a call.
pub enum Answer {
    /// There is no such method.
    UnknownMethod,
    /// Why the arguments don't fit.
    BadArguments(String),
    /// The call, to be awaited: its result, marshalled, or what the procedure says instead.
    Call(Pin<Box<dyn Future<Output = Result<Value, String>>>>),
}

impl Answer {
    /// Unmarshals the arguments, and has the procedure's result marshalled.
    pub fn new<A, T, F>(arguments: Value, procedure: F) -> Answer
    where
        A: DeserializeOwned + 'static,
        T: Serialize,
        F: AsyncFnOnce(A) -> Result<T, String> + 'static,
    {
        match serde_json::from_value::<A>(arguments) {
            Err(error) => Answer::BadArguments(error.to_string()),
            Ok(arguments) => Answer::Call(Box::pin(async move {
                let result = procedure(arguments).await?;
                serde_json::to_value(result).map_err(|error| error.to_string())
            })),
        }
    }
}

/// The calls under way on a connection. When the connection ends, they do.
#[derive(Default)]
struct Calls(RefCell<HashMap<u64, AbortHandle>>);

impl Drop for Calls {
    fn drop(&mut self) {
        self.0.take().values().for_each(AbortHandle::abort);
    }
}

/// Serves one connection: until the client ends its side, and its calls are done; or until the runtime is stopped, and
/// they are.
///
/// # Cancel safety
/// Dropping this future closes the connection and cancels its calls.
pub async fn connection<R: Runtime>(rt: R, stream: R::Stream, stub: Rc<dyn Dispatch>, limits: Limits, trace: Trace) {
    let (reader, writer) = stream.split();
    let mut frames = Frames::new(reader, codec());
    let mut writer = FrameWriter::new(writer, codec());
    let (replies, outgoing) = async_channel::bounded(limits.calls);
    let calls = Rc::new(Calls::default());
    let desk = Desk { rt: rt.clone(), stub, limits, trace, calls: Rc::clone(&calls), replies };
    let is_refused = try_zip(desk.read(&mut frames), write(&rt, &mut writer, outgoing)).await;
    if writer.shutdown().await.is_ok() && is_refused.is_ok_and(|(is_refused, ())| is_refused) {
        linger(&rt, &mut frames.into_reader(), LINGER_IDLE, LINGER_TIME).await;
    }
}

/// Writes replies until nobody has any more.
async fn write<R: Runtime, W: executor::Writer>(
    rt: &R,
    writer: &mut FrameWriter<W, crate::framing::Prefix>,
    outgoing: Receiver<Reply>,
) -> Result<(), FrameError> {
    while let Ok(reply) = outgoing.recv().await {
        let bytes = serde_json::to_vec(&reply).unwrap_or_default();
        match writer.send_unless_stuck(rt, &bytes, STUCK).await {
            Err(FrameError::TooLong { .. }) => {
                let fault = Fault::new(Kind::Failed, "the result is too long for a message");
                let reply = Reply { outcome: Outcome::Error(fault), ..reply };
                let bytes = serde_json::to_vec(&reply).unwrap_or_default();
                writer.send_unless_stuck(rt, &bytes, STUCK).await?;
            }
            sent => sent?,
        }
    }
    Ok(())
}

/// Where calls arrive.
struct Desk<R: Runtime> {
    rt: R,
    stub: Rc<dyn Dispatch>,
    limits: Limits,
    trace: Trace,
    calls: Rc<Calls>,
    replies: Sender<Reply>,
}

impl<R: Runtime> Desk<R> {
    /// Takes calls until there are no more; whether that was because of a message that is none.
    async fn read<F: executor::Reader>(
        self,
        frames: &mut Frames<F, crate::framing::Prefix>,
    ) -> Result<bool, FrameError> {
        let silence = self.limits.silence;
        loop {
            let was_busy = self.is_busy();
            let next = unless_stopping(&self.rt, frames.next_unless_silent(&self.rt, silence)).await;
            let Some(next) = next else { return Ok(false) };
            let refusal = match next {
                Ok(None) => return Ok(false),
                // It waits for an answer, or has waited for one: its silence begins when it has the last.
                Err(FrameError::Io(error)) if error.kind() == ErrorKind::TimedOut && (was_busy || self.is_busy()) => {
                    continue;
                }
                Err(FrameError::Io(error)) => return Err(error.into()),
                Err(error) => error.to_string(),
                Ok(Some(message)) => match serde_json::from_slice(message) {
                    Err(_) => {
                        "wanted: {\"call\": NUMBER, \"method\": TEXT, \"arguments\": {...}} or {\"cancel\": NUMBER}"
                            .to_owned()
                    }
                    Ok(Request::Cancel { cancel }) => {
                        let cancelled = self.calls.0.borrow_mut().remove(&cancel);
                        // It may be done already.
                        if let Some(call) = cancelled {
                            call.abort();
                        }
                        continue;
                    }
                    Ok(Request::Call { call, method, arguments }) => {
                        self.trace.step(4, call, || format!("the server receives {} bytes", message.len()));
                        if let Err(fault) = self.begin(call, method, arguments) {
                            let _ = self.replies.send(Reply::new(call, Err(fault))).await;
                        }
                        continue;
                    }
                },
            };
            let fault = Fault::new(Kind::BadMessage, refusal);
            let _ = self.replies.send(Reply { reply: None, outcome: Outcome::Error(fault) }).await;
            return Ok(true);
        }
    }

    fn is_busy(&self) -> bool {
        !self.calls.0.borrow().is_empty()
    }

    /// Starts a call, or says why not.
    fn begin(&self, call: u64, method: String, arguments: Value) -> Result<(), Fault> {
        {
            let calls = self.calls.0.borrow();
            if calls.contains_key(&call) {
                return Err(Fault::new(Kind::NumberInUse, format!("call {call} is under way")));
            }
            if calls.len() >= self.limits.calls {
                let text = format!("{} calls are under way on this connection, and no more are allowed", calls.len());
                return Err(Fault::new(Kind::Busy, text));
            }
        }
        let procedure = match self.stub.dispatch(&method, arguments) {
            Answer::UnknownMethod => {
                let known = self.stub.methods().join(", ");
                let text = format!("there is no method {method}: there are {known}");
                return Err(Fault::new(Kind::UnknownMethod, text));
            }
            Answer::BadArguments(reason) => return Err(Fault::new(Kind::BadArguments, reason)),
            Answer::Call(procedure) => procedure,
        };
        self.trace.step(5, call, || format!("the server stub unmarshals the arguments of {method}"));
        let (rt, trace, time) = (self.rt.clone(), self.trace.clone(), self.limits.time);
        let (calls, replies) = (Rc::downgrade(&self.calls), self.replies.clone());
        let task = self.rt.spawn(async move {
            trace.step(6, call, || format!("the server stub calls {method}"));
            let outcome = run(&rt, time, procedure).await;
            trace.step(7, call, || format!("the procedure returns to the server stub: {}", short(&outcome)));
            let reply = Reply::new(call, outcome);
            trace.step(8, call, || "the server stub marshals the result and sends it".to_owned());
            let _ = replies.send(reply).await;
            if let Some(calls) = Weak::upgrade(&calls) {
                drop(calls.0.borrow_mut().remove(&call));
            }
        });
        self.calls.0.borrow_mut().insert(call, task.abort_handle());
        task.detach();
        Ok(())
    }
}

/// Runs a procedure to its end, to its bug, or to the end of the time it is given.
async fn run<R: Runtime>(
    rt: &R,
    time: Duration,
    procedure: Pin<Box<dyn Future<Output = Result<Value, String>>>>,
) -> Result<Value, Fault> {
    // What a panic leaves behind is the procedure's own: the stub looks at nothing of it.
    match rt.timeout(time, AssertUnwindSafe(procedure).catch_unwind()).await {
        Err(_) => Err(Fault::new(Kind::TookTooLong, format!("it was given {time:?}"))),
        Ok(Err(panic)) => Err(Fault::new(Kind::Panicked, panic_text(&*panic))),
        Ok(Ok(Err(reason))) => Err(Fault::new(Kind::Failed, reason)),
        Ok(Ok(Ok(value))) => Ok(value),
    }
}

fn short(outcome: &Result<Value, Fault>) -> String {
    match outcome {
        Ok(value) => value.to_string().chars().take(60).collect(),
        Err(fault) => format!("{:?}", fault.kind),
    }
}
