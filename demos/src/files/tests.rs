//! Both sides in simulated time and weather, where connections break.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use executor::{Files, IoBuf};
use sim::{Builder, Listener, Runtime, Sim, Weather, Writer};

use super::{Arrival, Fault, Folder, Inbox, Offer, Sender, Sent, receive};

const PATIENCE: Duration = Duration::from_secs(30);
/// Larger than what the buffers of a connection hold.
const SIZE: usize = 600_000;

/// A folder for what is received, and a file beside it to send.
struct Place {
    root: PathBuf,
    content: Vec<u8>,
}

impl Place {
    fn new(seed: u64) -> Place {
        let root = std::env::temp_dir().join(format!("demos-files-{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(root.join("in")).unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        let content: Vec<u8> = (0..random.usize(0..SIZE)).map(|_| random.u8(..)).collect();
        std::fs::write(root.join("sent"), &content).unwrap();
        Place { root, content }
    }

    fn inbox(&self, overwrite: bool, max_size: u64) -> Inbox {
        Inbox {
            folder: Folder::open(&self.root.join("in"), overwrite).unwrap(),
            max_size,
            patience: PATIENCE,
            uploads: Default::default(),
        }
    }

    fn received(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join("in")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Sends the file from one side to the other: what the sender and the receiver say of it.
    fn transfer(&self, sim: &Sim, inbox: Inbox, change: impl Fn(&mut Offer)) -> (Result<Sent, Fault>, Vec<Arrival>) {
        let arrivals = Rc::new(RefCell::new(Vec::new()));
        let address: SocketAddr = "10.0.0.1:7070".parse().unwrap();
        let mut listener = sim.listen(address, &Default::default()).unwrap();
        let (world, inbox, seen) = (sim.clone(), Rc::new(inbox), Rc::clone(&arrivals));
        let receiving = sim.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let (rt, inbox, seen) = (world.clone(), Rc::clone(&inbox), Rc::clone(&seen));
                let report = move |arrival: &Arrival| seen.borrow_mut().push(arrival.clone());
                world.spawn(async move { drop(receive(rt, stream, &inbox, report).await) }).detach();
            }
        });
        let sent = sim.block_on(async {
            let file = sim.open_file(self.root.join("sent"), OpenOptions::new().read(true)).unwrap();
            let size = self.content.len() as u64;
            let mut offer = Sender::<Sim>::offer(&file, "a".to_owned(), size, |_| ()).await.unwrap();
            change(&mut offer);
            let mut sender = Sender::new(sim.clone(), vec![address], PATIENCE, 8);
            let sent = sender.send(&file, &offer, |_| ()).await;
            let _ = sender.end().await;
            sent
        });
        drop(receiving);
        (sent, arrivals.take())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

#[test]
fn what_arrives_is_what_was_sent_however_often_the_connection_breaks() {
    let (mut offers, mut resumed) = (0, 0);
    let totals = RefCell::new((&mut offers, &mut resumed));
    sim::for_each_seed(60, |seed| {
        let place = Place::new(seed);
        let weather = Weather { resets: 0.02, ..Weather::stormy() };
        let sim = Builder::new(seed).weather(weather).build();
        let (sent, arrivals) = place.transfer(&sim, place.inbox(false, u64::MAX), |_| ());
        let sent = sent.unwrap();
        assert_eq!(place.received(), ["a"]);
        assert!(std::fs::read(place.root.join("in/a")).unwrap() == place.content, "another content");
        let mut totals = totals.borrow_mut();
        *totals.0 += sent.offers;
        *totals.1 += arrivals.iter().filter(|arrival| arrival.outcome.as_ref().is_ok_and(|from| *from > 0)).count();
    });
    assert!(sim::seed_to_replay().is_some() || offers > 80 && resumed > 20, "{offers} offers, {resumed} resumed");
}

#[test]
fn what_is_there_is_not_sent_again_and_nothing_else_in_its_place() {
    let (place, sim) = (Place::new(1), Sim::calm(1));
    let size = place.content.len() as u64;
    let first = place.transfer(&sim, place.inbox(false, u64::MAX), |_| ()).0.unwrap();
    assert_eq!(first, Sent { carried: size, offers: 1 });
    let again = place.transfer(&Sim::calm(2), place.inbox(false, u64::MAX), |_| ()).0.unwrap();
    assert_eq!(again, Sent { carried: 0, offers: 1 });
    std::fs::write(place.root.join("in/a"), "mine").unwrap();
    let refused = place.transfer(&Sim::calm(3), place.inbox(false, u64::MAX), |_| ()).0.unwrap_err();
    assert!(refused.to_string().contains("--overwrite"), "{refused}");
    assert_eq!(std::fs::read(place.root.join("in/a")).unwrap(), b"mine");
    place.transfer(&Sim::calm(4), place.inbox(true, u64::MAX), |_| ()).0.unwrap();
    assert!(std::fs::read(place.root.join("in/a")).unwrap() == place.content);
}

#[test]
fn a_wrong_digest_leaves_nothing_behind() {
    let (place, sim) = (Place::new(1), Sim::calm(1));
    let lie = |offer: &mut Offer| offer.sha256 = "0".repeat(64);
    let (sent, arrivals) = place.transfer(&sim, place.inbox(false, u64::MAX), lie);
    assert!(sent.unwrap_err().to_string().contains("digest") && arrivals[0].outcome.is_err());
    assert!(place.received().is_empty());
}

#[test]
fn spoilt_remains_of_an_earlier_transfer_are_found_out_and_sent_anew() {
    let (place, sim) = (Place::new(1), Sim::calm(1));
    let spoil = |offer: &mut Offer| {
        let name = format!("in/.a.{}.part", &offer.sha256[..16]);
        std::fs::write(place.root.join(name), "these are not its first bytes").unwrap();
    };
    let (sent, arrivals) = place.transfer(&sim, place.inbox(false, u64::MAX), spoil);
    assert_eq!(sent.unwrap().offers, 2);
    assert_eq!((arrivals.len(), arrivals[1].outcome.clone()), (2, Ok(0)));
    assert!(std::fs::read(place.root.join("in/a")).unwrap() == place.content);
}

#[test]
fn files_that_are_too_large_or_badly_named_are_refused_before_they_are_sent() {
    let (place, sim) = (Place::new(1), Sim::calm(1));
    let (sent, _) = place.transfer(&sim, place.inbox(false, 10), |_| ());
    assert!(sent.unwrap_err().to_string().contains("more than the 10"));
    let elsewhere = |offer: &mut Offer| offer.name = "../a".to_owned();
    let (sent, _) = place.transfer(&Sim::calm(2), place.inbox(true, u64::MAX), elsewhere);
    assert!(sent.unwrap_err().to_string().contains("path"));
    assert!(place.received().is_empty() && !place.root.join("a").exists());
}

#[test]
fn who_does_not_speak_the_protocol_is_told_so_and_left() {
    let hostile: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0", b"\xff\xff\xff\xff{}", b"\0\0\0\x02[]"];
    for bytes in hostile {
        let (place, sim) = (Place::new(1), Sim::calm(1));
        let inbox = place.inbox(false, u64::MAX);
        sim.block_on(async {
            let (mut client, server) = sim.pair().await.unwrap();
            client.write_all(bytes.to_vec()).await.0.unwrap();
            let error = receive(sim.clone(), server, &inbox, |_| ()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let answer = sim::Reader::recv(&mut client).await.unwrap();
            assert!(answer.bytes()[4..].starts_with(br#"{"refused":{"why":"a message "#), "{:?}", answer.bytes());
        });
    }
}

/// A connection dies without a word, in the middle of a file. The next one does not wait until that is noticed.
#[test]
fn a_new_connection_takes_over_from_an_older_one_of_the_same_file_and_of_no_other() {
    let (mut place, sim) = (Place::new(1), Sim::calm(1));
    place.content = vec![7; 5000];
    std::fs::write(place.root.join("sent"), &place.content).unwrap();
    let inbox = Rc::new(place.inbox(false, u64::MAX));
    let arrivals = Rc::new(RefCell::new(Vec::new()));
    sim.block_on(async {
        let begin = async |offer: Offer, content: &[u8]| {
            let (mut client, server) = sim.pair().await.unwrap();
            let (rt, inbox, seen) = (sim.clone(), Rc::clone(&inbox), Rc::clone(&arrivals));
            let receiving =
                async move { receive(rt, server, &inbox, |arrival| seen.borrow_mut().push(arrival.clone())).await };
            sim.spawn(receiving).detach();
            let offer = serde_json::to_vec(&offer).unwrap();
            let prefix = u32::try_from(offer.len()).unwrap().to_be_bytes().to_vec();
            client.write_all([prefix, offer, content.to_vec()].concat()).await.0.unwrap();
            sim.sleep(Duration::from_millis(100)).await;
            client
        };
        let file = sim.open_file(place.root.join("sent"), OpenOptions::new().read(true)).unwrap();
        let offer = Sender::<Sim>::offer(&file, "a".to_owned(), 5000, |_| ()).await.unwrap();
        let _dead = begin(offer.clone(), &place.content[..3000]).await;
        // The same name with another digest is another file: it disturbs nothing.
        let _stranger = begin(Offer { sha256: "0".repeat(64), ..offer.clone() }, b"").await;
        assert!(arrivals.borrow().is_empty(), "{:?}", arrivals.borrow());
        let _new = begin(offer.clone(), &place.content[3000..]).await;
        assert!(arrivals.borrow().is_empty(), "the older one has a moment to show that it lives");
        sim.sleep(Duration::from_secs(2)).await;
        let outcomes: Vec<_> = arrivals.borrow().iter().map(|arrival| arrival.outcome.clone()).collect();
        assert_eq!(outcomes, [Err("another connection has taken over this file".to_owned()), Ok(3000)]);
    });
    assert!(std::fs::read(place.root.join("in/a")).unwrap() == place.content);
    assert!(sim.elapsed() < PATIENCE, "{:?}", sim.elapsed());
}

/// A block takes longer than the patience, and no byte does.
#[test]
fn a_slow_receiver_is_no_reason_to_give_up_while_it_takes_bytes() {
    let sim = Builder::new(1).weather(Weather { buffer: 10_000..=10_000, ..Weather::calm() }).build();
    sim.block_on(async {
        let (sending, mut receiving) = sim.pair().await.unwrap();
        let mut peer = super::peer::Peer::new(sim.clone(), sending, PATIENCE);
        let slowly = sim.spawn({
            let sim = sim.clone();
            async move {
                for _ in 0..20 {
                    sim.sleep(PATIENCE - Duration::from_millis(1)).await;
                    let (read, _) = sim::Reader::read(&mut receiving, vec![0; 10_000]).await;
                    assert_eq!(read.unwrap(), 10_000);
                }
                receiving
            }
        });
        peer.write(vec![0; 200_000]).await.unwrap();
        let _receiving = slowly.await.unwrap();
        // It takes nothing any more.
        let start = sim.now();
        assert_eq!(peer.write(vec![0; 20_000]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(sim.now() - start <= PATIENCE * 2);
    });
}

#[test]
fn a_sender_that_falls_silent_is_left_after_a_while() {
    let (place, sim) = (Place::new(1), Sim::calm(1));
    let inbox = place.inbox(false, u64::MAX);
    sim.block_on(async {
        let (_client, server) = sim.pair().await.unwrap();
        let error = receive(sim.clone(), server, &inbox, |_| ()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
    assert_eq!(sim.elapsed(), PATIENCE);
}
