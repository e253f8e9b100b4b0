//! Sets a runtime up.

use std::rc::Rc;
use std::time::Duration;

use executor::{Config, Executor, Seam};

use crate::calls::NAMES;
use crate::context::Context;
use crate::driver::UringDriver;
use crate::error::SetupError;
use crate::features::{Feature, Features};
use crate::pool::Pool;
use crate::proactor::Proactor;
use crate::ring::{probe, setup::Size};
use crate::submit::Operations;

/// Operations the kernel may hold at once, unless the builder is told otherwise: a receive and a send
/// on 8,000 streams. Their completions take 256 KiB.
const OPERATIONS: u32 = 16 * 1024;
/// Submissions that fit the queue; when it is full, the kernel takes them early. More would only spoil
/// the cache: the queue is used all around.
const SUBMISSIONS: u32 = 1024;

/// Sets a runtime up.
#[derive(Clone, Debug)]
pub struct Builder {
    config: Config,
    features: Features,
    operations: u32,
    sockets_only: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Builder { config: Config::default(), features: Features::ALL, operations: OPERATIONS, sockets_only: false }
    }
}

impl Builder {
    /// The defaults: everything the kernel can do, and those of [`Config`].
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Limits and hooks that every runtime has.
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// Looks for work for so long before it sleeps: see [`Config::spin`].
    pub fn spin(mut self, spin: Duration) -> Builder {
        self.config.spin = spin;
        self
    }

    /// How many operations the kernel may hold at once; further ones wait. Rounded up to a power of two,
    /// and cut to what the kernel allows (65,536).
    pub fn operations(mut self, operations: u32) -> Builder {
        self.operations = operations.max(4);
        self
    }

    /// Does without an ability of the kernel, as on one that hasn't it.
    pub fn without(mut self, feature: Feature) -> Builder {
        self.features.remove(feature);
        self
    }

    /// Has the kernel refuse, for as long as the runtime lives, all requests but those of sockets, sleeps
    /// and wakes: whoever takes the program over cannot have this ring open, read or write files. The
    /// operations of a `File` and of pipes fail with `PermissionDenied`.
    ///
    /// This binds only the runtime's own ring. A program that is to make no other needs a seccomp filter.
    pub fn sockets_only(mut self) -> Builder {
        self.sockets_only = true;
        self
    }

    /// Makes the runtime, on the thread that will run it.
    ///
    /// # Errors
    /// [`SetupError`], which names the gate that is closed and the remedy.
    pub fn build(self) -> Result<Proactor, SetupError> {
        let mut features = self.features;
        let size = Size { submissions: SUBMISSIONS.min(self.operations), completions: self.operations };
        let seam = Seam::new(NAMES);
        let (ring, buffers) = probe::ring(&seam, size, self.sockets_only, &mut features)?;
        let pool = Pool::new(buffers);
        let operations = Operations::new(ring, Rc::clone(&pool));
        let context = Rc::new(Context::new(operations, pool, seam, features));
        let driver = UringDriver::new(Rc::clone(&context))?;
        Ok(Proactor { executor: Executor::new(driver, self.config), context })
    }
}

impl Proactor {
    /// A runtime with the defaults.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> Result<Proactor, SetupError> {
        Builder::new().build()
    }
}
