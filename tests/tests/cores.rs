//! Goal: one runtime on each core: every worker has a thread and a core of its own, all can be stopped
//! from anywhere, and what goes wrong in one ends the others and reaches the caller.
//!
//! Method: workers that say where they run, that stop, fail or panic at different moments, and that share
//! a port. Whoever is not stopped waits for ever, so a stop that is lost is a hang.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use executor::{Config, ListenOptions, Listener, Reader, Runtime, StopHandle, Worker, Writer, run_on_each_core};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tests::{Engine, ReactorEdge, Suite, ms, on_every_engine, open_fds, panics};

fn count(workers: usize) -> NonZeroUsize {
    NonZeroUsize::new(workers).expect("not 0")
}

/// Runs `main` on a runtime that ends with it.
fn on_a_runtime<E: Engine, T>(worker: &Worker, main: impl AsyncFnOnce(&E::Rt) -> io::Result<T>) -> io::Result<T> {
    let rt = E::build(Config::default())?;
    worker.block_on(&rt, main(&rt))
}

/// Waits to be stopped, and says who was.
fn wait<E: Engine>(worker: &Worker) -> io::Result<usize> {
    on_a_runtime::<E, _>(worker, async |rt| {
        rt.stopped().await;
        Ok(worker.number())
    })
}

fn cores_of_this_thread() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
}

fn each_worker_has_a_thread_and_a_core<E: Engine>() {
    const WORKERS: usize = 5;
    let (allowed, fds) = (cores_of_this_thread(), open_fds());
    let workers = run_on_each_core(count(WORKERS), |worker| {
        on_a_runtime::<E, _>(worker, async |rt| {
            rt.sleep(ms(1)).await;
            assert_eq!(cores_of_this_thread(), [worker.core()]);
            let thread = std::thread::current();
            assert_eq!(thread.name(), Some(&format!("worker-{}", worker.number())[..]));
            Ok((worker.number(), worker.core(), thread.id()))
        })
    });
    let workers = workers.unwrap();
    // In order, and round again when there are more workers than cores.
    for (place, (number, core, _)) in workers.iter().enumerate() {
        assert_eq!((*number, *core), (place, allowed[place % allowed.len()]));
    }
    let mut threads: Vec<_> = workers.iter().map(|(_, _, thread)| *thread).collect();
    threads.push(std::thread::current().id());
    assert!((1..threads.len()).all(|place| !threads[place..].contains(&threads[place - 1])), "{threads:?}");
    assert_eq!(cores_of_this_thread(), allowed, "the caller is where it was");
    assert_eq!(open_fds(), fds);
}

fn only_cores_that_are_allowed_are_taken() {
    let last = *cores_of_this_thread().last().unwrap();
    let mut only = CpuSet::new();
    only.set(last);
    sched_setaffinity(None, &only).unwrap();
    let cores = run_on_each_core(count(3), |worker| io::Result::Ok(worker.core())).unwrap();
    assert_eq!(cores, [last; 3]);
}

fn a_stop_from_any_thread_reaches_all<E: Engine>() {
    let fds = open_fds();
    let kept: Mutex<Option<StopHandle>> = Mutex::default();
    let stopped = run_on_each_core(count(4), |worker| {
        if worker.number() == 2 {
            let stop = worker.stop_handle();
            *kept.lock().unwrap() = Some(stop.clone());
            std::thread::spawn(move || {
                std::thread::sleep(ms(20));
                stop.stop();
            });
        }
        wait::<E>(worker)
    });
    assert_eq!(stopped.unwrap(), [0, 1, 2, 3]);
    assert_eq!(open_fds(), fds, "a handle keeps nothing of the workers");
    kept.into_inner().unwrap().unwrap().stop();
}

fn a_stop_is_remembered_for_those_who_come_late<E: Engine>() {
    let stopped = run_on_each_core(count(3), |worker| {
        worker.stop_handle().stop();
        wait::<E>(worker)?;
        // Another runtime on the same worker.
        wait::<E>(worker)
    });
    assert_eq!(stopped.unwrap(), [0, 1, 2]);
}

fn a_worker_that_ends_well_stops_nobody<E: Engine>() {
    let others = AtomicUsize::new(0);
    let ended = run_on_each_core(count(3), |worker| {
        if worker.number() == 0 {
            return Ok(0);
        }
        on_a_runtime::<E, _>(worker, async |rt| {
            assert!(rt.timeout(ms(50), rt.stopped()).await.is_err(), "nobody asked for it");
            others.fetch_add(1, Ordering::Relaxed);
            Ok(worker.number())
        })
    });
    assert_eq!((ended.unwrap(), others.into_inner()), (vec![0, 1, 2], 2));
}

fn the_first_error_stops_the_others_and_is_returned<E: Engine>() {
    let ended = AtomicUsize::new(0);
    let result = run_on_each_core(count(4), |worker| {
        if worker.number() == 3 {
            return on_a_runtime::<E, _>(worker, async |rt| {
                rt.sleep(ms(20)).await;
                Err::<(), _>(io::Error::other("the cause"))
            });
        }
        wait::<E>(worker)?;
        ended.fetch_add(1, Ordering::Relaxed);
        Err(io::Error::other("a consequence"))
    });
    assert_eq!(result.unwrap_err().to_string(), "the cause");
    assert_eq!(ended.into_inner(), 3);
}

fn a_panic_stops_the_others_and_goes_through<E: Engine>() {
    for is_running in [false, true] {
        let (ended, fds) = (AtomicUsize::new(0), open_fds());
        let text = panics(|| {
            let _ = run_on_each_core(count(4), |worker| {
                if worker.number() == 1 {
                    assert!(is_running, "before it has a runtime");
                    return on_a_runtime::<E, _>(worker, async |rt| {
                        rt.sleep(ms(20)).await;
                        panic!("inside its runtime")
                    });
                }
                wait::<E>(worker)?;
                ended.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
        });
        assert_eq!(text, if is_running { "inside its runtime" } else { "before it has a runtime" });
        assert_eq!((ended.into_inner(), open_fds()), (3, fds));
    }
}

/// What a server does, by hand: a listener for each worker, on one port.
fn workers_share_a_port<E: Engine>() {
    const CONNECTIONS: usize = 60;
    let reserved = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    reserved.set_reuse_port(true).unwrap();
    reserved.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = reserved.local_addr().unwrap().as_socket().unwrap();
    let (ready, client) = (AtomicUsize::new(0), Mutex::new(None));
    let served = run_on_each_core(count(3), |worker| {
        on_a_runtime::<E, _>(worker, async |rt| {
            let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
            let mut listener = rt.listen(address, &options)?;
            if ready.fetch_add(1, Ordering::Relaxed) == 2 {
                let stop = worker.stop_handle();
                *client.lock().unwrap() = Some(std::thread::spawn(move || talk(address, CONNECTIONS, &stop)));
            }
            let served = Rc::new(Cell::new(0));
            let counter = Rc::clone(&served);
            let accepting = rt.spawn(async move {
                while let Ok(mut stream) = listener.accept().await {
                    let chunk = stream.recv().await.unwrap();
                    stream.write_all(chunk).await.0.unwrap();
                    counter.set(counter.get() + 1);
                }
            });
            rt.stopped().await;
            accepting.abort();
            assert!(accepting.await.is_err(), "it accepts until it is aborted");
            Ok(served.get())
        })
    });
    let served = served.unwrap();
    client.into_inner().unwrap().unwrap().join().unwrap();
    assert_eq!(served.iter().sum::<usize>(), CONNECTIONS, "{served:?}");
    let busy = served.iter().filter(|connections| **connections > 0).count();
    assert!(busy > 1, "one worker got all: {served:?}");
}

fn talk(address: SocketAddr, connections: usize, stop: &StopHandle) {
    for _ in 0..connections {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"hello");
    }
    stop.stop();
}

fn an_error_of_the_pin_is_an_error_of_the_worker() {
    let pin = |number| if number == 1 { Err(io::Error::other("no such core")) } else { Ok(number) };
    let result: io::Result<Vec<()>> = executor::run_workers(count(3), pin, |worker| {
        assert_ne!(worker.number(), 1);
        wait::<ReactorEdge>(worker).map(drop)
    });
    assert_eq!(result.unwrap_err().to_string(), "no such core");
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(
        suite,
        each_worker_has_a_thread_and_a_core,
        a_stop_from_any_thread_reaches_all,
        a_stop_is_remembered_for_those_who_come_late,
        a_worker_that_ends_well_stops_nobody,
        the_first_error_stops_the_others_and_is_returned,
        a_panic_stops_the_others_and_goes_through,
        workers_share_a_port,
    );
    suite.add_plain("only_cores_that_are_allowed_are_taken", only_cores_that_are_allowed_are_taken);
    suite.add_plain("an_error_of_the_pin_is_an_error_of_the_worker", an_error_of_the_pin_is_an_error_of_the_worker);
    suite.run()
}
