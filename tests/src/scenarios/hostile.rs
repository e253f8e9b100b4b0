//! Hostile clients against the servers of `demos`, beside a polite one: it loses nothing, they gain nothing, and
//! all of them are gone in the end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use demos::http::Limits;
use demos::serve;
use fastrand::Rng;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;

use super::{Scenario, scenario};
use crate::engine::Engine;
use crate::ms;
use crate::net::{Pattern, reset};
use crate::rounds::Rounds;
use crate::victim::{
    Ending, PATIENCE, Service, Victim, Waits, against, against_limited, beside_a_polite_client, drain,
};

/// Connections a server may have, of which these scenarios need less.
const MANY: usize = 9_000;

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "N1",
        "clients that say nothing, or a byte now and then, are sent away at the deadline, and none before",
        1,
        [ReactorLevel, ReactorEdge, ProactorFull],
        slow_clients
    );
    scenario!(
        all,
        "N3",
        "clients that connect and reset: no descriptor stays, no connection is cut, others are served",
        2,
        [ReactorLevel, ReactorEdge, ProactorFull],
        resets
    );
    scenario!(
        all,
        "N4",
        "clients that send and never read are not read from, and what was read comes back when they do",
        2,
        [ReactorLevel, ReactorEdge, ProactorFull],
        greedy_clients
    );
    scenario!(
        all,
        "N5",
        "random bytes and damaged requests: nothing panics, every connection ends",
        2,
        [ReactorLevel, ReactorEdge, ProactorFull],
        nonsense
    );
    scenario!(
        all,
        "N6",
        "one client with a thousand busy connections does not take the server from one with a single connection",
        2,
        [ReactorLevel, ReactorEdge, ProactorFull],
        a_crowd_and_one
    );
    scenario!(
        all,
        "N6-limit",
        "a limit for each address: an address has so many of a thousand connections, the next when one ends",
        2,
        [ReactorLevel, ReactorEdge, ProactorFull],
        a_crowd_of_one_address
    );
    scenario!(
        all,
        "N7",
        "single bytes, urgent data, a shut window, data with the end, both ends at once: the same answers",
        2,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorBare, ProactorOneshot],
        odd_segments
    );
    scenario!(
        all,
        "X5",
        "a full server: the next client waits, and is served when one leaves",
        4,
        [ReactorLevel, ReactorEdge, ProactorFull],
        full_house
    );
}

/// As many descriptors as the system allows.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// A client that has begun a request, and since when it is connected.
struct Slow {
    stream: TcpStream,
    since: Instant,
    is_silent: bool,
    received: Vec<u8>,
    gone: Option<Duration>,
}

impl Slow {
    fn new(victim: &Victim, is_silent: bool) -> Slow {
        let since = Instant::now();
        let mut stream = victim.connect();
        if !is_silent {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").expect("write");
        }
        stream.set_nonblocking(true).expect("a socket");
        Slow { stream, since, is_silent, received: Vec::new(), gone: None }
    }

    /// One more byte, if it is one who sends, and what came.
    fn go_on(&mut self) {
        if self.gone.is_some() {
            return;
        }
        if !self.is_silent && self.received.is_empty() {
            // The server may have closed just now.
            let _ = self.stream.write(b"x");
        }
        let mut buffer = [0; 512];
        match self.stream.read(&mut buffer) {
            Ok(count @ 1..) => self.received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.gone = Some(self.since.elapsed()),
        }
    }
}

fn slow_clients<E: Engine>(rounds: &mut Rounds) {
    const DEADLINE: Duration = ms(500);
    raise_open_files();
    let limits = Limits { header_timeout: DEADLINE, linger_idle: ms(50), ..Limits::default() };
    let (mut waits, mut most, mut latest) = (Vec::new(), 0, Duration::ZERO);
    for round in rounds.by_ref() {
        // More each round, for there is no time for all in the first.
        let count = usize::try_from(round + 1).expect("a round").saturating_mul(1_000).min(5_000);
        let (((gone, at_once), wait), served) = against::<E, _>(Service::Http, MANY, limits.clone(), |victim| {
            beside_a_polite_client(victim, || {
                let mut slow: Vec<_> = (0..count).map(|number| Slow::new(victim, number.is_multiple_of(2))).collect();
                let begun = Instant::now();
                while slow.iter().any(|slow| slow.gone.is_none()) {
                    assert!(begun.elapsed() < DEADLINE + PATIENCE, "slow clients are still there");
                    slow.iter_mut().for_each(Slow::go_on);
                    thread::sleep(ms(10));
                }
                for slow in &slow {
                    let (said, gone) = (String::from_utf8_lossy(&slow.received), slow.gone.expect("all are"));
                    assert!(gone >= DEADLINE, "sent away after {gone:?}");
                    let is_right = if slow.is_silent { said.is_empty() } else { said.starts_with("HTTP/1.1 408 ") };
                    assert!(is_right, "{said}");
                }
                // When the last one came, nobody had been sent away who was not yet there for so long.
                let last = slow.iter().map(|slow| slow.since).max().expect("some");
                let at_once = slow.iter().filter(|slow| last - slow.since < DEADLINE).count();
                (slow.iter().filter_map(|slow| slow.gone).max(), at_once)
            })
        });
        assert_eq!(served.connections, count as u64 + 1);
        waits.push(wait);
        most = most.max(at_once);
        latest = latest.max(gone.unwrap_or_default() - DEADLINE);
    }
    Waits::report(&waits, rounds);
    rounds.figure("slow clients at once", most);
    rounds.figure("sent away after the deadline by at most, ms", latest.as_millis());
}

fn resets<E: Engine>(rounds: &mut Rounds) {
    const COUNT: u64 = 500;
    let (mut waits, mut begun_and_reset) = (Vec::new(), Duration::ZERO);
    for round in rounds.by_ref() {
        let service = Service::of_round(round);
        let ((took, wait), served) = against::<E, _>(service, MANY, Limits::default(), |victim| {
            beside_a_polite_client(victim, || {
                let begun = Instant::now();
                for number in 0..COUNT {
                    let mut stream = victim.connect();
                    if number.is_multiple_of(2) {
                        let _ = stream.write(service.exchange(number).0.as_bytes());
                    }
                    reset(stream);
                }
                begun.elapsed()
            })
        });
        // The kernel may forget one that is reset before it is accepted.
        assert!(served.connections <= COUNT + 1, "{served:?}");
        waits.push(wait);
        begun_and_reset += took;
    }
    Waits::report(&waits, rounds);
    let rate = (COUNT * rounds.done()) as f64 / begun_and_reset.as_secs_f64();
    rounds.figure("resets per second", format!("{rate:.0}"));
}

/// Sends as long as the server takes something; returns how many bytes it took.
fn send_until_stuck(stream: &mut TcpStream, mut next: impl FnMut(usize) -> Vec<u8>) -> usize {
    /// More than the kernel's buffers on both ways can hold.
    const TOO_MUCH: usize = 128 << 20;
    stream.set_write_timeout(Some(ms(100))).expect("a socket");
    let mut sent = 0;
    loop {
        assert!(sent < TOO_MUCH, "it reads on and on from a client that never reads");
        let bytes = next(sent);
        match stream.write(&bytes) {
            Ok(count) => sent += count,
            // It takes no more, or has given us up.
            Err(_) => return sent,
        }
    }
}

fn greedy_clients<E: Engine>(rounds: &mut Rounds) {
    const GREEDY: u64 = 2;
    // On epoll a chunk is filled when it is asked for. The kernel's completions come in bursts, and a
    // burst is bounded by the pool only.
    let most_chunks = if E::NAME.starts_with("reactor") { GREEDY + 1 } else { 1024 };
    let pattern = Pattern::new(rounds.seed());
    let limits = Limits { stall_timeout: ms(200), linger_idle: ms(20), ..Limits::default() };
    let (mut waits, mut most) = (Vec::new(), 0);
    for round in rounds.by_ref() {
        let service = Service::of_round(round);
        let ((lent, wait), served) = against::<E, _>(service, MANY, limits.clone(), |victim| {
            let ((), wait) = beside_a_polite_client(victim, || {
                thread::scope(|scope| {
                    for number in 0..GREEDY {
                        let pattern = &pattern;
                        scope.spawn(move || match service {
                            Service::Echo => greedy_echo(victim, pattern, number),
                            Service::Http => greedy_http(victim),
                        });
                    }
                });
            });
            (victim.most_lent.load(Ordering::Relaxed), wait)
        });
        assert!(lent <= most_chunks, "{lent} chunks lent to {GREEDY} clients that never read");
        assert!(served.connections > GREEDY);
        waits.push(wait);
        most = most.max(lent);
    }
    Waits::report(&waits, rounds);
    rounds.figure("chunks lent at most", most);
}

/// Half of them read in the end, and get every byte they sent; the others never do.
fn greedy_echo(victim: &Victim, pattern: &Pattern, number: u64) {
    let mut stream = victim.connect();
    let sent = send_until_stuck(&mut stream, |sent| pattern.bytes(sent, 1 << 16));
    if number.is_multiple_of(2) {
        reset(stream);
        return;
    }
    stream.shutdown(Shutdown::Write).expect("shutdown");
    let (received, ending) = drain(&mut stream);
    assert_eq!((received.len(), ending), (sent, Ending::End));
    pattern.check(0, &received);
}

/// It is given up, though it never reads: what is left in the end are the polite client, the watch, and who asks.
fn greedy_http(victim: &Victim) {
    let mut stream = victim.connect();
    let (request, _) = victim.service.exchange(0);
    let requests = request.repeat(1_000).into_bytes();
    let sent = send_until_stuck(&mut stream, |sent| requests[sent % request.len()..].to_vec());
    assert!(sent > 0);
    let begun = Instant::now();
    while tasks(victim) > 3 {
        assert!(begun.elapsed() < PATIENCE, "clients that do not read are kept");
        thread::sleep(ms(20));
    }
}

/// How many tasks the server has, the one that says so included.
fn tasks(victim: &Victim) -> u64 {
    let mut stream = victim.connect();
    stream.write_all(b"GET /stats HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("write");
    let (answer, _) = drain(&mut stream);
    let answer = String::from_utf8(answer).expect("text");
    let number = answer.split("\"tasks_now\":").nth(1).and_then(|rest| rest.split(',').next());
    number.and_then(|number| number.parse().ok()).expect("a number of tasks")
}

/// Bytes that mean nothing, or a valid exchange with damage.
fn junk(random: &mut Rng, service: Service) -> Vec<u8> {
    if random.bool() {
        let mut bytes = vec![0; random.usize(1..5_000)];
        random.fill(&mut bytes);
        return bytes;
    }
    let mut bytes = service.exchange(random.u64(..)).0.repeat(random.usize(1..5)).into_bytes();
    for _ in 0..random.usize(1..10) {
        let place = random.usize(..bytes.len());
        bytes[place] = *random.choice(b"\r\n\0 :;,0aG/\t\xff").expect("some");
    }
    bytes
}

fn nonsense<E: Engine>(rounds: &mut Rounds) {
    const COUNT: u64 = 150;
    let mut random = Rng::with_seed(rounds.seed());
    let mut waits = Vec::new();
    for round in rounds.by_ref() {
        let service = Service::of_round(round);
        let seed = random.u64(..);
        let ((_, wait), served) = against::<E, _>(service, MANY, Limits::default(), |victim| {
            beside_a_polite_client(victim, || {
                let mut random = Rng::with_seed(seed);
                for _ in 0..COUNT {
                    let bytes = junk(&mut random, service);
                    let mut stream = victim.connect();
                    // The server may be done with it before we are.
                    let _ = stream.write_all(&bytes);
                    let _ = stream.shutdown(Shutdown::Write);
                    let (received, ending) = drain(&mut stream);
                    if service == Service::Echo {
                        assert!(received == bytes && ending == Ending::End, "seed {seed}");
                    }
                }
            })
        });
        assert_eq!(served.connections, COUNT + 1);
        waits.push(wait);
    }
    Waits::report(&waits, rounds);
    rounds.figure("connections", COUNT * rounds.done());
}

/// Connections of one client.
const CROWD: u64 = 1_000;

fn a_crowd_and_one<E: Engine>(rounds: &mut Rounds) {
    const EXCHANGES: u64 = 3;
    raise_open_files();
    let (mut waits, mut worst) = (Vec::new(), 0.0_f64);
    for round in rounds.by_ref() {
        let service = Service::of_round(round);
        let ((asked, wait), served) = against::<E, _>(service, MANY, Limits::default(), |victim| {
            let mut crowd: Vec<_> = (0..CROWD).map(|_| victim.connect()).collect();
            beside_a_polite_client(victim, || {
                for number in 0..EXCHANGES {
                    let (question, _) = service.exchange(number);
                    crowd.iter_mut().for_each(|stream| stream.write_all(question.as_bytes()).expect("write"));
                    crowd.iter_mut().for_each(|stream| {
                        let mut byte = [0];
                        stream.read_exact(&mut byte).expect("each of the crowd is answered, too");
                    });
                }
                EXCHANGES
            })
        });
        assert_eq!((served.connections, asked), (CROWD + 1, EXCHANGES));
        worst = worst.max(wait.times());
        waits.push(wait);
    }
    Waits::report(&waits, rounds);
    rounds.figure("the single client waited so many times as long", format!("{worst:.1}"));
}

fn a_crowd_of_one_address<E: Engine>(rounds: &mut Rounds) {
    const SEATS: usize = 100;
    const CROWDED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    raise_open_files();
    let limits = serve::Limits { connections: MANY, per_address: Some(SEATS), grace: PATIENCE };
    let mut waits = Vec::new();
    for round in rounds.by_ref() {
        let service = Service::of_round(round);
        let ((extra, wait), served) = against_limited::<E, _>(service, &limits, Limits::default(), |victim| {
            beside_a_polite_client(victim, || {
                let mut crowd: Vec<_> = (0..CROWD).map(|_| victim.connect_from(CROWDED)).collect();
                // They are accepted in the order in which they came.
                for refused in &mut crowd[SEATS..] {
                    assert_eq!(drain(refused), (Vec::new(), Ending::End));
                }
                crowd.truncate(SEATS);
                crowd.iter_mut().for_each(|stream| service.ask(stream, 1));
                drop(crowd.pop());
                // The server has to hear of that first.
                let (begun, mut refused) = (Instant::now(), 0);
                let next = loop {
                    assert!(begun.elapsed() < PATIENCE, "a place is not given back");
                    let mut next = victim.connect_from(CROWDED);
                    let (question, answer) = service.exchange(2);
                    // It may have closed already.
                    let _ = next.write_all(question.as_bytes());
                    if next.read_exact(&mut vec![0; answer.len()]).is_ok() {
                        break next;
                    }
                    refused += 1;
                };
                crowd.push(next);
                refused
            })
        });
        // The polite one, those who had a seat, and the one who got one later.
        assert_eq!(served.connections, 1 + SEATS as u64 + 1);
        assert_eq!(served.refused, CROWD - SEATS as u64 + extra);
        waits.push(wait);
    }
    Waits::report(&waits, rounds);
}

/// The polite client's dialogue in an impolite manner of the wire: the transcript is the same.
fn odd_segments<E: Engine>(rounds: &mut Rounds) {
    let mut waits = Vec::new();
    for round in rounds.by_ref() {
        let service = Service::of_round(round);
        let ((_, wait), _) = against::<E, _>(service, MANY, Limits::default(), |victim| {
            beside_a_polite_client(victim, || {
                let questions: Vec<_> = (0..20).map(|number| service.exchange(number).0).collect();
                let all = questions.concat();
                let (expected, len) = transcript(victim, 0, |stream| stream.write_all(all.as_bytes()));
                for (name, manner) in MANNERS {
                    let (said, _) = transcript(victim, len, |stream| manner(stream, &questions));
                    assert_eq!(said, expected, "{name}");
                }
                // Corked, all and the end go in one segment.
                let corked = |stream: &mut TcpStream| {
                    SockRef::from(&*stream).set_tcp_cork(true)?;
                    stream.write_all(all.as_bytes())
                };
                assert_eq!(transcript(victim, 0, corked), (expected, len));
                both_end_at_once(victim);
            })
        });
        waits.push(wait);
    }
    Waits::report(&waits, rounds);
}

/// What the server says to whoever speaks like this, without the date; and how many bytes in all. It has to say
/// so many of them before the client ends its side.
fn transcript(
    victim: &Victim,
    before_the_end: usize,
    speak: impl FnOnce(&mut TcpStream) -> std::io::Result<()>,
) -> (Vec<String>, usize) {
    let mut stream = victim.connect();
    speak(&mut stream).expect("the server listens");
    let mut received = vec![0; before_the_end];
    stream.read_exact(&mut received).expect("it answers before the end");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    let (rest, ending) = drain(&mut stream);
    assert_eq!(ending, Ending::End);
    received.extend_from_slice(&rest);
    let len = received.len();
    let text = String::from_utf8(received).expect("text");
    (text.lines().filter(|line| !line.starts_with("Date: ")).map(str::to_owned).collect(), len)
}

type Manner = fn(&mut TcpStream, &[String]) -> std::io::Result<()>;

const MANNERS: [(&str, Manner); 3] = [
    ("single bytes", |stream, questions| {
        questions.concat().as_bytes().iter().try_for_each(|byte| stream.write_all(&[*byte]))
    }),
    // One byte only: a second one makes an ordinary byte of the first. What is read stops in front of it.
    ("urgent data in the middle of a question", |stream, questions| {
        let all = questions.concat();
        let (before, after) = all.split_at(all.len() / 2 + 3);
        stream.write_all(before.as_bytes())?;
        SockRef::from(&*stream).send_out_of_band(b"!")?;
        stream.write_all(after.as_bytes())
    }),
    ("a window that is shut for a while", |stream, questions| {
        SockRef::from(&*stream).set_recv_buffer_size(1)?;
        stream.write_all(questions.concat().as_bytes())?;
        thread::sleep(ms(20));
        Ok(())
    }),
];

/// The client resets, or ends, while the server answers: it is nobody's loss.
fn both_end_at_once(victim: &Victim) {
    for _ in 0..20 {
        let mut stream = victim.connect();
        stream.write_all(victim.service.exchange(0).0.as_bytes()).expect("write");
        stream.shutdown(Shutdown::Both).expect("shutdown");
    }
}

fn full_house<E: Engine>(rounds: &mut Rounds) {
    const SEATS: usize = 3;
    let mut longest = Duration::ZERO;
    for round in rounds.by_ref() {
        let service = Service::of_round(round);
        let (took, served) = against::<E, _>(service, SEATS, Limits::default(), |victim| {
            let mut seated: Vec<_> = (0..SEATS).map(|_| victim.connect()).collect();
            seated.iter_mut().for_each(|stream| service.ask(stream, 1));
            let mut next = victim.connect();
            let (question, answer) = service.exchange(2);
            next.write_all(question.as_bytes()).expect("write");
            for number in 3..13 {
                seated.iter_mut().for_each(|stream| service.ask(stream, number));
            }
            next.set_nonblocking(true).expect("a socket");
            let early = next.read(&mut [0]).expect_err("it has to wait");
            assert_eq!(early.kind(), ErrorKind::WouldBlock);
            next.set_nonblocking(false).expect("a socket");
            let left = Instant::now();
            drop(seated.pop());
            let mut received = vec![0; answer.len()];
            next.read_exact(&mut received).expect("it is served when one has left");
            let took = left.elapsed();
            drop(next);
            seated.iter_mut().for_each(|stream| service.ask(stream, 4));
            took
        });
        assert_eq!(served.connections, SEATS as u64 + 1);
        longest = longest.max(took);
    }
    rounds.figure("served after one has left, us at most", longest.as_micros());
}
