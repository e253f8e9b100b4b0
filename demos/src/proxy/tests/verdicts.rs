//! What counts against a server, and what a proxy says itself.

use std::cell::RefCell;

use super::*;

/// A server that hangs up on `/hangup`, is silent on `/slow`, talks nonsense on `/nonsense`, and answers the rest. It
/// says an interim answer in one go with the answer, and keeps its connections.
fn moody(sim: &Sim) {
    accept(sim, server(0), |rt, mut stream| async move {
        while let Ok(chunk) = stream.recv().await {
            let said = String::from_utf8(chunk.bytes().to_vec()).unwrap();
            let path = said.split(' ').nth(1).unwrap_or_default();
            let answer = match path {
                "" | "/hangup" => return,
                "/slow" => return rt.sleep(Duration::from_secs(3600)).await,
                "/nonsense" => "SSH-2.0\r\n",
                _ => "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            };
            let _ = stream.write_all(answer).await;
        }
    });
}

/// A proxy in front of it, and what it says about it.
fn build(sim: &Sim, settings: Settings) -> Rc<RefCell<Vec<super::super::Event>>> {
    moody(sim);
    let events = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&events);
    let settings = Settings { http: Some(Limits::default()), ..settings };
    let targets = [Target { addr: server(0), weight: 1 }];
    let proxy = Proxy::new(sim, &targets, settings, move |event| seen.borrow_mut().push(event.clone()));
    accept(sim, FRONT.parse().unwrap(), move |rt, stream| connection(Rc::clone(&proxy), rt, stream));
    events
}

fn ask(sim: &Sim, path: &str) -> String {
    let request = GET.replace("GET / ", &format!("GET {path} "));
    String::from_utf8(sim.block_on(talk(sim.clone(), request, false)).0).unwrap()
}

#[test]
fn requests_that_fail_take_no_server_from_the_others() {
    for (path, status) in [("/hangup", 502), ("/slow", 504), ("/nonsense", 502)] {
        let sim = Sim::calm(1);
        let events = build(&sim, Settings { check_every: Duration::from_secs(3600), ..Settings::default() });
        for _ in 0..5 {
            let answer = ask(&sim, path);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        }
        let answer = ask(&sim, "/");
        assert!(answer.ends_with("ok"), "{path}: {answer}");
        assert!(events.borrow().is_empty());
        sim.finish();
    }
}

#[test]
fn a_check_hears_the_answer_behind_an_interim_one() {
    let sim = Sim::calm(1);
    let events = build(&sim, Settings { check_path: Some("/".to_owned()), fall: 1, ..Settings::default() });
    sim.block_on(sim.sleep(Duration::from_secs(10)));
    assert!(events.borrow().is_empty(), "{events:?}");
    sim.finish();
}

#[test]
fn what_the_proxy_says_itself_has_a_date() {
    let sim = Sim::calm(1);
    build(&sim, Settings::default());
    let options = "OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n";
    for (request, status) in [("GET / HTTP/1.1\r\n\r\n", 400), (options, 200)] {
        let (heard, is_whole) = sim.block_on(talk(sim.clone(), request.to_owned(), false));
        let heard = String::from_utf8(heard).unwrap();
        assert!(
            is_whole && heard.starts_with(&format!("HTTP/1.1 {status} ")) && heard.contains("\r\nDate: "),
            "{heard}"
        );
        assert_eq!(heard.contains("\r\nAllow: GET, "), status == 200, "{heard}");
    }
    sim.finish();
}

#[test]
fn a_server_may_pause_in_an_answer_as_long_as_it_is_told() {
    let sim = Sim::calm(1);
    accept(&sim, server(0), |rt, mut stream| async move {
        let _ = stream.recv().await;
        let _ = stream.write_all("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n").await;
        for _ in 0..3 {
            rt.sleep(Duration::from_secs(60)).await;
            let _ = stream.write_all("x").await;
        }
        let _ = stream.recv().await;
    });
    let ask = |pause| {
        let settings = Settings {
            pause_timeout: Duration::from_secs(pause),
            check_every: Duration::from_secs(3600),
            http: Some(Limits::default()),
            ..Settings::default()
        };
        let proxy = Proxy::new(&sim, &[Target { addr: server(0), weight: 1 }], settings, |_| {});
        sim.block_on(async {
            let (mut client, front) = sim.pair().await.unwrap();
            let serving = sim.spawn(connection(proxy, sim.clone(), front));
            client.write_all(GET).await.0.unwrap();
            let mut heard = Vec::new();
            let is_whole = loop {
                match client.recv().await {
                    Ok(chunk) if chunk.bytes().is_empty() => break true,
                    Ok(chunk) => heard.extend_from_slice(chunk.bytes()),
                    Err(_) => break false,
                }
            };
            drop(client);
            serving.await.unwrap();
            (is_whole, heard.ends_with(b"xxx"))
        })
    };
    assert_eq!(ask(61), (true, true));
    assert_eq!(ask(59), (false, false));
    sim.finish();
}
