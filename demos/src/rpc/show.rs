//! The demonstration: a server and a client in one program, and what happens between them.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use executor::{JoinHandle, ListenOptions, Listener, Runtime};

use super::{CallError, Client, Greeter, HelloClient, HelloServer, Limits, Step, Trace, connection};

/// How long a call may take here, but for the one that takes too long.
const TIME: Duration = Duration::from_secs(10);
/// How long that one may take.
const SHORT: Duration = Duration::from_millis(20);
/// And would.
const LONG_MS: u64 = 5000;

/// What the demonstration has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scene {
    /// What comes now.
    Title(&'static str),
    /// A step of a call, and the time since the call began.
    Step(Duration, Step),
    /// Anything else.
    Line(String),
}

/// Calls a server in this same program. With `only_steps` it shows a single call.
///
/// # Errors
/// Those of the listener and of the calls that ought to succeed.
///
/// # Cancel safety
/// Dropping this future ends the client; the server ends with the runtime.
pub async fn show<R: Runtime>(rt: &R, only_steps: bool, tell: impl Fn(Scene) + 'static) -> Result<(), CallError> {
    let (tell, begun) = (Rc::new(tell), rt.now());
    let trace = {
        let (rt, tell) = (rt.clone(), Rc::clone(&tell));
        Trace::new(move |step| tell(Scene::Step(rt.now() - begun, step.clone())))
    };
    let closed = |error: io::Error| CallError::Closed(error.to_string());
    let server = serve_one(rt, trace.clone()).map_err(closed)?;
    tell(Scene::Title("One call of Hello.SayHello in nine steps, and the time of each since the first"));
    let client = Client::connect(rt, &[server], TIME, trace).await.map_err(closed)?;
    let answer = HelloClient(client).say_hello("Ada".to_owned()).await?;
    tell(Scene::Line(format!("{answer:?} is what the client gets")));
    if only_steps {
        return Ok(());
    }
    let server = serve_one(rt, Trace::default()).map_err(closed)?;
    let hello = HelloClient(Client::connect(rt, &[server], TIME, Trace::default()).await.map_err(closed)?);
    share_a_connection(rt, &hello, &*tell).await?;
    go_wrong(&hello, &*tell).await;
    tell(Scene::Title("A call that takes too long is cancelled, here and there"));
    let late = HelloClient(hello.0.within(SHORT)).say_hello_later("Cleo".to_owned(), LONG_MS).await;
    tell(Scene::Line(said(&late)));
    let counts = hello.count().await?;
    tell(Scene::Line(format!(
        "the server: {} greetings begun, {} done, {} cancelled",
        counts.begun, counts.done, counts.cancelled
    )));
    Ok(())
}

/// Listens, and serves one connection.
fn serve_one<R: Runtime>(rt: &R, trace: Trace) -> io::Result<SocketAddr> {
    let mut listener = rt.listen(SocketAddr::from(([127, 0, 0, 1], 0)), &ListenOptions::default())?;
    let address = listener.local_addr()?;
    let runtime = rt.clone();
    let serving = async move {
        let Ok(stream) = listener.accept().await else { return };
        let stub = Rc::new(HelloServer(Rc::new(Greeter::new(runtime.clone()))));
        connection(runtime, stream, stub, Limits::default(), trace).await;
    };
    rt.spawn(serving).detach();
    Ok(address)
}

async fn share_a_connection<R: Runtime>(rt: &R, hello: &HelloClient<R>, tell: &dyn Fn(Scene)) -> Result<(), CallError> {
    tell(Scene::Title("Three calls at once on one connection: the shortest returns first"));
    let begun = rt.now();
    let call = |(name, ms): (&str, u64)| -> JoinHandle<_> {
        let (rt, hello, name) = (rt.clone(), hello.clone(), name.to_owned());
        rt.clone().spawn(async move {
            let answer = hello.say_hello_later(name, ms).await;
            (rt.now() - begun, answer)
        })
    };
    let calls: Vec<_> = [("Ada", 120), ("Bob", 80), ("Cleo", 40)].map(call).into();
    let mut answers = Vec::new();
    for call in calls {
        let (time, answer) = call.await.map_err(|error| CallError::Closed(error.to_string()))?;
        answers.push((time, answer?));
    }
    answers.sort();
    for (time, answer) in answers {
        tell(Scene::Line(format!("{:>4} ms  {answer}", time.as_millis())));
    }
    Ok(())
}

async fn go_wrong<R: Runtime>(hello: &HelloClient<R>, tell: &dyn Fn(Scene)) {
    tell(Scene::Title("What can go wrong, and the connection lives on (the bug is reported on stderr, too)"));
    let no_arguments = serde_json::json!({});
    tell(Scene::Line(said(&hello.0.call::<String>("Hello.SayGoodbye", &no_arguments).await)));
    tell(Scene::Line(said(&hello.0.call::<String>("Hello.SayHello", &no_arguments).await)));
    tell(Scene::Line(said(&hello.say_hello(String::new()).await)));
    tell(Scene::Line(said(&hello.crash().await)));
    tell(Scene::Line(said(&hello.say_hello("Bob".to_owned()).await)));
}

fn said(answer: &Result<String, CallError>) -> String {
    match answer {
        Ok(answer) => answer.clone(),
        Err(error) => error.to_string(),
    }
}
