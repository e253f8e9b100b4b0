//! Stubs, made from an interface.

/// Declares an interface, and makes what stands on either side of the wire:
///
/// * a trait, which the procedures implement;
/// * a client stub with the same functions, whose bodies are messages (steps 1, 2 and 9);
/// * a server stub, which finds the procedure by its name and unmarshals its arguments (steps 5 to 8).
///
/// The name on the wire is that of the interface, a dot, and the text before the function. Arguments travel by name,
/// and one that is missing, unknown or of another type is an error of the caller's.
///
/// ```text
/// interface! {
///     /// Greets.
///     pub trait Hello, client HelloClient, server HelloServer {
///         /// Says hello.
///         "SayHello" => fn say_hello(name: String) -> String;
///     }
/// }
/// ```
macro_rules! interface {
    (
        $(#[$about:meta])*
        pub trait $interface:ident, client $client:ident, server $server:ident {
            $(
                $(#[$about_method:meta])*
                $wire:literal => fn $method:ident($($argument:ident: $type:ty),*) -> $result:ty;
            )+
        }
    ) => {
        $(#[$about])*
        pub trait $interface: 'static {
            $(
                $(#[$about_method])*
                ///
                /// # Errors
                /// In words for the caller.
                fn $method(&self, $($argument: $type),*) -> impl Future<Output = Result<$result, String>>;
            )+
        }

        #[doc = concat!("The client stub of [`", stringify!($interface), "`].")]
        #[derive(Clone)]
        pub struct $client<R: executor::Runtime>(pub $crate::rpc::Client<R>);

        impl<R: executor::Runtime> $client<R> {
            $(
                $(#[$about_method])*
                ///
                /// # Errors
                /// All that can happen to a call.
                ///
                /// # Cancel safety
                /// Dropping this future cancels the call, and the server is told so.
                pub async fn $method(&self, $($argument: $type),*) -> Result<$result, $crate::rpc::CallError> {
                    #[derive(serde::Serialize)]
                    struct Arguments { $($argument: $type),* }
                    self.0.call(concat!(stringify!($interface), ".", $wire), &Arguments { $($argument),* }).await
                }
            )+
        }

        #[doc = concat!("The server stub of [`", stringify!($interface), "`].")]
        pub struct $server<T>(pub std::rc::Rc<T>);

        impl<T: $interface> $crate::rpc::Dispatch for $server<T> {
            fn methods(&self) -> &'static [&'static str] {
                &[$(concat!(stringify!($interface), ".", $wire)),+]
            }

            fn dispatch(&self, method: &str, arguments: serde_json::Value) -> $crate::rpc::Answer {
                let procedures = std::rc::Rc::clone(&self.0);
                match method {
                    $(
                        concat!(stringify!($interface), ".", $wire) => {
                            #[derive(serde::Deserialize)]
                            #[serde(deny_unknown_fields)]
                            struct Arguments { $($argument: $type),* }
                            $crate::rpc::Answer::new(arguments, async move |arguments: Arguments| {
                                let Arguments { $($argument),* } = arguments;
                                procedures.$method($($argument),*).await
                            })
                        }
                    )+
                    _ => $crate::rpc::Answer::UnknownMethod,
                }
            }
        }
    };
}

pub(crate) use interface;
