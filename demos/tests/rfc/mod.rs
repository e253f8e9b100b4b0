//! Goal: the servers and the proxy keep to RFC 9110 and RFC 9112, section by section.
//! Method: a table of requests and right answers, `requirements.txt`, is played to the built binary: to `demos http` and
//! `demos proxy --http` on every engine, and to `demos web` on every rung. Each block is one connection. After its
//! requests comes an honest one that ends the connection. So a request that is misread shows as one answer too many, one
//! too few, or a wrong one. A server of our own behind the proxy records what is passed on.

mod answers;
mod origin;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use crate::process::{Demos, PATIENCE, connect, demos, engines};
use answers::Answer;
use origin::Origin;
use table::{Block, Statuses, Step, Target, shorten};

const TABLE: &str = include_str!("requirements.txt");
/// So many blocks at least, that none gets lost.
const LEAST: usize = 250;
/// What is sent after a block's requests.
const HONEST: &[u8] = b"GET / HTTP/1.1\r\nHost: honest\r\nConnection: close\r\n\r\n";
/// How long a server may keep a client waiting. Nothing in the table waits for a time-out.
const SOON: Duration = Duration::from_secs(10);
/// After so many failures the test stops. More of them have the same cause.
const SHOWN: usize = 60;

/// A folder with the file that the table names. It is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("demos-rfc-{:016x}", fastrand::u64(..)));
        fs::create_dir(&path).unwrap();
        let folder = Folder(path);
        fs::write(folder.0.join("ten.txt"), "0123456789").unwrap();
        fs::write(folder.0.join("empty"), "").unwrap();
        for name in ["ten.txt", "empty"] {
            let file = File::options().append(true).open(folder.0.join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
        }
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The programs that fail, by the block's line, with the report of the first: most fail alike.
type Failures = BTreeMap<usize, (String, Vec<String>)>;

/// A program that the table is played to.
struct Player<'t> {
    name: String,
    target: Target,
    address: SocketAddr,
    blocks: &'t [Block],
    failures: &'t Mutex<Failures>,
}

#[test]
fn the_table_of_requirements_is_kept() {
    let folder = Folder::new();
    let http = |engine: &str| {
        let server = Demos::start(&format!("http --on {engine} --listen 127.0.0.1:0 --root {}", folder.0.display()));
        let address = server.address();
        (server, address)
    };
    let (first, address) = http("reactor-level");
    let tag = tag_of_the_file(address);
    drop(first);
    let blocks = table::read(TABLE, &tag);
    check_the_table(&blocks);
    let failures = Mutex::new(Failures::new());
    let play = |name: String, target, address| Player { name, target, address, blocks: &blocks, failures: &failures };
    thread::scope(|scope| {
        scope.spawn(|| {
            for rung in rungs() {
                let server = Demos::start(&format!("web --on {rung} --listen 127.0.0.1:0"));
                play(format!("web --on {rung}"), Target::Web, server.address()).play();
            }
        });
        for engine in engines() {
            let (_server, behind) = http(&engine);
            play(format!("http --on {engine}"), Target::Http, behind).play();
            let proxy = start_proxy(&engine, behind);
            play(format!("proxy --on {engine}"), Target::Proxy, proxy.address()).play();
            let origin = Origin::start();
            let proxy = start_proxy(&engine, origin.address);
            play(format!("proxy --on {engine}"), Target::Proxy, proxy.address()).play_forwarded(&origin);
        }
    });
    let failures = failures.into_inner().unwrap();
    let report = |(text, names): &(String, Vec<String>)| format!("{text}\n  {}", names.join(", "));
    let shown: Vec<_> = failures.values().map(report).collect();
    assert!(failures.is_empty(), "{} failures\n\n{}", failures.len(), shown.join("\n\n"));
}

fn start_proxy(engine: &str, behind: SocketAddr) -> Demos {
    Demos::start(&format!("proxy --http --on {engine} --listen 127.0.0.1:0 --check-every 3600 --to {behind}"))
}

/// The rungs of `demos web` that run here.
fn rungs() -> Vec<String> {
    let list = demos("models list").stdout;
    let lines: Vec<_> = list.lines().collect();
    let is_there = |place: usize| lines[place..].iter().take(2).all(|line| !line.contains("not here"));
    let names = (0..lines.len()).filter(|place| is_there(*place));
    names.filter_map(|place| lines[place].split_whitespace().nth(1)).map(str::to_owned).collect()
}

/// The file's entity tag, which depends on the file system.
fn tag_of_the_file(address: SocketAddr) -> String {
    let mut stream = connect(address);
    stream.write_all(b"HEAD /files/ten.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("a tag").to_owned()
}

fn check_the_table(blocks: &[Block]) {
    assert!(blocks.len() >= LEAST, "only {} blocks", blocks.len());
    let mut titles = BTreeSet::new();
    for Block { title, line, steps, expected, forwarded, .. } in blocks {
        assert!(titles.insert(title), "line {line}: the title is there twice: {title}");
        let begins =
            ["RFC 9110, ", "RFC 9112, ", "RFC 3986, ", "RFC 6585, "].iter().any(|begin| title.starts_with(begin));
        let section = title.split([' ', ':']).nth(2).unwrap_or_default();
        let is_section = !section.is_empty() && section.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        assert!(begins && is_section && title.contains(": "), "line {line}: no section: {title}");
        let is_asked = !expected.is_empty() || forwarded.is_given();
        assert!(!steps.is_empty() && is_asked, "line {line}: no request, or no answer: {title}");
    }
}

impl Player<'_> {
    /// Plays the whole table.
    fn play(&self) {
        for block in self.blocks.iter().filter(|block| block.forwarded.answer.is_empty()) {
            let has_failed_often = self.failures.lock().unwrap().len() >= SHOWN;
            if !has_failed_often && !block.expected(self.target).0.is_empty() {
                self.note(block, self.talk(block).and_then(|answers| self.judge(block, &answers)));
            }
        }
    }

    /// Plays what says something about the server behind a proxy.
    fn play_forwarded(&self, origin: &Origin) {
        for block in self.blocks.iter().filter(|block| block.forwarded.is_given()) {
            origin.prepare(&block.forwarded.answer);
            let played = self.talk(block).and_then(|answers| {
                if !block.forwarded.answer.is_empty() {
                    self.judge(block, &answers)?;
                }
                judge_forwarded(block, &origin.seen())
            });
            self.note(block, played);
        }
    }

    fn note(&self, block: &Block, played: Result<(), String>) {
        if let Err(reason) = played {
            let (line, title, sent) = (block.line, &block.title, block.shown());
            let report = format!("requirements.txt:{line}: {title}\n  sent: {sent}\n  {reason}");
            let mut failures = self.failures.lock().unwrap();
            failures.entry(line).or_insert((report, Vec::new())).1.push(self.name.clone());
        }
    }

    /// Sends the block's requests and the honest one, and reads to the end.
    fn talk(&self, block: &Block) -> Result<Vec<Answer>, String> {
        let mut stream = connect(self.address);
        let broken = |error: std::io::Error| format!("the connection breaks: {error}");
        stream.set_read_timeout(Some(SOON)).map_err(broken)?;
        let (mut received, mut honest) = (Vec::new(), !block.ends);
        for step in &block.steps {
            match step {
                Step::Send(bytes) => send(&mut stream, bytes),
                Step::Await(status) => {
                    let head = head(&mut stream)?;
                    received.extend_from_slice(&head);
                    if !head.starts_with(format!("HTTP/1.1 {status} ").as_bytes()) {
                        // It is the final answer. Nothing else is asked.
                        honest = false;
                        break;
                    }
                }
            }
        }
        if honest {
            send(&mut stream, HONEST);
        }
        // A proxy takes a client that ends its side for one that is gone.
        if block.ends || self.target != Target::Proxy {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let ended = stream.read_to_end(&mut received);
        let is_cut = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
        match ended {
            // A rung closes at once, and what it has not read makes the close a reset.
            Err(error) if !(is_cut(&error) && self.target == Target::Web) => {
                return Err(format!("{error} after {}", shorten(&received.escape_ascii().to_string())));
            }
            _ => {}
        }
        let answers = answers::read(&received, &block.heads);
        answers.map_err(|reason| format!("{reason}\n  in: {}", shorten(&received.escape_ascii().to_string())))
    }

    fn judge(&self, block: &Block, answers: &[Answer]) -> Result<(), String> {
        let finals: Vec<_> = answers.iter().filter(|answer| !answer.is_interim()).collect();
        let came: Vec<_> = finals.iter().map(|answer| answer.status).collect();
        let (expected, is_own) = block.expected(self.target);
        let may_refuse = self.target == Target::Web && !is_own;
        if !expected.iter().any(|expected| is_right(&came, expected) || (may_refuse && is_careful(&came, expected))) {
            return Err(format!("the table says {expected:?}, and the answers are {came:?}: {finals:?}"));
        }
        if self.target == Target::Web {
            return Ok(());
        }
        if let Some(last) = finals.last().filter(|last| !block.ends && !last.has("Connection: close")) {
            return Err(format!("RFC 9112, 9.6: the last answer does not say that it is the last: {last:?}"));
        }
        let Some(first) = finals.first() else { return Ok(()) };
        if let Some(field) = block.has.iter().find(|field| !first.has(field)) {
            return Err(format!("{field:?} is missing: {first:?}"));
        }
        if let Some(field) = block.lacks.iter().find(|field| first.has(field)) {
            return Err(format!("{field:?} should not be there: {first:?}"));
        }
        match &block.body {
            Some(body) if *body != first.body => Err(format!("the body is {}", first.body.escape_ascii())),
            _ => Ok(()),
        }
    }
}

/// Whether these are the statuses of the table.
fn is_right(came: &[u16], expected: &[Statuses]) -> bool {
    came.len() == expected.len() && came.iter().zip(expected).all(|(came, allowed)| allowed.contains(came))
}

/// Whether a rung refuses what it does not know, and takes no request for two.
fn is_careful(came: &[u16], expected: &[Statuses]) -> bool {
    let mut pairs = came.iter().zip(expected);
    let is_some = !came.is_empty() || expected.is_empty();
    is_some && came.len() <= expected.len() && pairs.all(|(came, allowed)| *came >= 400 || allowed.contains(came))
}

/// Sends what the server takes. It may have answered, and closed, already.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.set_write_timeout(Some(PATIENCE)).and_then(|()| stream.write_all(bytes));
}

/// One head of an answer.
fn head(stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(|error| format!("{error} after {}", bytes.escape_ascii()))?;
        bytes.push(byte[0]);
    }
    Ok(bytes)
}

/// A `*` at the end of what is wanted stands for anything.
fn is_like(wanted: &str, line: &str) -> bool {
    wanted.strip_suffix('*').map_or(wanted == line, |begin| line.starts_with(begin))
}

fn judge_forwarded(block: &Block, seen: &str) -> Result<(), String> {
    let own = seen.split("GET / HTTP/1.1\r\nHost: honest\r\n").next().unwrap_or_default();
    if block.forwarded.nothing && !own.is_empty() {
        return Err(format!("it is passed on: {own:?}"));
    }
    if let Some(line) = block.forwarded.lines.iter().find(|wanted| !own.split("\r\n").any(|line| is_like(wanted, line)))
    {
        return Err(format!("{line:?} is not passed on: {own:?}"));
    }
    let names = || own.split("\r\n").filter_map(|line| line.split_once(':')).map(|(name, _)| name);
    match block.forwarded.lacks.iter().find(|field| names().any(|name| name.eq_ignore_ascii_case(field))) {
        Some(field) => Err(format!("{field} is passed on: {own:?}")),
        None => Ok(()),
    }
}
