//! Calls in simulated weather: each gets its own result, and nothing of a call that was given up is left.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use sim::{Listener, Runtime, Sim, Weather};

use super::{CallError, Client, Counts, Greeter, Hello, HelloClient, HelloServer, Kind, Limits, Trace, connection};

const ADDRESS: &str = "10.0.0.1:80";
const ENOUGH: Duration = Duration::from_secs(3600);

/// A server; and its procedures, to ask them from behind.
fn serve(sim: &Sim, limits: Limits) -> Rc<Greeter<Sim>> {
    let greeter = Rc::new(Greeter::new(sim.clone()));
    let stub = Rc::new(HelloServer(Rc::clone(&greeter)));
    let mut listener = sim.listen(ADDRESS.parse().unwrap(), &Default::default()).unwrap();
    let rt = sim.clone();
    let accepting = async move {
        while let Ok(stream) = listener.accept().await {
            rt.spawn(connection(rt.clone(), stream, Rc::clone(&stub) as _, limits, Trace::default())).detach();
        }
    };
    sim.spawn(accepting).detach();
    greeter
}

async fn connect(sim: &Sim) -> HelloClient<Sim> {
    let address: SocketAddr = ADDRESS.parse().unwrap();
    HelloClient(Client::connect(sim, &[address], ENOUGH, Trace::default()).await.unwrap())
}

#[test]
fn each_call_gets_its_own_result_and_a_late_one_is_cancelled_there() {
    sim::for_each_seed(40, |seed| {
        let sim = Sim::stormy(seed);
        let mut rng = Rng::with_seed(seed);
        let greeter = serve(&sim, Limits { time: ENOUGH, ..Limits::default() });
        let (late, counts) = sim.block_on(async {
            let (mut calls, mut late) = (Vec::new(), 0);
            for client in 0..3 {
                let hello = connect(&sim).await;
                for call in 0..20 {
                    let (name, ms, is_late) = (format!("{client}-{call}"), rng.u64(0..50), rng.bool());
                    late += u64::from(is_late);
                    let hello = hello.clone();
                    calls.push(sim.spawn(async move {
                        if is_late {
                            let limit = Duration::from_millis(200);
                            let late = HelloClient(hello.0.within(limit)).say_hello_later(name, 60_000).await;
                            assert_eq!(late, Err(CallError::TimedOut(limit)));
                        } else {
                            let answer = hello.say_hello_later(name.clone(), ms).await;
                            assert_eq!(answer.unwrap(), format!("Hello, {name}, after {ms} ms!"));
                        }
                    }));
                }
            }
            for call in calls {
                call.await.unwrap();
            }
            // Time for the last cancel to arrive, in simulated weather.
            sim.sleep(Duration::from_secs(1)).await;
            (late, greeter.count().await.unwrap())
        });
        assert_eq!(counts, Counts { begun: 60, done: 60 - late, cancelled: late });
        drop(greeter);
        sim.finish();
    });
}

#[test]
fn a_client_is_silent_only_while_no_call_of_it_is_under_way() {
    let sim = Sim::calm(1);
    let silence = Duration::from_secs(5);
    drop(serve(&sim, Limits { time: ENOUGH, silence, ..Limits::default() }));
    sim.block_on(async {
        let hello = connect(&sim).await;
        let answer = hello.say_hello_later("Ada".to_owned(), 60_000).await;
        assert_eq!(answer.unwrap(), "Hello, Ada, after 60000 ms!");
        sim.sleep(2 * silence + Duration::from_secs(1)).await;
        assert!(hello.say_hello("Ada".to_owned()).await.is_err(), "its connection is kept");
    });
}

#[test]
fn when_connections_break_every_call_ends_and_so_does_its_procedure() {
    sim::for_each_seed(40, |seed| {
        let weather = Weather { resets: 0.02, ..Weather::stormy() };
        let sim = sim::Builder::new(seed).weather(weather).build();
        let greeter = serve(&sim, Limits { time: ENOUGH, ..Limits::default() });
        let counts = sim.block_on(async {
            for round in 0..5 {
                let Ok(client) = Client::connect(&sim, &[ADDRESS.parse().unwrap()], ENOUGH, Trace::default()).await
                else {
                    continue;
                };
                let hello = HelloClient(client);
                let calls: Vec<_> = (0..10)
                    .map(|call| {
                        // Half of them would take a minute.
                        let (hello, name, ms) = (hello.clone(), format!("{round}-{call}"), call % 2 * 60_000);
                        sim.spawn(async move {
                            match hello.say_hello_later(name.clone(), ms).await {
                                Ok(answer) => assert_eq!(answer, format!("Hello, {name}, after {ms} ms!")),
                                Err(CallError::Closed(_)) => {}
                                Err(error) => panic!("{error}"),
                            }
                        })
                    })
                    .collect();
                for call in calls {
                    call.await.unwrap();
                }
            }
            // Time for an end to arrive, and none for a minute to pass.
            sim.sleep(Duration::from_secs(1)).await;
            greeter.count().await.unwrap()
        });
        assert_eq!(counts.begun, counts.done + counts.cancelled, "{counts:?}: a procedure is left");
        drop(greeter);
        sim.finish();
    });
}

#[test]
fn the_servers_limits_hold_to_the_call_and_to_the_second() {
    let sim = Sim::calm(1);
    let greeter = serve(&sim, Limits { calls: 2, time: Duration::from_secs(7), ..Limits::default() });
    sim.block_on(async {
        let hello = connect(&sim).await;
        let call = |ms| {
            let (sim, hello) = (sim.clone(), hello.clone());
            sim.clone().spawn(async move {
                let answer = hello.say_hello_later("Ada".to_owned(), ms).await;
                let kind = match answer {
                    Err(CallError::Refused(fault)) => Some(fault.kind),
                    answer => answer.map(|_| None).unwrap(),
                };
                (kind, sim.elapsed())
            })
        };
        let calls = [call(6999), call(7001), call(0)];
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(call.await.unwrap());
        }
        let seconds = Duration::from_secs;
        let expected = [
            (None, Duration::from_millis(6999)),
            (Some(Kind::TookTooLong), seconds(7)),
            (Some(Kind::Busy), seconds(0)),
        ];
        assert_eq!(outcomes, expected);
        assert_eq!(greeter.count().await.unwrap(), Counts { begun: 2, done: 1, cancelled: 1 });
    });
    drop(greeter);
    sim.finish();
}

#[test]
fn a_stop_lets_calls_finish_and_takes_no_more() {
    let sim = Sim::calm(1);
    let greeter = serve(&sim, Limits::default());
    sim.block_on(async {
        let hello = connect(&sim).await;
        let running = {
            let hello = hello.clone();
            sim.spawn(async move { hello.say_hello_later("Ada".to_owned(), 3000).await })
        };
        sim.sleep(Duration::from_secs(1)).await;
        sim.stop();
        assert_eq!(running.await.unwrap().unwrap(), "Hello, Ada, after 3000 ms!");
        assert!(matches!(hello.say_hello("Bob".to_owned()).await, Err(CallError::Closed(_))));
    });
    drop(greeter);
    sim.finish();
}
