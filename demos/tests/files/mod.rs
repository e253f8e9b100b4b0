//! Goal: a file arrives as it was, however often the connection breaks, and nothing else ever happens to the folder.
//! Method: the built binary on both sides and on every engine; on each side against a program in Python that was
//! written from the description of the protocol; receivers that are killed; memory as the kernel counts it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Demos, Ended, client, connect, demos, engines, has_client};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/peer.py");
/// Of the file that is sent: many blocks, and no whole number of them.
const SIZE: usize = 3_000_017;
/// Where a connection breaks.
const BREAK: usize = 1_234_567;

/// A folder to send from, with `in` in it to receive into. In memory where that can be had, for files are brought to the
/// disk before they get their names.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let place = Place(parent.join(format!("demos-files-{:016x}", fastrand::u64(..))));
        fs::create_dir_all(place.0.join("in")).unwrap();
        place
    }

    /// Makes a file to send.
    fn file(&self, name: &str) -> Vec<u8> {
        let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(SIZE).collect();
        fs::write(self.0.join(name), &content).unwrap();
        content
    }

    fn received(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("in")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn receiver(&self, engine: &str, options: &str) -> Demos {
        let folder = self.0.join("in");
        Demos::start(&format!(
            "files receive --on {engine} --listen 127.0.0.1:0 --folder {} {options}",
            folder.display()
        ))
    }

    fn send(&self, engine: &str, to: SocketAddr, name: &str) -> Demos {
        Demos::start(&format!("files send --on {engine} {} --to {to}", self.0.join(name).display()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn python(arguments: &[&str]) -> Ended {
    client(Command::new("python3").arg(SCRIPT).args(arguments), b"")
}

/// Ends a receiver as its user would; what it said of the files.
fn end(receiver: Demos) -> String {
    receiver.signal(Signal::TERM);
    let ended = receiver.end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    ended.stdout
}

#[test]
fn a_sender_of_another_language_goes_on_where_its_connection_broke() {
    if !has_client("python3") {
        return;
    }
    for engine in engines() {
        let place = Place::new();
        let content = place.file("a");
        let receiver = place.receiver(&engine, "");
        let (port, path) = (receiver.address().port().to_string(), place.0.join("a"));
        let path = path.to_str().unwrap();
        let sent = python(&["send", &port, path, &BREAK.to_string()]);
        let expected = format!("{BREAK} {{\"received\": {{\"bytes\": {SIZE}}}}}\n");
        assert!(sent.status.success() && sent.stdout == expected, "{engine}: {sent:?}");
        assert!(fs::read(place.0.join("in/a")).unwrap() == content, "{engine}: another content");
        assert_eq!(place.received(), ["a"], "{engine}");
        let said = end(receiver);
        assert!(said.contains(&format!("received a bytes={SIZE} resumed_at={BREAK} ")), "{engine}: {said}");
    }
}

#[test]
fn a_receiver_of_another_language_gets_the_rest_on_a_new_connection() {
    if !has_client("python3") {
        return;
    }
    for engine in engines() {
        let place = Place::new();
        let content = place.file("a");
        let folder = place.0.join("in");
        let mut receiver = Command::new("python3");
        receiver.args([SCRIPT, "receive", folder.to_str().unwrap(), &BREAK.to_string()]);
        let receiver = Demos::run(&mut receiver);
        let port: u16 = receiver.first_line().parse().unwrap();
        let sent = place.send(&engine, ([127, 0, 0, 1], port).into(), "a").end();
        assert!(sent.status.success(), "{engine}: {sent:?}");
        assert!(sent.stdout.starts_with(&format!("sent a bytes={SIZE} ")), "{engine}: {sent:?}");
        assert!(sent.stdout.contains(" offers=2 ") && sent.stderr.contains("trying again"), "{engine}: {sent:?}");
        assert_eq!(receiver.end().stdout, "received a\n", "{engine}");
        assert!(fs::read(folder.join("a")).unwrap() == content, "{engine}: another content");
    }
}

#[test]
fn a_receiver_that_is_killed_and_started_again_gets_the_rest() {
    for engine in engines() {
        let place = Place::new();
        let content = place.file("a");
        let receiver = place.receiver(&engine, "");
        let address = receiver.address();
        let mut first = connect(address);
        let digest = digest(&place.0.join("a"));
        say(&mut first, &format!(r#"{{"name":"a","size":{SIZE},"sha256":"{digest}"}}"#));
        assert_eq!(hear(&mut first), r#"{"send_from":0}"#);
        first.write_all(&content[..BREAK]).unwrap();
        let partial = place.0.join("in").join(format!(".a.{}.part", &digest[..16]));
        wait_until(|| fs::metadata(&partial).is_ok_and(|file| file.len() == BREAK as u64));
        receiver.signal(Signal::KILL);
        assert_eq!(receiver.end().stdout, "", "{engine}");
        // Who only looks is told what is there, at the beginning and at the end.
        let receiver = place.receiver(&engine, "");
        receiver.address();
        let said = end(receiver);
        let unfinished = format!("unfinished files=1 bytes={BREAK}: ");
        assert!(said.matches(&unfinished).count() == 2 && said.contains("/in/.*.part"), "{engine}: {said}");
        let receiver = place.receiver(&engine, "");
        let sent = place.send(&engine, receiver.address(), "a").end();
        let carried = format!(" carried={} offers=1 ", SIZE - BREAK);
        assert!(sent.status.success() && sent.stdout.contains(&carried), "{engine}: {sent:?}");
        assert!(fs::read(place.0.join("in/a")).unwrap() == content, "{engine}: another content");
        assert_eq!(end(receiver).matches("unfinished ").count(), 1, "{engine}");
    }
}

#[test]
fn a_large_file_takes_little_memory_on_both_sides() {
    const LARGE: u64 = 128 << 20;
    /// What the program itself takes is some 10 MiB; the rest is for blocks.
    const MOST: u64 = 32 << 20;
    for engine in engines() {
        let place = Place::new();
        // It takes no room where it is sent from.
        fs::File::create(place.0.join("large")).unwrap().set_len(LARGE).unwrap();
        let receiver = place.receiver(&engine, "");
        let mut sender = place.send(&engine, receiver.address(), "large");
        let mut sent_with = 0;
        while sender.runs_for(Duration::from_millis(1)) {
            sent_with = peak(sender.id()).unwrap_or(sent_with);
        }
        let ended = sender.end();
        assert!(ended.status.success(), "{engine}: {ended:?}");
        let received_with = peak(receiver.id()).unwrap();
        println!("{engine}: {sent_with} bytes of memory to send {LARGE}, {received_with} to receive them");
        assert!(sent_with > 0 && sent_with <= MOST && received_with <= MOST, "{engine}: {sent_with}, {received_with}");
        assert_eq!(fs::metadata(place.0.join("in/large")).unwrap().len(), LARGE, "{engine}");
        end(receiver);
    }
}

#[test]
fn nothing_but_plain_names_gets_in_and_nothing_is_overwritten() {
    for engine in engines() {
        let place = Place::new();
        place.file("a");
        fs::write(place.0.join("in/a"), "mine").unwrap();
        let receiver = place.receiver(&engine, "--max-size 3000017");
        let address = receiver.address();
        let mut hostile = connect(address);
        for name in ["../a", "/tmp/a", "in/a", ".a", "..", "", "a\\nb", "a\\u0000"] {
            say(&mut hostile, &format!(r#"{{"name":"{name}","size":1,"sha256":"{}"}}"#, "0".repeat(64)));
            let answer = hear(&mut hostile);
            assert!(answer.starts_with(r#"{"refused":{"why":"the name "#), "{engine}, {name}: {answer}");
        }
        say(&mut hostile, &format!(r#"{{"name":"b","size":3000018,"sha256":"{}"}}"#, "0".repeat(64)));
        assert!(hear(&mut hostile).contains("more than the 3000017"), "{engine}");
        let sent = place.send(&engine, address, "a").end();
        assert_eq!(sent.status.code(), Some(1), "{engine}: {sent:?}");
        assert!(sent.stderr.contains("--overwrite") && sent.stderr.contains("1 of 1 files"), "{engine}: {sent:?}");
        assert_eq!(
            (place.received(), fs::read(place.0.join("in/a")).unwrap()),
            (vec!["a".to_owned()], b"mine".to_vec())
        );
        // A message of 4 GiB, and what isn't the protocol at all.
        for bytes in [&b"\xff\xff\xff\xff{}"[..], b"GET / HTTP/1.1\r\n\r\n"] {
            let mut hostile = connect(address);
            hostile.write_all(bytes).unwrap();
            assert!(hear(&mut hostile).contains("1 to 4096 are allowed"), "{engine}");
        }
        end(receiver);
        let receiver = place.receiver(&engine, "--overwrite");
        assert!(place.send(&engine, receiver.address(), "a").end().status.success(), "{engine}");
        assert_eq!(fs::metadata(place.0.join("in/a")).unwrap().len(), SIZE as u64, "{engine}");
        end(receiver);
    }
}

#[test]
fn a_file_without_room_is_refused_midway_and_leaves_the_room_to_others() {
    for engine in engines() {
        let place = Place::new();
        place.file("a");
        fs::write(place.0.join("small"), "small").unwrap();
        let folder = place.0.join("in");
        let options = format!("files receive --on {engine} --listen 127.0.0.1:0 --folder {}", folder.display());
        // Files grow to 1,000 KiB at most: a full disk is not to be had in a test.
        let receiver = Demos::start_after("trap '' XFSZ && ulimit -f 1000", &options);
        let to = receiver.address();
        let sent = place.send(&engine, to, "a").end();
        assert_eq!(sent.status.code(), Some(1), "{engine}: {sent:?}");
        assert!(sent.stderr.contains("the receiver cannot write the file: File too large"), "{engine}: {sent:?}");
        assert!(place.received().is_empty(), "{engine}: its part is gone");
        assert!(place.send(&engine, to, "small").end().status.success(), "{engine}");
        let said = end(receiver);
        assert!(said.contains("refused a bytes=") && said.contains("File too large"), "{engine}: {said}");
    }
}

/// The second would replace the first, or be refused.
#[test]
fn files_of_one_name_are_not_sent_together() {
    let ended = demos("files send a/x b/y c/x --to 127.0.0.1:9");
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("a/x and c/x have the same name"), "{ended:?}");
}

#[test]
fn netcat_finds_out_that_it_does_not_speak_the_protocol() {
    if !has_client("nc") {
        return;
    }
    let place = Place::new();
    let receiver = place.receiver("reactor-edge", "");
    let port = receiver.address().port().to_string();
    let netcat = client(Command::new("nc").args(["-N", "127.0.0.1", &port]), b"hello receiver\n");
    assert!(netcat.stdout.contains("refused"), "{netcat:?}");
    end(receiver);
}

#[test]
fn what_cannot_be_sent_or_received_is_said() {
    let place = Place::new();
    place.file("a");
    let (folder, file) = (place.0.display(), place.0.join("a"));
    let file = file.display();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cases = [
        (format!("files send {folder}/none --to {closed}"), "No such file"),
        (format!("files send {folder} --to {closed}"), "no regular file"),
        (format!("files send {file} --to {closed} --retries 1"), "`demos files receive` starts a receiver"),
        (format!("files send {file} --to 127.0.0.300:1"), "give HOST:PORT"),
        (format!("files receive --folder {folder}/none"), "give a folder that exists"),
        (format!("files receive --folder {folder} --sandbox"), "--sandbox gives up"),
    ];
    for (arguments, why) in cases {
        let ended = demos(&arguments);
        assert_eq!(ended.status.code(), Some(1), "{arguments}: {ended:?}");
        assert!(ended.stderr.contains(why), "{arguments}: {ended:?}");
    }
}

/// The most memory a process has had in use, if it is there.
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|peak| peak * 1024)
}

fn wait_until(holds: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < crate::process::PATIENCE, "it does not come about");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// By a program that nobody here wrote.
fn digest(path: &Path) -> String {
    let ended = client(Command::new("sha256sum").arg(path), b"");
    ended.stdout.split(' ').next().expect("a digest").to_owned()
}

fn say(stream: &mut TcpStream, message: &str) {
    stream.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(message.as_bytes()).unwrap();
}

fn hear(stream: &mut TcpStream) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).unwrap();
    String::from_utf8(message).unwrap()
}
