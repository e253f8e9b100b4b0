//! Files over real sockets: which are served, to a client that has a copy, in parts, and those of the kernel.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use demos::http::Limits;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::server::{Server, on_every_engine, statuses};
use crate::{agent, assert_alive};

/// A directory with something of each kind, gone afterwards.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        let scratch = std::env::temp_dir().join(format!("demos-http-{:016x}", fastrand::u64(..)));
        let root = scratch.join("root");
        fs::create_dir_all(root.join("dir")).unwrap();
        fs::write(scratch.join("secret"), "secret").unwrap();
        fs::write(root.join("dir/page.html"), "<p>page").unwrap();
        fs::write(root.join("empty"), "").unwrap();
        fs::write(root.join("large"), large()).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("fifo", root.join("to-fifo")).unwrap();
        symlink("/proc/self/status", root.join("proc")).unwrap();
        mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        Scratch(scratch)
    }

    pub fn root(&self) -> Option<PathBuf> {
        Some(self.0.join("root"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn large() -> Vec<u8> {
    (0..20_000_000_u32).map(|index| (index % 251) as u8).collect()
}

#[test]
fn files_are_served_and_nothing_else() {
    let scratch = Scratch::new();
    on_every_engine(Limits::default(), scratch.root(), |server| {
        let agent = agent();
        let mut page = agent.get(server.url("/files/dir/page.html")).call().unwrap();
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        assert_eq!(page.body_mut().read_to_string().unwrap(), "<p>page");
        let mut large_file = agent.get(server.url("/files/large")).call().unwrap();
        let mut received = Vec::new();
        large_file.body_mut().as_reader().read_to_end(&mut received).unwrap();
        assert!(received == large());
        let head = agent.head(server.url("/files/large")).call().unwrap();
        assert_eq!(head.headers()["content-length"], "20000000");
        assert_eq!(agent.get(server.url("/files/empty")).call().unwrap().status(), 200);
        for path in [
            "/files",
            "/files/",
            "/files/dir",
            "/files/dir/",
            "/files/none",
            "/files/fifo",
            "/files/out",
            "/files/up/secret",
            "/files/to-fifo",
            "/files/proc",
            "/files/out%00",
            "/../secret",
            "/%2e%2e%2fsecret",
            "//etc/passwd",
            "/files/%2e%2e%2f%2e%2e%2fsecret",
            "/files/./empty",
            "/files/%2e/empty",
            "/files/../secret",
            "/files/%2e%2e/secret",
            "/files/..%2fsecret",
            "/files//etc/passwd",
            "/files/%2fetc/passwd",
            "/files/dir/../page.html",
            "/files/dir%2f..%2f..%2fsecret",
            "/files/empty%00",
            "/files/..\\secret",
            "/files/%5c..",
            "/files/%252e%252e/secret",
            "/files/%",
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let response = server.talk(request);
            assert!(matches!(statuses(&response)[..], [404 | 400]), "{path}: {response}");
            assert!(!response.contains("\r\n\r\nsecret") && !response.contains("root:"), "{path}: {response}");
        }
        assert_alive(server);
    });
}

/// Their size is 0 below `/proc`, and 4096 below `/sys`. They have another, and some would wait for their next line.
#[test]
fn the_files_of_the_kernel_have_their_true_length_and_stop_no_server() {
    on_every_engine(Limits::default(), Some(PathBuf::from("/proc")), |server| {
        for path in ["sys/kernel/hostname", "version", "sys/kernel/ostype"] {
            let (head, body) = get(server, path, "");
            assert_eq!((status(&head), body), (200, fs::read(format!("/proc/{path}")).unwrap()), "{path}: {head}");
            assert!(!head.contains("ETag") && !head.contains("Last-Modified"), "{head}");
        }
        for path in ["kmsg", "self/status", "thread-self/comm", "1/root/etc/passwd", "self/fd/0"] {
            let (head, body) = get(server, path, "");
            assert!(matches!(status(&head), 200 | 404 | 500), "{path}: {head}");
            assert!(!body.starts_with(b"root:"), "{path}");
        }
        assert_alive(server);
    });
    on_every_engine(Limits::default(), Some(PathBuf::from("/sys/class/net/lo/")), |server| {
        let mtu = fs::read("/sys/class/net/lo/mtu").unwrap();
        let (head, body) = get(server, "mtu", "");
        assert_eq!((status(&head), &body), (200, &mtu), "{head}");
        let (head, body) = get(server, "mtu", "Range: bytes=0-0\r\n");
        assert_eq!((status(&head), &body[..]), (206, &mtu[..1]), "{head}");
        assert_eq!(status(&get(server, "mtu", "Range: bytes=100-\r\n").0), 500);
        let head = server.talk("HEAD /files/mtu HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", mtu.len())), "{head}");
    });
}

#[test]
fn a_client_with_a_copy_gets_no_second_one() {
    let scratch = Scratch::new();
    let page = scratch.0.join("root/dir/page.html");
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::options().write(true).open(page).unwrap().set_modified(changed).unwrap();
    on_every_engine(Limits::default(), scratch.root(), |server| {
        let (head, _) = get(server, "dir/page.html", "");
        assert_eq!(field(&head, "Last-Modified"), "Tue, 14 Nov 2023 22:13:20 GMT", "{head}");
        assert_eq!(field(&head, "Accept-Ranges"), "bytes");
        let tag = field(&head, "ETag").to_owned();
        for (condition, expected) in [
            (format!("If-None-Match: {tag}"), 304),
            (format!("If-None-Match: \"other\", W/{tag}"), 304),
            ("If-None-Match: \"other\"".into(), 200),
            ("If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT".into(), 304),
            ("If-Modified-Since: Tue, 14 Nov 2023 22:13:19 GMT".into(), 200),
            (format!("If-Match: {tag}"), 200),
            ("If-Match: \"other\"".into(), 412),
            ("If-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT".into(), 412),
        ] {
            let (head, body) = get(server, "dir/page.html", &format!("{condition}\r\n"));
            assert_eq!(status(&head), expected, "{condition}: {head}");
            if expected == 304 {
                assert!(body.is_empty() && !head.contains("Content-"), "{head}");
                assert_eq!((field(&head, "ETag"), head.contains("\r\nDate: ")), (&*tag, true), "{head}");
            }
        }
        // A condition on a file that is not there counts for nothing.
        assert_eq!(status(&get(server, "none", "If-Match: *\r\n").0), 404);
    });
}

#[test]
fn a_client_that_lost_the_end_gets_the_rest() {
    let scratch = Scratch::new();
    on_every_engine(Limits::default(), scratch.root(), |server| {
        let all = large();
        for (range, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=19999990-", 19_999_990..20_000_000),
            ("bytes=-40000", 19_960_000..20_000_000),
            ("bytes=10-40009", 10..40_010),
            ("bytes=19999999-99999999", 19_999_999..20_000_000),
        ] {
            let (head, body) = get(server, "large", &format!("Range: {range}\r\n"));
            assert_eq!(status(&head), 206, "{range}: {head}");
            let expected = format!("bytes {}-{}/20000000", part.start, part.end - 1);
            assert_eq!(field(&head, "Content-Range"), expected);
            assert!(body == all[part], "{range}");
        }
        let (head, _) = get(server, "large", "Range: bytes=20000000-\r\n");
        assert_eq!((status(&head), field(&head, "Content-Range")), (416, "bytes */20000000"), "{head}");
        let (head, body) = get(server, "empty", "Range: bytes=0-\r\n");
        assert_eq!((status(&head), field(&head, "Content-Range")), (416, "bytes */0"), "{head} {body:?}");
        for ignored in ["bytes=0-1,5-6", "lines=0-1", "bytes=1-0"] {
            let (head, body) = get(server, "dir/page.html", &format!("Range: {ignored}\r\n"));
            assert_eq!((status(&head), &body[..]), (200, &b"<p>page"[..]), "{ignored}: {head}");
        }
        assert_eq!(status(&get(server, "dir/page.html", "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n").0), 200);
        // The connection stays: what follows a part is the next answer.
        let request = "GET /files/large HTTP/1.1\r\nHost: a\r\nRange: bytes=0-2\r\n\r\n";
        let answers = server.talk(request.to_owned() + crate::LAST);
        assert_eq!(statuses(&answers), [206, 200]);
        assert_eq!(field(&answers, "Keep-Alive"), "timeout=15");
    });
}

/// The head and the body of the only answer.
fn get(server: &Server, path: &str, lines: &str) -> (String, Vec<u8>) {
    let mut stream = server.connect();
    let request = format!("GET /files/{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).unwrap(), body)
}

fn status(head: &str) -> u16 {
    head[9..12].parse().unwrap()
}

fn field<'h>(head: &'h str, name: &str) -> &'h str {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {head}"))
}
