//! A connection that breaks on one side breaks on the other, on every engine: an orderly end would say that all is
//! there. And a proxy has no end if it is its own server.

use super::*;

use socket2::SockRef;

/// Closes it by a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Reads to the end; what came, and whether it ended by a reset.
fn end(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = Vec::new();
    let result = stream.read_to_end(&mut heard);
    let is_reset = result.is_err_and(|error| {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        true
    });
    (heard, is_reset)
}

#[test]
fn a_reset_of_either_side_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for engine in engines() {
        let proxy = proxy(&engine, &[listener.local_addr().unwrap()], NO_CHECKS);
        let address = proxy.address();
        for client_goes in [true, false] {
            for size in [1000, 100_000] {
                let client = connect(address);
                let (server, _) = listener.accept().unwrap();
                let (mut goes, mut stays) = if client_goes { (client, server) } else { (server, client) };
                goes.write_all(&vec![b'x'; size]).unwrap();
                // All has arrived before the reset, which may overtake what has not.
                let mut first = vec![0; size];
                stays.read_exact(&mut first).unwrap();
                reset(goes);
                assert_eq!(end(&mut stays), (Vec::new(), true), "{engine}: client goes: {client_goes}, {size} bytes");
            }
        }
    }
}

#[test]
fn an_answer_cut_short_is_a_reset_and_a_client_that_goes_frees_its_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for engine in engines() {
        let options = format!("--http --max-per-server 1 --response-timeout 3600 {NO_CHECKS}");
        let proxy = proxy(&engine, &[listener.local_addr().unwrap()], &options);
        let address = proxy.address();
        for resets in [true, false] {
            let mut client = connect(address);
            client.write_all(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n").unwrap();
            let (mut server, _) = listener.accept().unwrap();
            server.read_exact(&mut [0; 16]).unwrap();
            if resets {
                reset(client);
            } else {
                drop(client);
            }
            // It would wait for an hour.
            end(&mut server);
        }
        let mut client = connect(address);
        client.write_all(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n").unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"HTTP/1.0 200 OK\r\n\r\npart").unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"part") {
            let mut more = [0; 100];
            let count = client.read(&mut more).unwrap();
            heard.extend_from_slice(&more[..count]);
        }
        reset(server);
        assert_eq!(end(&mut client), (Vec::new(), true), "{engine}");
    }
}

#[test]
fn a_proxy_that_would_be_its_own_server_is_refused() {
    for engine in engines() {
        let address = nowhere();
        let port = address.port();
        for (listen, target) in [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.2"), ("127.0.0.1", "0.0.0.0")] {
            for http in ["", "--http"] {
                let own =
                    format!("proxy --on {engine} --allow-remote --listen {listen}:{port} {http} --to {target}:{port}");
                let ended = demos(&own);
                assert_eq!(ended.status.code(), Some(1), "{own}: {ended:?}");
                assert!(ended.stderr.contains("listens there itself") && ended.stderr.contains("--listen ADDR:PORT"));
                assert!(ended.stdout.is_empty(), "{own}: {ended:?}");
            }
        }
    }
}

/// `localhost` may be ::1 first, where no server of ours listens by default.
#[test]
fn a_server_is_found_by_its_name() {
    for engine in engines() {
        let server = Demos::start(&format!("echo --on {engine} --listen 127.0.0.1:0"));
        let port = server.address().port();
        let proxy = Demos::start(&format!("proxy --on {engine} --listen 127.0.0.1:0 --to localhost:{port}=2"));
        crate::exchange(&mut connect(proxy.address()));
    }
}

#[test]
fn a_request_that_comes_back_by_way_of_another_proxy_is_refused() {
    for engine in engines() {
        for workers in [1, 2] {
            // At an address that no other test uses.
            let first = SocketAddr::from(([127, 0, 0, 77], nowhere().port()));
            let second = proxy(&engine, &[first], &format!("--http {NO_CHECKS}"));
            let options = format!("--http {NO_CHECKS} --workers {workers} --to {}", second.address());
            let proxy = Demos::start(&format!("proxy --on {engine} --listen {first} {options}"));
            assert_eq!(proxy.address(), first);
            for method in ["GET", "OPTIONS", "POST"] {
                let request = get("/").replace("GET", method);
                let said = ask(first, &request);
                assert!(said.starts_with("HTTP/1.1 508 Loop Detected\r\n"), "{engine} {workers}: {said}");
            }
        }
    }
}
