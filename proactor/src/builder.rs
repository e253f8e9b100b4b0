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

/// The most operations that the kernel may hold at once by default: a receive and a send on 8,000
/// streams. Their completions take 256 KiB.
const OPERATIONS: u32 = 16 * 1024;
/// The number of submissions that fit in the queue. When it is full, the kernel takes them early. A
/// longer queue would only use more of the cache, because all its places are used in turn.
const SUBMISSIONS: u32 = 1024;

/// Sets a runtime up.
///
/// # Examples
///
/// ```
/// use proactor::{Builder, Config};
///
/// # fn example() -> std::io::Result<()> {
/// let config = Config { max_tasks: 1000, ..Config::default() };
/// let rt = Builder::new().config(config).build()?;
/// # Ok(())
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
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
    /// Starts with the defaults: everything the kernel can do, and the defaults of [`Config`].
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = proactor::Builder::new();
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Sets the limits and hooks that every runtime has.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use proactor::{Builder, Config};
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let config = Config { shutdown_deadline: Duration::from_secs(1), ..Config::default() };
    /// let rt = Builder::new().config(config).build()?;
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// Sets for how long the runtime looks for work before it sleeps: see [`Config::spin`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let rt = proactor::Builder::new().spin(Duration::from_micros(50)).build()?;
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
    pub fn spin(mut self, spin: Duration) -> Builder {
        self.config.spin = spin;
        self
    }

    /// Sets how many operations the kernel may hold at once; further ones wait. Rounded up to a
    /// power of two, and cut to what the kernel allows (65,536).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example() -> std::io::Result<()> {
    /// let rt = proactor::Builder::new().operations(256).build()?;
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
    pub fn operations(mut self, operations: u32) -> Builder {
        self.operations = operations.max(4);
        self
    }

    /// Does without a feature, as on a kernel that lacks it.
    ///
    /// # Examples
    ///
    /// ```
    /// use proactor::{Builder, Feature};
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let rt = Builder::new().without(Feature::MultishotRecv).build()?;
    /// assert!(!rt.features().has(Feature::MultishotRecv));
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
    pub fn without(mut self, feature: Feature) -> Builder {
        self.features.remove(feature);
        self
    }

    /// Restricts the ring, for as long as the runtime lives, to the requests of sockets, sleeps and
    /// wakes. The kernel refuses all others, so an attacker who takes over the program cannot use
    /// this ring to open, read or write files. The operations of a `File` and of pipes fail with
    /// `PermissionDenied`.
    ///
    /// This restricts only the runtime's own ring. To keep a program from making another ring, use
    /// a seccomp filter.
    ///
    /// # Examples
    ///
    /// ```
    /// use proactor::{Builder, File, RandomAccess};
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let rt = Builder::new().sockets_only().build()?;
    /// let file = File::from_std(&rt, std::fs::File::open("Cargo.toml")?)?;
    /// let (refused, _buffer) = rt.block_on(file.read_at([0; 9], 0));
    /// assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
    pub fn sockets_only(mut self) -> Builder {
        self.sockets_only = true;
        self
    }

    /// Makes the runtime. Call it on the thread that will run it.
    ///
    /// # Errors
    /// [`SetupError`], which names the obstacle and the remedy.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example() -> std::io::Result<()> {
    /// let rt = proactor::Builder::new().build()?;
    /// assert_eq!(rt.block_on(async { 1 + 1 }), 2);
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
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
    /// Makes a runtime with the defaults.
    ///
    /// # Errors
    /// The errors of [`Builder::build`].
    ///
    /// # Examples
    ///
    /// ```
    /// use proactor::Proactor;
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let rt = Proactor::new()?;
    /// rt.block_on(async { println!("hello") });
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
    pub fn new() -> Result<Proactor, SetupError> {
        Builder::new().build()
    }
}
