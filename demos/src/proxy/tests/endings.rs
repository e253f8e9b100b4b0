//! How connections end: what one side does is what the other sees, and who has gone keeps nothing.

use sim::TcpStream;

use super::*;

/// A proxy in front of one server that the test plays itself, and the server's listener.
fn build(sim: &Sim, settings: Settings) -> sim::TcpListener {
    let listener = sim.listen(server(0), &Default::default()).unwrap();
    let settings = Settings { check_every: Duration::from_secs(3600), ..settings };
    let proxy = Proxy::new(sim, &[Target { addr: server(0), weight: 1 }], settings, |_| {});
    accept(sim, FRONT.parse().unwrap(), move |rt, stream| connection(Rc::clone(&proxy), rt, stream));
    listener
}

fn http() -> Settings {
    Settings { http: Some(Limits::default()), ..Settings::default() }
}

/// A client that has said this, and the server that it has reached.
async fn join(sim: &Sim, listener: &mut sim::TcpListener, words: &str) -> (TcpStream, TcpStream) {
    let mut client = sim.connect(FRONT.parse().unwrap()).await.unwrap();
    client.write_all(words.to_owned()).await.0.unwrap();
    let mut server = listener.accept().await.unwrap();
    assert!(!server.recv().await.unwrap().bytes().is_empty());
    (client, server)
}

/// Reads to the end; what came, and whether the end was in order.
async fn end_of(stream: &mut TcpStream) -> (String, bool) {
    let mut heard = Vec::new();
    loop {
        match stream.recv().await {
            Ok(chunk) if chunk.bytes().is_empty() => return (String::from_utf8(heard).unwrap(), true),
            Ok(chunk) => heard.extend_from_slice(chunk.bytes()),
            Err(_) => return (String::from_utf8(heard).unwrap(), false),
        }
    }
}

#[test]
fn a_reset_of_one_side_is_a_reset_of_the_other_and_an_end_is_an_end() {
    for (client_goes, resets) in [(true, true), (false, true), (true, false), (false, false)] {
        let sim = Sim::calm(1);
        let mut listener = build(&sim, Settings::default());
        sim.block_on(async {
            let (client, server) = join(&sim, &mut listener, "hello").await;
            let (mut goes, mut stays) = if client_goes { (client, server) } else { (server, client) };
            goes.write_all("the last words").await.0.unwrap();
            if resets {
                goes.set_zero_linger().unwrap();
                drop(goes);
                assert_eq!(end_of(&mut stays).await, ("the last words".to_owned(), false));
            } else {
                goes.shutdown().await.unwrap();
                assert_eq!(end_of(&mut stays).await, ("the last words".to_owned(), true));
                // The other direction goes on.
                stays.write_all("more").await.0.unwrap();
                stays.shutdown().await.unwrap();
                assert_eq!(end_of(&mut goes).await, ("more".to_owned(), true));
            }
        });
        drop(listener);
        sim.finish();
    }
}

/// The proxy waits to write to the side that goes, and reads nothing of the other meanwhile.
#[test]
fn a_side_that_goes_while_it_takes_nothing_is_noticed_at_once() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n";
    let large = Settings { http: Some(Limits { body: 1 << 30, ..Limits::default() }), ..Settings::default() };
    for (settings, words, head, client_goes) in [
        (Settings::default(), "hello", "", true),
        (Settings::default(), "hello", "", false),
        (http(), GET, answer, true),
        (large, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999\r\n\r\n", "", false),
    ] {
        let sim = Sim::calm(1);
        let mut listener = build(&sim, settings);
        sim.block_on(async {
            let (client, mut server) = join(&sim, &mut listener, words).await;
            server.write_all(head).await.0.unwrap();
            let (goes, stays) = if client_goes { (client, server) } else { (server, client) };
            let (mut hears, mut says) = stays.split();
            let (rt, said) = (sim.clone(), Rc::new(Cell::new(0)));
            let count = Rc::clone(&said);
            let writing = sim.spawn(async move {
                while says.write_all(vec![0; 1 << 16]).await.0.is_ok() {
                    count.set(count.get() + 1);
                    rt.sleep(Duration::from_millis(1)).await;
                }
            });
            sim.sleep(Duration::from_secs(2)).await;
            let taken = said.get();
            sim.sleep(Duration::from_secs(2)).await;
            assert_eq!(said.get(), taken, "{words:?}: no program takes it all");
            let gone = sim.elapsed();
            goes.set_zero_linger().unwrap();
            drop(goes);
            // The proxy answers a client of HTTP with 502. It ends the other connections.
            let heard = hears.recv().await.map(|chunk| String::from_utf8_lossy(chunk.bytes()).into_owned());
            assert_eq!(
                heard.is_ok_and(|heard| heard.starts_with("HTTP/1.1 502 ")),
                words.starts_with("PUT"),
                "{words:?}"
            );
            assert!(sim.elapsed() - gone < Duration::from_secs(1), "{words:?}: it took a time-out");
            drop(hears);
            writing.abort();
        });
        drop(listener);
        sim.finish();
    }
}

#[test]
fn who_reaches_no_server_gets_no_orderly_end() {
    let sim = Sim::calm(1);
    drop(build(&sim, Settings::default()));
    let mut client = sim.block_on(sim.connect(FRONT.parse().unwrap())).unwrap();
    assert_eq!(sim.block_on(end_of(&mut client)), (String::new(), false));
    drop(client);
    sim.finish();
}

#[test]
fn an_answer_cut_short_does_not_end_in_order() {
    for (version, head, resets) in [
        ("1.0", "HTTP/1.0 200 OK\r\n\r\n", true),
        ("1.1", "HTTP/1.0 200 OK\r\n\r\n", true),
        ("1.0", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n", false),
        ("1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n", false),
        ("1.0", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", false),
    ] {
        let sim = Sim::calm(1);
        let mut listener = build(&sim, http());
        sim.block_on(async {
            let request = format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n");
            let (mut client, mut server) = join(&sim, &mut listener, &request).await;
            server.write_all(format!("{head}part")).await.0.unwrap();
            if resets {
                server.set_zero_linger().unwrap();
            }
            drop(server);
            let (heard, is_whole) = end_of(&mut client).await;
            assert!(heard.starts_with("HTTP/1.1 200 ") && !is_whole, "{version} {head:?}: {heard}");
        });
        drop(listener);
        sim.finish();
    }
}

#[test]
fn a_request_cut_short_does_not_end_in_order() {
    let sim = Sim::calm(1);
    let mut listener = build(&sim, http());
    sim.block_on(async {
        let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\npart";
        let (client, mut server) = join(&sim, &mut listener, request).await;
        drop(client);
        assert!(!end_of(&mut server).await.1);
    });
    drop(listener);
    sim.finish();
}

#[test]
fn an_interim_answer_is_none() {
    let request = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    for interim in ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        for request in [request.to_owned(), request.replace("1.1", "1.0"), GET.to_owned()] {
            for (then, status) in
                [(Some(""), 502), (Some("HTTP/1.1 200"), 502), (Some("SSH-2.0\r\n"), 502), (None, 504)]
            {
                let sim = Sim::calm(1);
                let mut listener = build(&sim, http());
                let (heard, is_whole) = sim.block_on(async {
                    let (mut client, mut server) = join(&sim, &mut listener, &request).await;
                    server.write_all(interim).await.0.unwrap();
                    // Without a word it stays, and is too slow.
                    let stays = match then {
                        Some(then) => {
                            server.write_all(then).await.0.unwrap();
                            drop(server);
                            None
                        }
                        None => Some(server),
                    };
                    let heard = end_of(&mut client).await;
                    drop(stays);
                    heard
                });
                let last = heard.rsplit("HTTP/1.1 ").next().unwrap();
                assert!(is_whole && last.starts_with(&status.to_string()), "{request:?} {interim:?} {then:?}: {heard}");
                drop(listener);
                sim.finish();
            }
        }
    }
}

#[test]
fn a_client_that_goes_gives_its_server_and_its_place_up_at_once() {
    // Before the head of the answer, and in the middle of its body; with and without a body of its own.
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx";
    for (request, answer, resets) in [
        (GET, "", true),
        (GET, "", false),
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart", true),
        (post, "", false),
        (post, "HTTP/1.1 103 Early Hints\r\n\r\n", true),
    ] {
        let sim = Sim::calm(1);
        let mut listener = build(&sim, Settings { most_per_server: 1, ..http() });
        sim.block_on(async {
            let begun = sim.elapsed();
            let (mut client, mut server) = join(&sim, &mut listener, request).await;
            if !answer.is_empty() {
                server.write_all(answer).await.0.unwrap();
                client.recv().await.unwrap();
            }
            if resets {
                client.set_zero_linger().unwrap();
            }
            drop(client);
            end_of(&mut server).await;
            assert!(sim.elapsed() - begun < Duration::from_secs(1), "{request:?} {answer:?}: it took a time-out");
            let (mut next, mut server) = join(&sim, &mut listener, GET).await;
            server.write_all("HTTP/1.1 204 No\r\n\r\n").await.0.unwrap();
            assert!(end_of(&mut next).await.0.starts_with("HTTP/1.1 204 "), "{request:?}: the place is not free");
        });
        drop(listener);
        sim.finish();
    }
}

#[test]
fn requests_that_come_while_an_answer_is_awaited_are_kept() {
    let sim = Sim::calm(1);
    let mut listener = build(&sim, http());
    sim.block_on(async {
        let (mut client, mut server) = join(&sim, &mut listener, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n").await;
        for next in ["GET /2 HTTP/1.1\r\nHo", "st: h\r\n\r\n"] {
            client.write_all(next).await.0.unwrap();
            sim.sleep(Duration::from_millis(100)).await;
        }
        server.write_all("HTTP/1.1 204 No\r\n\r\n").await.0.unwrap();
        assert!(server.recv().await.unwrap().bytes().starts_with(b"GET /2 "));
        drop((client, server));
    });
    drop(listener);
    sim.finish();
}
