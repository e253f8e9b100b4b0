//! Takes the steps of a script on a runtime, and writes down what each came to.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use executor::{BufResult, IoBuf, IoBufMut, ListenOptions, Listener, Reader, Runtime, Stream, Writer};
use fastrand::Rng;

use super::{At, Hearing, Opening, Script, Step};

/// How long nothing has to come before a read is given up.
const PATIENCE: Duration = Duration::from_micros(200);

impl Script {
    /// Plays it on `rt`, which listens at `address` (port 0: any); `reset` makes the close of a stream a reset.
    /// Returns the transcript.
    ///
    /// # Panics
    /// If something comes out that can't on any runtime: other bytes than were written, none where some are
    /// missing, some where there is an end. If it takes longer than `limit`.
    pub async fn play<R: Runtime>(
        &self,
        rt: &R,
        address: SocketAddr,
        limit: Duration,
        reset: impl Fn(&R::Stream),
    ) -> Vec<String> {
        let listener = rt.listen(address, &ListenOptions::default()).expect("listen");
        let address = listener.local_addr().expect("local_addr");
        let random = Rng::with_seed(self.seed);
        let mut stage = Stage { rt, listener, address, reset, random, too_much: self.too_much, ends: Vec::new() };
        let lines = RefCell::new(Vec::new());
        let playing = async {
            for (number, step) in self.steps.iter().enumerate() {
                lines.borrow_mut().push(format!("{number}: {step:?}"));
                let outcome = stage.take(*step).await;
                let line = format!("{number}: {outcome}");
                *lines.borrow_mut().last_mut().expect("just pushed") = line;
            }
        };
        let is_done = rt.timeout(limit, playing).await.is_ok();
        let lines = lines.into_inner();
        assert!(is_done, "{}, script {}: it hangs at {:?}", rt.engine(), self.seed, lines.last());
        lines
    }
}

/// One end: as a stream, or in halves.
enum End<S: Stream> {
    Whole(S),
    Halves(S::ReadHalf, Option<S::WriteHalf>),
    Gone,
}

impl<S: Stream> Reader for End<S> {
    type Chunk = S::Chunk;

    async fn recv(&mut self) -> io::Result<S::Chunk> {
        match self {
            End::Whole(stream) => stream.recv().await,
            End::Halves(reader, _) => reader.recv().await,
            End::Gone => unreachable!("the generator knows what is gone"),
        }
    }

    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        match self {
            End::Whole(stream) => stream.read(buf).await,
            End::Halves(reader, _) => reader.read(buf).await,
            End::Gone => unreachable!("the generator knows what is gone"),
        }
    }
}

impl<S: Stream> Writer for End<S> {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        match self {
            End::Whole(stream) => stream.write(buf).await,
            End::Halves(_, Some(writer)) => writer.write(buf).await,
            End::Halves(..) | End::Gone => unreachable!("the generator knows what is gone"),
        }
    }

    async fn write_all<B: IoBuf>(&mut self, buf: B) -> BufResult<(), B> {
        match self {
            End::Whole(stream) => stream.write_all(buf).await,
            End::Halves(_, Some(writer)) => writer.write_all(buf).await,
            End::Halves(..) | End::Gone => unreachable!("the generator knows what is gone"),
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            End::Whole(stream) => stream.shutdown().await,
            End::Halves(_, Some(writer)) => writer.shutdown().await,
            End::Halves(..) | End::Gone => unreachable!("the generator knows what is gone"),
        }
    }
}

struct Place<S: Stream> {
    at: At,
    end: End<S>,
    /// Received, and not asked for yet.
    ahead: Vec<u8>,
    /// How many bytes were asked for so far.
    heard: usize,
    said: usize,
}

struct Stage<'a, R: Runtime, F> {
    rt: &'a R,
    listener: R::Listener,
    address: SocketAddr,
    reset: F,
    random: Rng,
    too_much: usize,
    /// Both of each connection.
    ends: Vec<[Place<R::Stream>; 2]>,
}

impl<R: Runtime, F: Fn(&R::Stream)> Stage<'_, R, F> {
    /// Takes one step, and says what it came to.
    async fn take(&mut self, step: Step) -> String {
        match step {
            Step::Open(opening) => self.open(opening).await,
            Step::Refused => self.refused().await,
            Step::Sleepers(count) => self.sleepers(count).await,
            Step::Abort => self.abort().await,
            Step::Say(at, count, whole) => self.place(at).say(count, whole).await,
            Step::Hear(at, count, how) => self.hear(at, count, how).await,
            Step::HearNothing(at) => {
                let (rt, place) = (self.rt.clone(), self.place(at));
                let heard = rt.timeout(PATIENCE, place.end.recv()).await;
                format!("{at} hears {}", if heard.is_err() { "nothing" } else { "what nobody said" })
            }
            Step::GiveUp(at) => {
                let pauses = self.random.u8(0..3);
                let place = self.place(at);
                let given_up = give_up(&mut place.end, &mut place.ahead, pause(pauses)).await;
                outcome(given_up, &format!("{at} gives up"))
            }
            Step::GiveUpAmid(at, count) => {
                let whole = self.random.bool();
                let (place, other) = self.places(at);
                let given_up = give_up(&mut place.end, &mut place.ahead, other.say(count, whole)).await;
                outcome(given_up, &format!("{at} gives up, while the other says {count}"))
            }
            Step::Exchange(at, count) => self.exchange(at, count).await,
            Step::Flood(at, count) => self.flood(at, count).await,
            Step::FloodBoth(at, count) => self.flood_both(at, count).await,
            Step::Empty(at) => {
                let place = self.place(at);
                let (written, _) = place.end.write(Vec::new()).await;
                let (read, _) = place.end.read(Vec::new()).await;
                format!("{at} writes {written:?} of nothing, reads {}", outcome(read, "something"))
            }
            Step::Split(at) => self.place(at).split(),
            Step::End(at, by_drop) => self.place(at).shut_down(by_drop).await,
            Step::SayAfterEnd(at) => {
                let (result, _) = self.place(at).end.write_all("more").await;
                format!("{at} says more after the end: {}", outcome(result, "good"))
            }
            Step::HearEnd(at) => self.hear_end(at, false).await,
            Step::HearStalled(at) => self.hear_end(at, true).await,
            Step::Stall(at) => self.stall(at).await,
            Step::Close(at) => self.place(at).close().await,
            Step::Reset(at) => {
                let End::Whole(stream) = std::mem::replace(&mut self.place(at).end, End::Gone) else {
                    unreachable!("the generator knows what is whole");
                };
                (self.reset)(&stream);
                outcome(stream.close().await, &format!("{at} resets"))
            }
            Step::LearnOfReset(at, by_reading) => self.learn_of_reset(at, by_reading).await,
        }
    }

    fn place(&mut self, at: At) -> &mut Place<R::Stream> {
        &mut self.ends[at.connection][at.end]
    }

    /// This end and the other.
    fn places(&mut self, at: At) -> (&mut Place<R::Stream>, &mut Place<R::Stream>) {
        let [a, b] = &mut self.ends[at.connection];
        if at.end == 0 { (a, b) } else { (b, a) }
    }

    async fn open(&mut self, opening: Opening) -> String {
        let connecting = self.rt.connect(self.address);
        let (connected, accepted) = match opening {
            Opening::Plain => both(connecting, self.listener.accept()).await,
            Opening::AfterDroppedAccept => {
                assert!(accept_once(&mut self.listener).await.is_none(), "nobody connects, and somebody is accepted");
                both(connecting, self.listener.accept()).await
            }
            Opening::AfterLateAccept => {
                let late = self.rt.timeout(PATIENCE, self.listener.accept()).await;
                assert!(late.is_err(), "nobody connects, and somebody is accepted");
                both(connecting, self.listener.accept()).await
            }
            Opening::BeforeAccept => {
                let connected = connecting.await;
                let accepted = match accept_once(&mut self.listener).await {
                    Some(accepted) => accepted,
                    None => self.listener.accept().await,
                };
                (connected, accepted)
            }
        };
        let connection = self.ends.len();
        let place = |end, stream: io::Result<R::Stream>| Place {
            at: At { connection, end },
            end: End::Whole(stream.expect("a connection")),
            ahead: Vec::new(),
            heard: 0,
            said: 0,
        };
        self.ends.push([place(0, connected), place(1, accepted)]);
        format!("{connection} is open")
    }

    /// Port 1 is reserved for a service that no machine has. A free port of the kernel's choice would not do: the
    /// connecting socket may be given that very port, and is then connected to itself.
    async fn refused(&mut self) -> String {
        let mut address = self.address;
        address.set_port(1);
        format!("connecting to nobody: {}", outcome(self.rt.connect(address).await, "good"))
    }

    /// Deadlines in any order, of which no two are the same. On a busy machine one may be over before its task asks for
    /// the first time; that task does not sleep, and nothing is to be said of the order then.
    async fn sleepers(&mut self, count: usize) -> String {
        let mut order: Vec<_> = (0..count).collect();
        self.random.shuffle(&mut order);
        let (start, woken, was_late) = (self.rt.now(), Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(false)));
        let mut tasks: Vec<_> = order
            .into_iter()
            .map(|place| {
                let deadline = start + Duration::from_micros(20 * (place as u64 + 1));
                let (rt, woken, was_late) = (self.rt.clone(), Rc::clone(&woken), Rc::clone(&was_late));
                self.rt.spawn(async move {
                    let mut sleep = pin!(rt.sleep_until(deadline));
                    match poll_once(&mut sleep).await {
                        Some(()) => was_late.set(true),
                        None => sleep.await,
                    }
                    assert!(rt.now() >= deadline, "a timer is early");
                    woken.borrow_mut().push(place);
                })
            })
            .collect();
        // Who asks first is not who waits in the end; that one is to be woken.
        for task in &mut tasks {
            assert!(poll_once(task).await.is_none(), "a task is done before its first turn");
        }
        let waiting = self.rt.spawn(async move {
            for task in tasks {
                task.await.expect("a task that sleeps");
            }
        });
        waiting.await.expect("a task that waits");
        if was_late.get() {
            woken.borrow_mut().sort_unstable();
        }
        format!("they wake in the order {:?}", woken.borrow())
    }

    async fn abort(&mut self) -> String {
        let rt = self.rt.clone();
        let task = self.rt.spawn(async move { rt.sleep(Duration::from_secs(3600)).await });
        pause(self.random.u8(0..3)).await;
        task.abort();
        format!("a task is aborted: {:?}", task.await)
    }

    async fn hear(&mut self, at: At, count: usize, how: Hearing) -> String {
        let said_by = at.other();
        let place = self.place(at);
        let heard = fill(&mut place.end, &mut place.ahead, count, how).await;
        assert!(matches!(heard, Ok(true)), "{at} hears {} of {count} bytes: {heard:?}", place.ahead.len());
        place.check(said_by, count);
        format!("{at} hears {count}")
    }

    async fn hear_end(&mut self, at: At, is_cut: bool) -> String {
        let (place, other) = self.places(at);
        let heard = fill(&mut place.end, &mut place.ahead, usize::MAX, Hearing::Recv).await;
        let again = place.end.recv().await.map(|chunk| chunk.bytes().len());
        let count = place.ahead.len();
        place.check(other.at, count);
        let whole = place.heard == other.said;
        assert!(is_cut || whole, "{at} hears the end after {} of {} bytes", place.heard, other.said);
        let count = if is_cut { "a part".to_owned() } else { format!("{count}") };
        format!("{at} hears {count} and the end {heard:?}, and again {again:?}")
    }

    async fn exchange(&mut self, at: At, count: usize) -> String {
        let (place, other) = self.places(at);
        let question = pattern(place.at, place.said, count);
        place.said += count;
        let End::Whole(stream) = &mut place.end else { unreachable!("the generator knows what is whole") };
        let answering = async {
            let heard = fill(&mut other.end, &mut other.ahead, count, Hearing::Recv).await;
            assert!(matches!(heard, Ok(true)), "the question to {} breaks: {heard:?}", other.at);
            other.check(at, count);
            other.say(count, true).await
        };
        let (first, answered) = both(stream.exchange(question), answering).await;
        match first {
            Ok(chunk) => place.ahead.extend_from_slice(chunk.bytes()),
            Err(error) => return name(&error),
        }
        format!("{answered}, {}", self.hear(at, count, Hearing::Recv).await)
    }

    async fn flood(&mut self, at: At, count: usize) -> String {
        let (place, other) = self.places(at);
        let reading = fill(&mut other.end, &mut other.ahead, count, Hearing::Recv);
        let (said, heard) = both(place.say(count, true), reading).await;
        assert!(heard.is_ok_and(|is_all| is_all), "{at} floods, and the other can't hear");
        format!("{said}, {}", self.hear(at.other(), count, Hearing::Recv).await)
    }

    async fn flood_both(&mut self, at: At, count: usize) -> String {
        let (place, other) = self.places(at);
        let bytes = [&mut *place, &mut *other].map(|place| {
            place.said += count;
            pattern(place.at, place.said - count, count)
        });
        let (End::Halves(one, Some(to_other)), End::Halves(two, Some(to_one))) = (&mut place.end, &mut other.end)
        else {
            unreachable!("the generator knows what is split");
        };
        let [first, second] = bytes;
        let writing = both(to_other.write_all(first), to_one.write_all(second));
        let reading =
            both(fill(one, &mut place.ahead, count, Hearing::Recv), fill(two, &mut other.ahead, count, Hearing::Recv));
        let (((first, _), (second, _)), (heard, also)) = both(writing, reading).await;
        assert!(matches!((heard, also), (Ok(true), Ok(true))), "a flood both ways ends early");
        let heard = (self.hear(at, count, Hearing::Recv).await, self.hear(at.other(), count, Hearing::Recv).await);
        format!("both say {count}: {first:?} {second:?} {heard:?}")
    }

    async fn stall(&mut self, at: At) -> String {
        let (rt, too_much) = (self.rt.clone(), self.too_much);
        let place = self.place(at);
        let bytes = pattern(at, place.said, too_much);
        place.said += too_much;
        let said = rt.timeout(10 * PATIENCE, place.end.write_all(bytes)).await;
        let (again, _) = place.end.write_all("more").await;
        let said = if said.is_err() { "gives up" } else { "says it all" };
        format!("{at} says too much, and {said}; and more: {}", outcome(again, "good"))
    }

    async fn learn_of_reset(&mut self, at: At, by_reading: bool) -> String {
        let rt = self.rt.clone();
        let (place, other) = self.places(at);
        let learnt = if by_reading {
            let learnt = fill(&mut place.end, &mut place.ahead, usize::MAX, Hearing::Recv).await;
            let count = place.ahead.len();
            place.check(other.at, count);
            learnt.map(drop)
        } else {
            // It may still be on its way.
            loop {
                match place.end.write_all("more").await.0 {
                    Ok(()) => rt.sleep(PATIENCE).await,
                    broken => break broken,
                }
            }
        };
        place.end = End::Gone;
        format!("{at} learns of the reset: {}", outcome(learnt, "nothing"))
    }
}

impl<S: Stream> Place<S> {
    async fn say(&mut self, count: usize, whole: bool) -> String {
        let bytes = pattern(self.at, self.said, count);
        self.said += count;
        let said = say(&mut self.end, bytes, whole).await;
        outcome(said, &format!("{} says {count}", self.at))
    }

    fn split(&mut self) -> String {
        self.end = match std::mem::replace(&mut self.end, End::Gone) {
            End::Whole(stream) => {
                let (reader, writer) = stream.split();
                End::Halves(reader, Some(writer))
            }
            other => other,
        };
        format!("{} is split", self.at)
    }

    async fn shut_down(&mut self, by_drop: bool) -> String {
        let ended = match &mut self.end {
            End::Halves(_, writer) if by_drop => {
                drop(writer.take());
                Ok(())
            }
            end => end.shutdown().await,
        };
        outcome(ended, &format!("{} ends", self.at))
    }

    async fn close(&mut self) -> String {
        assert!(self.ahead.is_empty(), "{} was said more than was read", self.at);
        let closed = match std::mem::replace(&mut self.end, End::Gone) {
            End::Whole(stream) => stream.close().await,
            halves => {
                drop(halves);
                Ok(())
            }
        };
        outcome(closed, &format!("{} closes", self.at))
    }

    /// Takes the first `count` bytes of what has been received. They are the next that were said.
    fn check(&mut self, said_by: At, count: usize) {
        let rest = self.ahead.split_off(count);
        let heard = std::mem::replace(&mut self.ahead, rest);
        let is_as_said = heard == pattern(said_by, self.heard, count);
        assert!(is_as_said, "{} bytes from {} on are not what {said_by} said", heard.len(), self.heard);
        self.heard += count;
    }
}

/// Lets the loop turn a few times.
async fn pause(turns: u8) {
    for _ in 0..turns {
        executor::yield_now().await;
    }
}

/// Polls an accept once, and drops it.
async fn accept_once<L: Listener>(listener: &mut L) -> Option<io::Result<L::Stream>> {
    poll_once(pin!(listener.accept())).await
}

async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    poll_fn(|cx| Poll::Ready(ready(Pin::new(&mut future).poll(cx)))).await
}

/// What an end writes, from one position on. No position is like its neighbours.
fn pattern(at: At, from: usize, count: usize) -> Vec<u8> {
    let salt = (at.connection * 2 + at.end) as u32;
    let byte = |place: usize| ((place as u32).wrapping_add(salt << 20).wrapping_mul(2_654_435_761) >> 24) as u8;
    (from..from + count).map(byte).collect()
}

/// Reads until `count` bytes are there. False: the stream ended before.
async fn fill<T: Reader>(reader: &mut T, ahead: &mut Vec<u8>, count: usize, how: Hearing) -> io::Result<bool> {
    while ahead.len() < count {
        let missing = count - ahead.len();
        match how {
            Hearing::Recv => {
                let chunk = reader.recv().await?;
                ahead.extend_from_slice(chunk.bytes());
                if chunk.bytes().is_empty() {
                    return Ok(false);
                }
            }
            Hearing::Read => {
                let (result, buf) = reader.read(vec![0; missing.min(700)]).await;
                let got = result?;
                ahead.extend_from_slice(&buf[..got]);
                if got == 0 {
                    return Ok(false);
                }
            }
            Hearing::ReadExact => {
                let (result, buf) = reader.read_exact(vec![0; missing]).await;
                result?;
                ahead.extend_from_slice(&buf);
            }
        }
    }
    Ok(true)
}

/// Begins to receive, waits for `meanwhile`, and drops what is not there by then.
async fn give_up<T: Reader>(reader: &mut T, ahead: &mut Vec<u8>, meanwhile: impl Future) -> io::Result<()> {
    let mut meanwhile = pin!(meanwhile);
    let (mut receiving, mut received) = (pin!(reader.recv()), None);
    poll_fn(|cx| {
        if received.is_none()
            && let Poll::Ready(chunk) = receiving.as_mut().poll(cx)
        {
            received = Some(chunk);
        }
        meanwhile.as_mut().poll(cx)
    })
    .await;
    if let Some(chunk) = received {
        ahead.extend_from_slice(chunk?.bytes());
    }
    Ok(())
}

async fn say<T: Writer>(writer: &mut T, bytes: Vec<u8>, whole: bool) -> io::Result<()> {
    if whole {
        return writer.write_all(bytes).await.0;
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let (result, bytes) = writer.write(rest).await;
        rest = bytes[result?..].to_vec();
    }
    Ok(())
}

/// Completes when both have.
async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        for is_first in [true, false] {
            if is_first && first.is_none() {
                first = ready(one.as_mut().poll(cx));
            } else if !is_first && second.is_none() {
                second = ready(other.as_mut().poll(cx));
            }
        }
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (first.expect("just seen"), second.expect("just seen"))
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// An error as all runtimes name it. Which of the two a reset is depends on what was asked first.
fn name(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "broken".to_owned(),
        kind => format!("{kind:?}"),
    }
}

fn outcome<T>(result: io::Result<T>, good: &str) -> String {
    result.map_or_else(|error| name(&error), |_| good.to_owned())
}
