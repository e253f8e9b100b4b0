//! Rooms in simulated time.

use std::time::Duration;

use executor::{Stream, Writer};
use fastrand::Rng;
use sim::{Sim, Weather};

use super::*;
use crate::framing::{Delimiter, Frames};

const NAMES: [&str; 5] = ["ann", "bob", "cal", "dee", "eve"];

fn args(queue: u16, when_full: WhenFull) -> ChatArgs {
    ChatArgs { queue, when_full, line: NonZeroUsize::new(100).unwrap() }
}

/// A client of the room.
struct Client {
    lines: Frames<sim::ReadHalf, Delimiter>,
    writer: sim::WriteHalf,
}

impl Client {
    async fn new(sim: &Sim, room: &std::rc::Rc<Room>) -> Client {
        let (client, server) = sim.pair().await.unwrap();
        let serving = connection(sim.clone(), server, std::rc::Rc::clone(room));
        sim.spawn(async move { drop(serving.await) }).detach();
        let (reader, writer) = client.split();
        Client { lines: Frames::new(reader, Delimiter::lines(1000)), writer }
    }

    /// In the room, under this name.
    async fn named(sim: &Sim, room: &std::rc::Rc<Room>, name: &str) -> Client {
        let mut client = Client::new(sim, room).await;
        client.say(name).await;
        assert_eq!(client.hears().await.unwrap(), "* welcome: what is your name?");
        assert!(client.hears().await.unwrap().starts_with(&format!("* hello {name}; ")));
        client
    }

    async fn say(&mut self, line: &str) {
        self.writer.write_all(format!("{line}\r\n")).await.0.unwrap();
    }

    /// The next line; `None` at the end of the stream.
    async fn hears(&mut self) -> Option<String> {
        self.lines.next().await.unwrap().map(|line| String::from_utf8(line.to_vec()).unwrap())
    }
}

#[test]
fn a_visit_from_the_name_to_the_end() {
    let sim = Sim::calm(0);
    sim.block_on(async {
        let room = Room::new(args(8, WhenFull::DropOldest));
        let mut ann = Client::named(&sim, &room, "ann").await;
        let mut bob = Client::new(&sim, &room).await;
        for (said, answer) in [
            ("", "* welcome: what is your name?"),
            ("b o b", "* a name has 1 to 20 letters, digits, - or _: which one?"),
            ("ann", "* a name has 1 to 20 letters, digits, - or _: which one?"),
            ("bob", "* there is a ann already: another name?"),
            ("/who", "* hello bob; here: ann; /who, /quit"),
            ("/help", "* here: ann, bob"),
            ("hi\x1b[2J\u{202e} ann", "* there are only /who, /quit"),
        ] {
            bob.say(said).await;
            assert_eq!(bob.hears().await.unwrap(), answer, "before {said}");
        }
        assert_eq!(ann.hears().await.unwrap(), "* bob has come");
        assert_eq!(ann.hears().await.unwrap(), "bob: hi\u{FFFD}[2J\u{FFFD} ann");
        ann.say("hi bob").await;
        assert_eq!(bob.hears().await.unwrap(), "ann: hi bob");
        bob.say("/quit").await;
        assert_eq!(bob.hears().await, None);
        assert_eq!(ann.hears().await.unwrap(), "* bob has left");
        ann.say(&"x".repeat(101)).await;
        assert_eq!(ann.hears().await.unwrap(), "* a line has 100 bytes at most: good bye");
        assert_eq!(ann.hears().await, None);
    });
    sim.finish();
}

#[test]
fn who_has_no_name_is_not_waited_for_and_a_stop_is_told() {
    let sim = Sim::calm(0);
    sim.block_on(async {
        let room = Room::new(args(8, WhenFull::DropOldest));
        let mut silent = Client::new(&sim, &room).await;
        assert!(silent.hears().await.unwrap().contains("your name"));
        assert_eq!(silent.hears().await.unwrap(), "* no name, no talk: good bye");
        assert_eq!((silent.hears().await, sim.elapsed()), (None, guest::NAME_TIME));
        let mut ann = Client::named(&sim, &room, "ann").await;
        sim.stop();
        assert_eq!(ann.hears().await.unwrap(), "* the server ends: good bye");
        assert_eq!(ann.hears().await, None);
    });
    sim.finish();
}

/// What a slow client and a fast one hear of 100 lines, with buffers that hold next to nothing.
async fn slow_and_fast(sim: &Sim, when_full: WhenFull) -> (Vec<String>, Vec<String>) {
    let room = Room::new(args(8, when_full));
    let mut fast = Client::named(sim, &room, "fast").await;
    let mut slow = Client::named(sim, &room, "slow").await;
    let mut speaker = Client::named(sim, &room, "speaker").await;
    let hearing = sim.spawn(async move {
        let mut heard = Vec::new();
        while let Some(line) = fast.hears().await {
            heard.push(line);
            if heard.last().is_some_and(|line| line == "speaker: last") {
                break;
            }
        }
        (fast, heard)
    });
    let lines: String = (0..100).map(|number| format!("{number:04}\n")).collect();
    speaker.writer.write_all(lines + "last\n").await.0.unwrap();
    // It stays until the slow one has read, too.
    let (mut fast, mut heard_fast) = hearing.await.unwrap();
    let mut heard_slow = Vec::new();
    while let Ok(line) = sim.timeout(Duration::from_secs(1), slow.lines.next()).await {
        // Cut within a line, if it was cut.
        let Ok(Some(line)) = line else { break };
        heard_slow.push(String::from_utf8(line.to_vec()).unwrap());
    }
    while let Ok(Some(line)) = sim.timeout(Duration::from_secs(1), fast.hears()).await {
        heard_fast.push(line);
    }
    (heard_fast, heard_slow)
}

#[test]
fn a_slow_client_loses_the_oldest_lines_and_is_told_and_the_fast_one_none() {
    let weather = Weather { buffer: 60..=60, ..Weather::calm() };
    let sim = sim::Builder::new(0).weather(weather).build();
    let (fast, slow) = sim.block_on(slow_and_fast(&sim, WhenFull::DropOldest));
    let expected: Vec<_> = (0..100).map(|number| format!("speaker: {number:04}")).collect();
    assert_eq!(fast[2..102], expected);
    let told = slow.iter().position(|line| line.starts_with("* you read too slowly: ")).expect("it is told");
    let lost: usize = slow[told].split(' ').nth(5).unwrap().parse().unwrap();
    // Before the gap it heard what it had read or was sent, after it the newest.
    let heard = slow.iter().filter(|line| line.starts_with("speaker: ")).count();
    assert_eq!(heard + lost, 101, "{slow:?}");
    assert_eq!(slow.last().unwrap(), "speaker: last");
    assert!(lost > 50, "{slow:?}");
    // Once for the one who is slow, and never again.
    assert!(sim.elapsed() < PATIENCE * 2 + Duration::from_secs(2), "{:?}", sim.elapsed());
    sim.finish();
}

#[test]
fn a_slow_client_is_closed_and_all_are_told() {
    let weather = Weather { buffer: 60..=60, ..Weather::calm() };
    let sim = sim::Builder::new(0).weather(weather).build();
    let (fast, slow) = sim.block_on(slow_and_fast(&sim, WhenFull::Close));
    let said: Vec<_> = fast.iter().filter(|line| line.starts_with("speaker: ")).cloned().collect();
    let expected = (0..100).map(|number| format!("speaker: {number:04}")).chain(["speaker: last".to_owned()]);
    assert_eq!(said, expected.collect::<Vec<_>>());
    assert!(fast.contains(&"* slow read too slowly and was closed".to_owned()), "{fast:?}");
    assert!(slow.len() < 20 && !slow.contains(&"speaker: last".to_owned()), "{slow:?}");
    sim.finish();
}

#[test]
fn many_slow_clients_cost_no_more_than_one() {
    let sim = sim::Builder::new(0).weather(Weather { buffer: 60..=60, ..Weather::calm() }).build();
    sim.block_on(async {
        let room = Room::new(args(8, WhenFull::DropOldest));
        let mut silent = Vec::new();
        for number in 0..20 {
            silent.push(Client::named(&sim, &room, &format!("silent{number}")).await);
        }
        let mut speaker = Client::named(&sim, &room, "speaker").await;
        let before = sim.elapsed();
        for number in 0..50 {
            speaker.say(&number.to_string()).await;
        }
        speaker.say("/who").await;
        assert!(speaker.hears().await.unwrap().starts_with("* here: silent0, "));
        // They have not heard the same number of lines, so not all are found to be slow at the same one; but one patience
        // serves for all that are.
        let took = sim.elapsed() - before;
        assert!(PATIENCE <= took && took <= PATIENCE * 9, "{took:?}");
    });
    sim.finish();
}

/// Everybody says numbered lines, and reads all the time: nobody misses one, and each hears each other's in order.
async fn crowd(sim: &Sim, mut random: Rng) {
    let room = Room::new(args(random.u16(1..20), random.choice([WhenFull::DropOldest, WhenFull::Close]).unwrap()));
    let lines = random.usize(1..60);
    let mut clients = Vec::new();
    for name in NAMES {
        clients.push((name, Client::named(sim, &room, name).await));
    }
    let everybody: Vec<_> = clients
        .into_iter()
        .map(|(name, client)| {
            let (handle, mut random) = (sim.clone(), random.fork());
            let Client { lines: mut heard, mut writer } = client;
            let talking = sim.spawn(async move {
                for number in 0..lines {
                    writer.write_all(format!("{number}\n")).await.0.unwrap();
                    handle.sleep(Duration::from_micros(random.u64(0..2000))).await;
                }
                writer
            });
            let hearing = sim.spawn(async move {
                let mut next = [0; NAMES.len()];
                while next.iter().sum::<usize>() < lines * (NAMES.len() - 1) {
                    let line = heard.next().await.unwrap().expect("nobody was slow");
                    let line = std::str::from_utf8(line).unwrap();
                    if line.starts_with('*') {
                        assert!(line.ends_with(" has come"), "{line}");
                        continue;
                    }
                    let (from, number) = line.split_once(": ").unwrap();
                    let from = NAMES.iter().position(|name| *name == from).unwrap();
                    assert!(
                        NAMES[from] != name && number == next[from].to_string(),
                        "{name} heard {line}, after {next:?}"
                    );
                    next[from] += 1;
                }
            });
            (talking, hearing)
        })
        .collect();
    for (talking, hearing) in everybody {
        hearing.await.unwrap();
        talking.await.unwrap().shutdown().await.unwrap();
    }
}

#[test]
fn whoever_reads_hears_everything_in_any_weather() {
    sim::for_each_seed(50, |seed| {
        let sim = sim::Builder::new(seed).weather(Weather::stormy()).build();
        sim.block_on(crowd(&sim, Rng::with_seed(seed)));
        sim.finish();
    });
}
