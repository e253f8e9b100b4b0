//! What a client sees over time.
//!
//! Goal: order, deadlines and endings are as the limits say, to the millisecond. Method: scripted
//! clients in simulated time, where ten seconds take none.

use std::rc::Rc;
use std::time::Duration;

use super::corpus::{responses, statuses};
use super::simulation::{Script, Transcript};
use crate::http::limits::{
    BODY, CHUNK_EXTENSIONS, HEADER_TIMEOUT, IDLE_TIMEOUT, LINGER_IDLE, LINGER_TIME, Limits, PENDING_OUTPUT, REQUESTS,
    STALL_TIMEOUT, TRAILERS,
};
use crate::http::site::Site;
use crate::serve::LAST_CALL;

const GET: &str = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n";

fn play(script: Script) -> Transcript {
    play_within(Limits::default(), script)
}

fn play_within(limits: Limits, script: Script) -> Transcript {
    script.play(Rc::new(Site::new(limits, None).unwrap()))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

fn text(transcript: &Transcript) -> String {
    String::from_utf8(transcript.output.clone()).unwrap()
}

#[test]
fn the_routes_of_the_techempower_tests_are_as_defined() {
    let input = GET.to_owned() + &get("/json", "Connection: close\r\n");
    let transcript = play(Script::default().send(1, input.as_bytes()).send(1, b""));
    let [(plain_head, plain), (json_head, json)] = &responses(&transcript.output)[..] else { panic!() };
    assert_eq!(*plain, *b"Hello, World!");
    assert_eq!(*json, *br#"{"message":"Hello, World!"}"#);
    for (head, kind, length) in [(plain_head, "text/plain", 13), (json_head, "application/json", 27)] {
        assert!(head.contains(&format!("\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n")), "{head}");
        assert!(head.contains("\r\nServer: demos\r\nDate: "), "{head}");
    }
    assert!(!plain_head.contains("Connection:") && json_head.contains("\r\nConnection: close\r\n"));
}

/// Also where the request is refused before its method means anything.
#[test]
fn nothing_follows_the_head_of_an_answer_to_head() {
    let many = "A: b\r\n".repeat(200);
    let cases = [
        ("HEAD /json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        ("HEAD /json HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
        ("HEAD /json HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
        ("HEAD /json HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("HEAD /json HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx", 400),
        ("\r\nHEAD /json HTTP/1.1\r\n\r\n", 400),
        ("HEAD json HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("HEAD /json HTTP/1.1\r\nHost: a\r\n", 400),
        (&format!("HEAD /json HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        (&format!("HEAD /{}", "a".repeat(20_000)), 414),
    ];
    for (request, status) in cases {
        let answer = text(&play(Script::default().send(1, request.as_bytes()).send(1, b"")));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer:?}");
        assert!(answer.find("\r\n\r\n") == Some(answer.len() - 4), "{request:?}: {answer:?}");
    }
    // The answer to a late request has no content either.
    let answer = text(&play(Script::default().send(1, b"HEAD /json HTTP/1.1\r\n").send(60_000, b"")));
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("\r\n\r\n"), "{answer:?}");
}

#[test]
fn the_page_shows_its_engine_and_a_new_number_each_time() {
    let transcript = play(Script::default().send(1, get("/", "").repeat(2).as_bytes()).send(1, b""));
    let pages: Vec<_> = responses(&transcript.output).into_iter().map(|(_, page)| page).collect();
    let pages: Vec<_> = pages.into_iter().map(|page| String::from_utf8(page).unwrap()).collect();
    assert!(pages[0].contains("<code>sim</code>") && !pages[0].contains("{{"), "{}", pages[0]);
    assert_ne!(pages[0], pages[1]);
}

#[test]
fn the_counters_are_json() {
    let transcript = play(Script::default().send(1, get("/stats", "").as_bytes()).send(1, b""));
    let stats: serde_json::Value = serde_json::from_slice(&responses(&transcript.output)[0].1).unwrap();
    assert_eq!((&stats["engine"], &stats["timers_now"]), (&"sim".into(), &2.into()), "{stats}");
}

#[test]
fn pipelined_requests_are_answered_in_order_with_one_write() {
    let paths = ["/plaintext", "/nowhere", "/json", "/"].iter().cycle().take(16);
    let input: String = paths.map(|path| get(path, "")).collect();
    let transcript = play(Script::default().send(1, input.as_bytes()).send(1, b""));
    assert_eq!(statuses(&transcript.output), [200, 404, 200, 200].repeat(4));
    assert_eq!(transcript.writes, 1);
    let limits = Limits { pending_output: 1000, ..Limits::default() };
    let small_steps = play_within(limits, Script::default().send(1, input.as_bytes()).send(1, b""));
    assert_eq!(statuses(&small_steps.output).len(), 16);
    assert!(small_steps.writes > 3, "{} writes", small_steps.writes);
}

#[test]
fn a_client_that_only_sends_is_not_read_from() {
    let requests = 100_000;
    let script = Script { reads: Some(1000), ..Script::default() };
    let transcript = play(script.send(1, GET.repeat(requests).as_bytes()));
    assert_eq!(transcript.ended, ms(1) + STALL_TIMEOUT);
    let taken = requests * GET.len() - transcript.unread;
    // A response is longer than its request; and one chunk is being looked at.
    assert!(taken < PENDING_OUTPUT + 4096, "{taken} bytes taken");
}

#[test]
fn slow_readers_are_served_as_long_as_they_read() {
    let input = GET.repeat(2000);
    let pace = Some((20_000, STALL_TIMEOUT - ms(1)));
    let transcript = play(Script { pace, ..Script::in_pieces([input.as_bytes()]) });
    assert_eq!(statuses(&transcript.output).len(), 2000);
    assert!(transcript.ended > 10 * STALL_TIMEOUT, "{:?}", transcript.ended);
    let body = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n".to_owned() + &"x".repeat(100_000);
    let transcript = play(Script { pace, ..Script::in_pieces([body.as_bytes()]) });
    assert_eq!(responses(&transcript.output)[0].1.len(), 100_000);
    let stalled = Script { reads: Some(0), ..Script::default() }.send(1, GET.as_bytes());
    assert_eq!(play(stalled).ended, ms(1) + STALL_TIMEOUT);
}

#[test]
fn a_head_has_ten_seconds_however_it_trickles() {
    let silent = play(Script::default());
    assert_eq!((silent.ended, silent.output.len()), (HEADER_TIMEOUT, 0));
    let mut trickle = Script::default();
    for byte in get("/", &"X: y\r\n".repeat(10)).as_bytes() {
        trickle = trickle.send(300, &[*byte]);
    }
    let transcript = play(trickle);
    assert_eq!(statuses(&transcript.output), [408]);
    assert_eq!(transcript.shut_down, Some(HEADER_TIMEOUT));
}

#[test]
fn the_next_head_has_ten_seconds_from_its_first_byte() {
    let (before, after) = GET.split_at(9);
    let script = Script::default().send(2000, GET.as_bytes()).send(14_000, before.as_bytes());
    let in_time = play(script.clone().send(9_999, after.as_bytes()).send(1, b""));
    assert_eq!(statuses(&in_time.output), [200, 200]);
    let late = play(script.send(10_001, after.as_bytes()));
    assert_eq!(statuses(&late.output), [200, 408]);
    assert_eq!(late.shut_down, Some(ms(16_000) + HEADER_TIMEOUT));
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let transcript = play(Script::default().send(500, GET.as_bytes()).send(1000, GET.as_bytes()));
    assert_eq!(statuses(&transcript.output), [200, 200]);
    assert_eq!((transcript.ended, transcript.shut_down), (ms(1500) + IDLE_TIMEOUT, None));
    assert!(transcript.polls < 10, "{} polls for two requests", transcript.polls);
}

#[test]
fn a_body_must_keep_up_its_rate() {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n";
    let send_at = |step_ms: u64, bytes: usize| {
        let mut script = Script::default().send(1, head.as_bytes());
        for _ in 0..5000 / bytes {
            script = script.send(step_ms, &b"x".repeat(bytes));
        }
        play(script.send(30_000, b""))
    };
    let slow = send_at(1000, 10);
    assert_eq!(statuses(&slow.output), [408]);
    // 50 bytes have bought a tenth of a second by then.
    assert_eq!(slow.shut_down, Some(ms(1) + ms(5000) + ms(100)));
    assert_eq!(statuses(&send_at(1000, 500).output), [200]);
    let stalled = Script::default().send(1, (head.to_owned() + &"x".repeat(4999)).as_bytes());
    // By its rate it has bought some ten seconds more.
    assert_eq!(play(stalled.clone()).shut_down, Some(ms(1) + ms(5000) + ms(9998)));
    let stalled = play_within(Limits { stall_timeout: ms(9000), ..Limits::default() }, stalled);
    assert_eq!((statuses(&stalled.output), stalled.shut_down), (vec![408], Some(ms(1) + ms(9000))));
}

#[test]
fn a_client_that_half_closes_gets_its_answers() {
    let input = GET.repeat(2) + &get("/sleep?ms=3000", "");
    let transcript = play(Script::in_pieces([input.as_bytes()]));
    assert_eq!((statuses(&transcript.output), transcript.ended), (vec![200; 3], ms(3001)));
    let open_body = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";
    let transcript = play(Script::in_pieces([open_body.as_bytes()]));
    assert_eq!((statuses(&transcript.output), transcript.ended), (vec![400], ms(2)));
    assert!(transcript.polls < 10, "{} polls", transcript.polls);
}

#[test]
fn answers_before_a_sleep_are_not_held_back() {
    let script = Script::default().send(1, (GET.to_owned() + &get("/sleep?ms=60000", "")).as_bytes());
    let transcript = play(Script { reads: Some(0), ..script });
    assert_eq!(transcript.ended, ms(1) + STALL_TIMEOUT, "it tried to write before it slept");
}

#[test]
fn a_body_is_asked_for_when_the_client_waits_for_that() {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nExpect: 100-continue\r\n\
                Content-Length: 5\r\n\r\n";
    let transcript = play(Script::default().send(1, head.as_bytes()).send(100, b"hello").send(1, b""));
    assert_eq!(statuses(&transcript.output), [100, 200]);
    let responses = responses(&transcript.output);
    assert!(responses[1].0.contains("\r\nContent-Type: a/b\r\n") && responses[1].1 == b"hello");
    let impatient = play(Script::default().send(1, &[head.as_bytes(), b"hello"].concat()).send(1, b""));
    assert_eq!(statuses(&impatient.output), [200]);
    let unwanted = head.replace("/echo", "/nowhere");
    let unwanted = play(Script::default().send(1, unwanted.as_bytes()).send(100, GET.as_bytes()));
    assert_eq!(statuses(&unwanted.output), [404], "what follows may be the body");
    assert!(text(&unwanted).contains("\r\nConnection: close\r\n"));
}

#[test]
fn head_is_get_without_the_body() {
    for path in ["/", "/plaintext", "/json", "/sleep?ms=1", "/nowhere"] {
        let with_body = text(&play(Script::in_pieces([get(path, "").as_bytes()])));
        let head = get(path, "").replace("GET", "HEAD");
        let without = text(&play(Script::in_pieces([head.as_bytes()])));
        assert!(without.ends_with("\r\n\r\n"), "{without}");
        // The page's length is its number's.
        let is_same = |line: &&str| !line.starts_with("Date:") && (path != "/" || !line.contains("Length:"));
        let lines = |text: &str| text.lines().filter(is_same).map(str::to_owned).collect::<Vec<_>>();
        assert!(lines(&with_body).starts_with(&lines(without.trim_end())), "{with_body}\n{without}");
    }
}

#[test]
fn http_1_0_closes_unless_asked_not_to() {
    let old = "GET /plaintext HTTP/1.0\r\n\r\n";
    let transcript = play(Script::default().send(1, old.as_bytes()).send(9, b""));
    assert!(text(&transcript).contains("\r\nConnection: close\r\n"));
    assert_eq!((transcript.shut_down, transcript.ended), (Some(ms(1)), ms(10)));
    let staying = "GET /plaintext HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let transcript = play(Script::default().send(1, staying.repeat(2).as_bytes()).send(1, b""));
    assert_eq!(text(&transcript).matches("\r\nConnection: keep-alive\r\n").count(), 2);
}

#[test]
fn the_last_request_of_a_connection_is_answered_with_close() {
    let count = usize::try_from(REQUESTS).unwrap();
    let transcript = play(Script::default().send(1, GET.repeat(count + 5).as_bytes()).send(1, b""));
    let responses = responses(&transcript.output);
    assert_eq!(responses.len(), count);
    let says_close = |(head, _): &(String, Vec<u8>)| head.contains("\r\nConnection: close\r\n");
    assert_eq!(responses.iter().position(says_close), Some(count - 1));
}

#[test]
fn after_the_last_response_the_client_is_read_for_a_while() {
    let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", BODY + 1);
    let quiet = play(Script::default().send(1, head.as_bytes()));
    assert_eq!(statuses(&quiet.output), [413]);
    assert_eq!((quiet.shut_down, quiet.ended), (Some(ms(1)), ms(1) + LINGER_IDLE));
    // However much it sends, all is read: many clients look at the answer only then.
    let eager = Script::default().send(1, head.as_bytes()).send(1, &vec![b'x'; 8 << 20]);
    let all = play(eager.clone().send(1, b""));
    assert_eq!((all.shut_down, all.unread), (Some(ms(1)), 0));
    assert_eq!(play(eager).ended, ms(2) + LINGER_IDLE);
    let mut endless = Script::default().send(1, head.as_bytes());
    for _ in 0..100 {
        endless = endless.send(1000, b"x");
    }
    assert_eq!(play(endless).ended, ms(1) + LINGER_TIME);
}

#[test]
fn what_goes_around_chunks_has_its_limits_too() {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extended = |len: usize| format!("{head}1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(len - 1));
    let trailed = |len: usize| format!("{head}0\r\nT:{}\r\n\r\n", "t".repeat(len - 4));
    for (input, status) in [
        (extended(CHUNK_EXTENSIONS), 200),
        (extended(CHUNK_EXTENSIONS + 1), 413),
        (extended(20 * 1024), 413),
        (trailed(TRAILERS), 200),
        (trailed(TRAILERS + 1), 413),
        (trailed(20 * 1024), 413),
    ] {
        let whole = play(Script::in_pieces([input.as_bytes()]));
        assert_eq!(statuses(&whole.output), [status], "{} bytes", input.len());
        let in_pieces = play(Script::in_pieces(input.as_bytes().chunks(7)));
        assert_eq!(statuses(&in_pieces.output), [status], "{} bytes in pieces", input.len());
    }
}

#[test]
fn nothing_a_client_says_becomes_a_line_of_a_response() {
    for value in
        ["a\r\nSet-Cookie: b", "a\rSet-Cookie: b", "a\nSet-Cookie: b", "a\0Set-Cookie: b", "a\r\n\r\nHTTP/1.1 200 OK"]
    {
        for input in [
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: {value}\r\nContent-Length: 1\r\n\r\nx"),
            format!("GET /{value} HTTP/1.1\r\nHost: a\r\n\r\n"),
            format!("GET /sleep?ms={value} HTTP/1.1\r\nHost: a\r\n\r\n"),
        ] {
            let output = play(Script::in_pieces([input.as_bytes()])).output;
            let heads = responses(&output);
            assert!(!heads.is_empty() && heads.iter().all(|(head, _)| !head.contains("Set-Cookie")), "{input:?}");
        }
    }
}

#[test]
fn bodies_come_back_whole_up_to_the_limit() {
    let body: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();
    let sized = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let transcript = play(Script::in_pieces([sized.as_bytes(), &body]));
    assert!(responses(&transcript.output)[0].1 == body);
    let mut chunked = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(1000) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    let transcript = play(Script::in_pieces([&chunked[..], b"0\r\n\r\n"]));
    assert!(responses(&transcript.output)[0].1 == body);
    let transcript = play(Script::in_pieces([&chunked[..], b"1\r\nx\r\n0\r\n\r\n"]));
    assert_eq!(statuses(&transcript.output), [413]);
}

#[test]
fn a_stop_closes_the_idle_at_once_and_lets_the_busy_finish() {
    let stop = Some(ms(5000));
    let idle = play(Script { stop, ..Script::default().send(1, GET.as_bytes()) });
    assert_eq!((statuses(&idle.output), idle.ended), (vec![200], ms(5000) + LAST_CALL));
    let fresh = play(Script { stop, ..Script::default() });
    assert_eq!((fresh.output.len(), fresh.ended), (0, ms(5000) + LAST_CALL));
    let crossing = play(Script { stop, ..Script::default().send(5001, GET.as_bytes()) });
    assert_eq!((statuses(&crossing.output), crossing.shut_down), (vec![200], Some(ms(5001))));
    let input = get("/sleep?ms=9000", "") + GET;
    let busy = play(Script { stop, ..Script::default().send(1, input.as_bytes()) });
    assert_eq!((statuses(&busy.output), busy.shut_down), (vec![200], Some(ms(9001))));
    assert!(text(&busy).contains("\r\nConnection: close\r\n"));
    let (before, after) = GET.split_at(9);
    let halfway = Script::default().send(4000, before.as_bytes()).send(2000, after.as_bytes());
    let halfway = play(Script { stop, ..halfway });
    assert_eq!((statuses(&halfway.output), halfway.shut_down), (vec![200], Some(ms(6000))));
    assert!(text(&halfway).contains("\r\nConnection: close\r\n"));
}
