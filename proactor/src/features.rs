//! The features of the kernel. Each feature is probed at run time. The version number of the
//! kernel, or a choice at compile time, would prove nothing: the machine that builds is not the
//! machine that runs, and distributions backport features. Each feature has a fallback.

use std::fmt;

/// A feature of the kernel that the runtime uses if it is there.
///
/// # Examples
///
/// ```
/// use proactor::Feature;
///
/// let feature = Feature::MultishotRecv;
/// println!("{}, from Linux {} on", feature.name(), feature.since());
/// println!("without it: {}", feature.fallback());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// Completions run when we enter the kernel, not as interrupts (6.1).
    DeferTaskrun,
    /// A failing submission doesn't stop the rest of its batch (5.18).
    SubmitAll,
    /// There is no index array between us and the submissions (6.6).
    NoSqArray,
    /// We enter the ring by an index instead of a descriptor (5.18).
    RegisteredRing,
    /// The kernel doesn't count our waits as waits for a disk (6.15).
    NoIowait,
    /// A successful send needs no completion (5.17).
    QuietSend,
    /// The kernel picks a receive buffer when bytes arrive (5.19).
    BufferRing,
    /// One request receives again and again, bytes or datagrams (6.0).
    MultishotRecv,
    /// One request accepts again and again (5.19).
    MultishotAccept,
    /// One request watches the wake-up descriptor forever (5.13).
    MultishotPoll,
    /// The kernel fills a receive buffer piece by piece (6.12).
    IncrementalBuffers,
}

/// The name, kernel and fallback of each [`Feature`], in the order of the enum.
const TABLE: [(Feature, &str, &str, &str); 11] = [
    (Feature::DeferTaskrun, "single issuer, deferred task run", "6.1", "completions interrupt the thread"),
    (Feature::SubmitAll, "submit all", "5.18", "the rest of a batch goes with the next call"),
    (Feature::NoSqArray, "no submission array", "6.6", "submissions go through the array"),
    (Feature::RegisteredRing, "registered ring", "5.18", "the descriptor is looked up at each call"),
    (Feature::NoIowait, "no iowait", "6.15", "an idle runtime is shown as waiting for I/O"),
    (Feature::QuietSend, "no completion of success", "5.17", "each send completes, and ends the loop's wait"),
    (Feature::BufferRing, "buffer ring", "5.19", "each receive takes memory of its own along"),
    (Feature::MultishotRecv, "multishot receive", "6.0", "each receive is a request of its own"),
    (Feature::MultishotAccept, "multishot accept", "5.19", "each accept is a request of its own"),
    (Feature::MultishotPoll, "multishot poll", "5.13", "each wake from another thread costs a read and a new request"),
    (
        Feature::IncrementalBuffers,
        "incremental buffers",
        "6.12",
        "each receive takes a whole buffer, however short it is",
    ),
];

impl Feature {
    /// Returns all features.
    ///
    /// # Examples
    ///
    /// ```
    /// let names: Vec<_> = proactor::Feature::all().map(|feature| feature.name()).collect();
    /// assert!(names.contains(&"buffer ring"));
    /// ```
    pub fn all() -> impl Iterator<Item = Feature> {
        TABLE.iter().map(|row| row.0)
    }

    /// Returns the name of the feature in reports.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(proactor::Feature::QuietSend.name(), "no completion of success");
    /// ```
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// Returns the kernel version that brought it.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(proactor::Feature::BufferRing.since(), "5.19");
    /// ```
    pub fn since(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// Says what happens without it.
    ///
    /// # Examples
    ///
    /// ```
    /// let fallback = proactor::Feature::BufferRing.fallback();
    /// assert_eq!(fallback, "each receive takes memory of its own along");
    /// ```
    pub fn fallback(self) -> &'static str {
        TABLE[self as usize].3
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of [`Feature`]s.
///
/// # Examples
///
/// ```
/// use proactor::{Feature, Features, Proactor};
///
/// # fn example() -> std::io::Result<()> {
/// let features: Features = Proactor::new()?.features();
/// for feature in Feature::all().filter(|feature| !features.has(*feature)) {
///     println!("no {}: {}", feature.name(), feature.fallback());
/// }
/// # Ok(())
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Features(u16);

impl Features {
    pub(crate) const ALL: Features = Features((1 << TABLE.len()) - 1);

    /// Returns whether the feature is in the set.
    ///
    /// # Examples
    ///
    /// ```
    /// use proactor::{Feature, Proactor};
    ///
    /// # fn example() -> std::io::Result<()> {
    /// if Proactor::new()?.features().has(Feature::IncrementalBuffers) {
    ///     println!("small messages share a buffer");
    /// }
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
    pub fn has(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    pub(crate) fn remove(&mut self, feature: Feature) {
        self.0 &= !feature.bit();
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Feature::all().filter(|feature| self.has(*feature))).finish()
    }
}
