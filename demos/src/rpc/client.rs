//! The client's side: calls share a connection, and each gets its own reply.
//!
//! Two tasks own the connection: one writes what calls want to say, one hands replies to those who wait. A call is a
//! number, an entry in a table, and a future; when the future is dropped the entry goes, and the server is told.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use executor::{JoinHandle, Reader, Runtime, Stream, Writer};
use futures_lite::future::or;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Trace;
use super::wire::{Fault, Outcome, Reply, Request, codec};
use crate::connect::connect;
use crate::framing::{FrameWriter, Frames, Prefix};

/// Messages that wait to be written. Above it calls wait, too; and a cancel, which cannot, is not said: then the server
/// has read nothing for so long that it hears of it from the end of the connection.
const OUTGOING: usize = 128;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The server says so.
    Refused(Fault),
    /// It took too long. The server is told to give it up; whether it has been done nobody knows.
    TimedOut(Duration),
    /// The connection is gone; why. Whether it has been done nobody knows.
    Closed(String),
    /// What came is not what the interface promises.
    BadReply(String),
    /// The arguments cannot be sent.
    BadArguments(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Refused(Fault { kind, text }) => write!(f, "the server says {kind:?}: {text}"),
            CallError::TimedOut(time) => write!(f, "no reply within {time:?}; the call is cancelled"),
            CallError::Closed(reason) => write!(f, "the connection is gone: {reason}"),
            CallError::BadReply(reason) => write!(f, "the reply is of another type: {reason}"),
            CallError::BadArguments(reason) => write!(f, "the arguments cannot be sent: {reason}"),
        }
    }
}

impl std::error::Error for CallError {}

type Outcomes = Sender<Result<Value, CallError>>;

/// A connection to a server. Its clones share it, and it closes with the last one.
pub struct Client<R: Runtime> {
    rt: R,
    time: Duration,
    trace: Trace,
    line: Rc<Line>,
}

/// What calls and the two tasks share.
struct Line {
    next: Cell<u64>,
    /// Who waits for a reply.
    waiting: RefCell<HashMap<u64, Outcomes>>,
    outgoing: Sender<Vec<u8>>,
    /// Why there is no connection any more.
    is_over: RefCell<Option<String>>,
    /// The task that reads and writes.
    task: Cell<Option<JoinHandle<()>>>,
}

impl<R: Runtime> Clone for Client<R> {
    fn clone(&self) -> Self {
        Client { rt: self.rt.clone(), time: self.time, trace: self.trace.clone(), line: Rc::clone(&self.line) }
    }
}

impl<R: Runtime> Client<R> {
    /// Connects to the first of these addresses where there is a server. Each call has this much time.
    ///
    /// # Errors
    /// Those of [`Runtime::connect`], of the last address.
    ///
    /// # Cancel safety
    /// Dropping this future gives the attempt up.
    pub async fn connect(rt: &R, servers: &[SocketAddr], time: Duration, trace: Trace) -> io::Result<Self> {
        let (reader, writer) = connect(rt, servers, time).await?.split();
        let (outgoing, messages) = async_channel::bounded(OUTGOING);
        let line = Rc::new(Line {
            next: Cell::new(1),
            waiting: RefCell::default(),
            outgoing,
            is_over: RefCell::default(),
            task: Cell::default(),
        });
        let (frames, writer) = (Frames::new(reader, codec()), FrameWriter::new(writer, codec()));
        // The tasks must not keep the line open themselves: the last client does.
        let weak = Rc::downgrade(&line);
        let task = rt.spawn(async move {
            let reason = or(receive(frames, &weak), send(writer, messages)).await;
            if let Some(line) = weak.upgrade() {
                line.close(reason);
            }
        });
        line.task.set(Some(task));
        Ok(Client { rt: rt.clone(), time, trace, line })
    }

    /// Ends the connection when all is sent that there is to say. Without this a program that ends at once may take
    /// its last words along, such as a cancel.
    ///
    /// # Cancel safety
    /// Dropping this future leaves the rest to the runtime.
    pub async fn close(self) {
        self.line.outgoing.close();
        if let Some(task) = self.line.task.take() {
            let _ = self.rt.timeout(self.time, task).await;
        }
    }

    /// The same with another time limit.
    #[must_use]
    pub fn within(&self, time: Duration) -> Self {
        Client { time, ..self.clone() }
    }

    /// Calls a method by its name: what every client stub comes down to.
    ///
    /// # Errors
    /// All that can happen to a call.
    ///
    /// # Cancel safety
    /// Dropping this future cancels the call, and the server is told so.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, arguments: &impl Serialize) -> Result<T, CallError> {
        let line = &self.line;
        let number = line.next.replace(line.next.get() + 1);
        let step = |step, what: &dyn Fn() -> String| self.trace.step(step, number, what);
        step(1, &|| format!("the client calls the stub of {method}"));
        let arguments = serde_json::to_value(arguments).map_err(|error| CallError::BadArguments(error.to_string()))?;
        let message = Request::Call { call: number, method: method.to_owned(), arguments };
        let message = serde_json::to_vec(&message).map_err(|error| CallError::BadArguments(error.to_string()))?;
        if message.len() > super::wire::LONGEST {
            return Err(CallError::BadArguments(format!("they make a message of {} bytes", message.len())));
        }
        step(2, &|| format!("the client stub marshals the arguments: {}", String::from_utf8_lossy(&message)));
        let (outcomes, outcome) = async_channel::bounded(1);
        let called = async {
            let _entry = line.enter(number, outcomes)?;
            let len = message.len();
            let _ = line.outgoing.send(message).await;
            step(3, &|| format!("the message is sent: 4 + {len} bytes"));
            outcome.recv().await.unwrap_or_else(|_| Err(line.reason()))
        };
        let result = self.rt.timeout(self.time, called).await.unwrap_or(Err(CallError::TimedOut(self.time)))?;
        let result = T::deserialize(&result).map_err(|error| CallError::BadReply(error.to_string()))?;
        step(9, &|| "the client stub receives, unmarshals, and returns".to_owned());
        Ok(result)
    }
}

impl Line {
    /// A call begins.
    fn enter(&self, number: u64, outcomes: Outcomes) -> Result<Entry<'_>, CallError> {
        if self.is_over.borrow().is_some() {
            return Err(self.reason());
        }
        self.waiting.borrow_mut().insert(number, outcomes);
        Ok(Entry { line: self, number })
    }

    /// Nobody gets a reply any more.
    fn close(&self, reason: String) {
        *self.is_over.borrow_mut() = Some(reason);
        self.outgoing.close();
        drop(self.waiting.take());
    }

    fn reason(&self) -> CallError {
        CallError::Closed(self.is_over.borrow().clone().unwrap_or_default())
    }

    /// Hands a reply to who waits for it. One that nobody waits for belongs to a call that was cancelled.
    fn hand_over(&self, reply: Reply) -> Result<(), String> {
        let result = match (reply.reply, reply.outcome) {
            (None, Outcome::Error(fault)) => return Err(fault.text),
            (_, Outcome::Result(value)) => Ok(value),
            (_, Outcome::Error(fault)) => Err(CallError::Refused(fault)),
        };
        let waiting = reply.reply.and_then(|number| self.waiting.borrow_mut().remove(&number));
        if let Some(waiting) = waiting {
            let _ = waiting.try_send(result);
        }
        Ok(())
    }
}

/// A call that waits for its reply. Dropping it before that cancels the call.
struct Entry<'a> {
    line: &'a Line,
    number: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let waits = self.line.waiting.borrow_mut().remove(&self.number).is_some();
        if waits && let Ok(message) = serde_json::to_vec(&Request::Cancel { cancel: self.number }) {
            let _ = self.line.outgoing.try_send(message);
        }
    }
}

/// Hands out replies until the connection ends; why it does.
async fn receive<F: Reader>(mut frames: Frames<F, Prefix>, line: &std::rc::Weak<Line>) -> String {
    loop {
        let message = match frames.next().await {
            Ok(Some(message)) => message,
            Ok(None) => return "the server has closed it".to_owned(),
            Err(error) => return error.to_string(),
        };
        let reply = match serde_json::from_slice(message) {
            Ok(reply) => reply,
            Err(error) => return format!("the server does not speak the protocol: {error}"),
        };
        let Some(line) = line.upgrade() else { return String::new() };
        if let Err(reason) = line.hand_over(reply) {
            return format!("the server refused a message: {reason}");
        }
    }
}

/// Writes messages until there will be no more.
async fn send<W: Writer>(mut writer: FrameWriter<W, Prefix>, messages: Receiver<Vec<u8>>) -> String {
    while let Ok(message) = messages.recv().await {
        if let Err(error) = writer.send(&message).await {
            return error.to_string();
        }
    }
    // The last client is gone.
    let _ = writer.shutdown().await;
    String::new()
}
