//! The proxy between clients and servers in simulated weather: many schedules, each of which can be run again.
//!
//! Every request carries bytes of its own, and its answer must be those. So nothing is lost, cut, or sent to somebody
//! else, however transfers are cut and reordered; and if connections break, what arrives is an answer of one's own,
//! or an error, or an end.

mod endings;
mod verdicts;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use sim::{IoBuf, Listener, Reader, Runtime, Sim, Stream, Weather, Writer};

use super::{Policy, Proxy, Settings, Target, connection};
use crate::http::{Limits, Site};

const SERVERS: usize = 3;
const CLIENTS: usize = 4;
const REQUESTS: usize = 6;
const FRONT: &str = "10.0.1.1:80";

fn server(number: usize) -> SocketAddr {
    format!("10.0.0.{}:80", number + 1).parse().unwrap()
}

/// Accepts for ever, and serves each connection in a task.
fn accept<F>(sim: &Sim, address: SocketAddr, serve: impl Fn(Sim, sim::TcpStream) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let mut listener = sim.listen(address, &Default::default()).unwrap();
    let rt = sim.clone();
    let accepting = async move {
        while let Ok(stream) = listener.accept().await {
            rt.spawn(serve(rt.clone(), stream)).detach();
        }
    };
    sim.spawn(accepting).detach();
}

/// A proxy in front of servers.
fn build(sim: &Sim, rng: &mut Rng, http: Option<Limits>) {
    for number in 0..SERVERS {
        match &http {
            Some(limits) => {
                let site = Rc::new(Site::new(limits.clone(), None).unwrap());
                accept(sim, server(number), move |rt, stream| crate::http::connection(rt, stream, Rc::clone(&site)));
            }
            None => accept(sim, server(number), async |rt, stream| drop(crate::echo::connection(rt, stream).await)),
        }
    }
    let targets: Vec<_> = (0..SERVERS).map(|number| Target { addr: server(number), weight: 1 }).collect();
    let policies = [Policy::RoundRobin, Policy::LeastConnections, Policy::Hash];
    let settings = Settings {
        policy: policies[rng.usize(..policies.len())],
        check_path: http.is_some().then(|| "/plaintext".to_owned()),
        check_every: Duration::from_millis(rng.u64(5..50)),
        http,
        ..Settings::default()
    };
    let proxy = Proxy::new(sim, &targets, settings, |_| {});
    accept(sim, FRONT.parse().unwrap(), move |rt, stream| connection(Rc::clone(&proxy), rt, stream));
}

/// A request of some form, and the body its answer must have.
fn request(rng: &mut Rng, is_last: bool) -> (String, String) {
    let close = if is_last { "Connection: close\r\n" } else { "" };
    let body: String = (0..rng.usize(1..9000)).map(|_| rng.alphanumeric()).collect();
    match rng.u8(..3) {
        0 => (format!("GET /plaintext HTTP/1.1\r\nHost: h\r\n{close}\r\n"), "Hello, World!".to_owned()),
        1 => (format!("POST /echo HTTP/1.1\r\nHost: h\r\n{close}Content-Length: {}\r\n\r\n{body}", body.len()), body),
        _ => {
            let cut = rng.usize(..body.len());
            let chunk =
                |part: &str| if part.is_empty() { String::new() } else { format!("{:x}\r\n{part}\r\n", part.len()) };
            let chunks = chunk(&body[..cut]) + &chunk(&body[cut..]) + "0\r\n\r\n";
            (format!("POST /echo HTTP/1.1\r\nHost: h\r\n{close}Transfer-Encoding: chunked\r\n\r\n{chunks}"), body)
        }
    }
}

/// Says all of it at once, and listens to the end; what came, and whether the connection ended well. `ends`: whether
/// the client ends its side, which a client of HTTP does not do before it has its answers.
async fn talk(sim: Sim, say: String, ends: bool) -> (Vec<u8>, bool) {
    let Ok(stream) = sim.connect(FRONT.parse().unwrap()).await else { return (Vec::new(), false) };
    let (mut reader, mut writer) = stream.split();
    let saying = sim.spawn(async move {
        let _ = writer.write_all(say).await;
        if ends {
            let _ = writer.shutdown().await;
        }
        writer
    });
    let mut heard = Vec::new();
    let is_whole = loop {
        match reader.recv().await {
            Ok(chunk) if chunk.bytes().is_empty() => break true,
            Ok(chunk) => heard.extend_from_slice(chunk.bytes()),
            Err(_) => break false,
        }
    };
    drop(saying.await);
    (heard, is_whole)
}

/// The status and the body of each answer that is whole.
fn answers(mut bytes: &[u8]) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    loop {
        let mut storage = [httparse::EMPTY_HEADER; 20];
        let mut head = httparse::Response::new(&mut storage);
        let Ok(httparse::Status::Complete(head_len)) = head.parse(bytes) else { return answers };
        let length = head.headers.iter().find(|header| header.name == "Content-Length").expect("a length").value;
        let length: usize = std::str::from_utf8(length).unwrap().parse().unwrap();
        let Some(body) = bytes.get(head_len..head_len + length) else { return answers };
        answers.push((head.code.unwrap(), String::from_utf8(body.to_vec()).unwrap()));
        bytes = &bytes[head_len + length..];
    }
}

#[test]
fn every_request_gets_its_own_answer_in_any_weather() {
    sim::for_each_seed(20, |seed| {
        let sim = Sim::stormy(seed);
        let mut rng = Rng::with_seed(seed);
        build(&sim, &mut rng, Some(Limits::default()));
        let talks: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let pairs: Vec<_> = (0..REQUESTS).map(|number| request(&mut rng, number + 1 == REQUESTS)).collect();
                let (said, expected): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
                (sim.spawn(talk(sim.clone(), said.concat(), false)), expected)
            })
            .collect();
        sim.block_on(async {
            for (talk, expected) in talks {
                let (heard, is_whole) = talk.await.unwrap();
                assert!(is_whole, "an answer is cut");
                assert_eq!(answers(&heard), expected.into_iter().map(|body| (200, body)).collect::<Vec<_>>());
            }
        });
        sim.finish();
    });
}

#[test]
fn nobody_gets_the_answer_of_another_when_connections_break() {
    let (right, wrong) = (Cell::new(0), Cell::new(0));
    sim::for_each_seed(20, |seed| {
        let weather = Weather { resets: 0.01, ..Weather::stormy() };
        let sim = sim::Builder::new(seed).weather(weather).build();
        let mut rng = Rng::with_seed(seed);
        build(&sim, &mut rng, Some(Limits::default()));
        let talks: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let pairs: Vec<_> = (0..REQUESTS).map(|_| request(&mut rng, true)).collect();
                let (said, expected): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
                let rt = sim.clone();
                let talks = sim.spawn(async move {
                    let mut heard = Vec::new();
                    for request in said {
                        heard.push(talk(rt.clone(), request, false).await.0);
                    }
                    heard
                });
                (talks, expected)
            })
            .collect();
        sim.block_on(async {
            for (talks, expected) in talks {
                for (heard, expected) in talks.await.unwrap().into_iter().zip(expected) {
                    let answers = answers(&heard);
                    assert!(answers.len() <= 1);
                    for (status, body) in answers {
                        assert!(status >= 400 || body == expected, "{status}: the answer is somebody else's");
                        let count = if status == 200 { &right } else { &wrong };
                        count.set(count.get() + 1);
                    }
                }
            }
        });
        sim.finish();
    });
    let (right, wrong) = (right.get(), wrong.get());
    assert!(right > wrong && wrong > 0, "{right} answers, {wrong} errors: the weather is not what it should be");
}

#[test]
fn bytes_get_through_both_ways_and_each_end_on_its_own() {
    sim::for_each_seed(20, |seed| {
        let sim = Sim::stormy(seed);
        let mut rng = Rng::with_seed(seed);
        build(&sim, &mut rng, None);
        let talks: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let said: String = (0..rng.usize(..100_000)).map(|_| rng.alphanumeric()).collect();
                (sim.spawn(talk(sim.clone(), said.clone(), true)), said)
            })
            .collect();
        sim.block_on(async {
            for (talk, said) in talks {
                // The echo ends after the client has ended its side: that end has got through, too.
                assert!(talk.await.unwrap() == (said.into_bytes(), true));
            }
        });
        // And not because the proxy has lost its patience.
        assert!(sim.elapsed() < Settings::default().idle_timeout);
        sim.finish();
    });
}

#[test]
fn a_silent_connection_is_closed_and_a_slow_server_is_answered_for() {
    let sim = Sim::calm(1);
    let targets = [Target { addr: server(0), weight: 1 }];
    for http in [None, Some(Limits::default())] {
        let is_http = http.is_some();
        let mut listener = sim.listen(server(0), &Default::default()).unwrap();
        let settings = Settings {
            idle_timeout: Duration::from_secs(7),
            response_timeout: Duration::from_secs(11),
            check_every: Duration::from_secs(3600),
            http,
            ..Settings::default()
        };
        let proxy = Proxy::new(&sim, &targets, settings, |_| {});
        sim.block_on(async {
            let (mut client, front) = sim.pair().await.unwrap();
            let serving = sim.spawn(connection(proxy, sim.clone(), front));
            let begun = sim.elapsed();
            client.write_all("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.0.unwrap();
            let silent = listener.accept().await.unwrap();
            let heard = client.recv().await;
            let seconds = if is_http { 11 } else { 7 };
            assert_eq!(sim.elapsed() - begun, Duration::from_secs(seconds));
            match heard {
                Ok(answer) => assert!(is_http && answer.bytes().starts_with(b"HTTP/1.1 504 ")),
                Err(_) => assert!(!is_http),
            }
            drop((client, silent));
            serving.await.unwrap();
        });
    }
    sim.finish();
}

/// A server that reads the head of a request and says this, at once and after a while, for each; then it closes, or
/// waits for the next. The count is of requests.
fn scripted(sim: &Sim, number: usize, at_once: &'static str, later: &'static str, closes: bool) -> Rc<Cell<u32>> {
    let count = Rc::new(Cell::new(0));
    let requests = Rc::clone(&count);
    accept(sim, server(number), move |rt, mut stream| {
        let requests = Rc::clone(&requests);
        async move {
            let mut received = Vec::new();
            while let Ok(chunk) = stream.recv().await {
                if chunk.bytes().is_empty() {
                    return;
                }
                received.extend_from_slice(chunk.bytes());
                if received.windows(4).any(|end| end == b"\r\n\r\n") {
                    received.clear();
                    requests.set(requests.get() + 1);
                    let _ = stream.write_all(at_once).await;
                    if closes {
                        return;
                    }
                    rt.sleep(Duration::from_millis(10)).await;
                    let _ = stream.write_all(later).await;
                }
            }
        }
    });
    count
}

/// A proxy in front of two such servers.
fn build_scripted(sim: &Sim) {
    let targets = [0, 1].map(|number| Target { addr: server(number), weight: 1 });
    let never = Duration::from_secs(3600);
    let settings = Settings { check_every: never, fall: 1000, http: Some(Limits::default()), ..Settings::default() };
    let proxy = Proxy::new(sim, &targets, settings, |_| {});
    accept(sim, FRONT.parse().unwrap(), move |rt, stream| connection(Rc::clone(&proxy), rt, stream));
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";

#[test]
fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let right = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright";
    let late = (right, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", Duration::from_millis(100));
    // A part of it comes with the right answer, the rest in front of the next.
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nrightHTTP/1.1 200 OK\r\nConte";
    let stuck = (begun, "nt-Length: 0\r\n\r\n", Duration::ZERO);
    for (at_once, later, pause) in [late, stuck] {
        let sim = Sim::calm(1);
        let counts = [0, 1].map(|number| scripted(&sim, number, at_once, later, false));
        build_scripted(&sim);
        sim.block_on(async {
            for _ in 0..8 {
                let (heard, _) = talk(sim.clone(), GET.to_owned(), false).await;
                assert_eq!(answers(&heard), [(200, "right".to_owned())]);
                sim.sleep(pause).await;
            }
        });
        assert_eq!(counts.map(|count| count.get()), [4, 4]);
        sim.finish();
    }
}

#[test]
fn what_may_be_repeated_is_tried_everywhere_and_what_may_not_once() {
    let sim = Sim::calm(1);
    let counts = [0, 1].map(|number| scripted(&sim, number, "", "", true));
    build_scripted(&sim);
    let ask = |request: &str| {
        let (heard, _) = sim.block_on(talk(sim.clone(), request.to_owned(), false));
        let sum = counts.iter().map(|count| count.take()).sum::<u32>();
        (answers(&heard)[0].0, sum)
    };
    assert_eq!(ask(GET), (502, 2));
    assert_eq!(ask(POST), (502, 1));
    sim.finish();
}

#[test]
fn an_early_answer_ends_the_connection_whose_body_is_not_sent() {
    let sim = Sim::calm(1);
    let early = "HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno";
    let counts = [0, 1].map(|number| scripted(&sim, number, early, "", false));
    build_scripted(&sim);
    let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nGET / HTTP/1.1\r\n";
    let heard = sim.block_on(async {
        let mut client = sim.connect(FRONT.parse().unwrap()).await.unwrap();
        client.write_all(request).await.0.unwrap();
        let mut heard = Vec::new();
        loop {
            let chunk = client.recv().await.unwrap();
            if chunk.bytes().is_empty() {
                return heard;
            }
            heard.extend_from_slice(chunk.bytes());
        }
    });
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.starts_with("HTTP/1.1 413 ") && heard.contains("\r\nConnection: close\r\n"), "{heard}");
    assert_eq!(counts.iter().map(|count| count.get()).sum::<u32>(), 1);
    sim.finish();
}
