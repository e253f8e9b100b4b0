//! What the reports say beside the figures.

/// What the page is about, before everything else.
pub const INTRODUCTION: &str = "The same echo server and the same tiny HTTP server on this project's runtimes, on \
    other runtimes, and as loops written by hand on the bare kernel interface, which show what can be had at all. \
    All are loaded by the same client on the same machine, and every byte is checked.";

/// How it was measured.
pub const METHOD: &[&str] = &[
    "Every run has a fresh server process, on the last processor that may be used, and a fresh client process, on \
     the first. The client never sleeps, so no server pays for waking it. Everything goes through 127.0.0.1, with \
     TCP_NODELAY.",
    "Servers take turns within a round, and each round begins with another one. A run warms up for 0.1 s and counts \
     for 0.3 s. If the hypervisor took more than 2 % of the processors' time meanwhile, it is taken again, twice at \
     most.",
    "The main figure is the server's processor time per request, kernel included: it can be compared even where the \
     client is the slower one. Requests/s tell about the server only where it is busy at least 98 % of the time; \
     elsewhere they stand in brackets.",
    "Figures are medians of the rounds. A ratio is taken within each round, and its median is shown: machines change \
     their speed from minute to minute, and what is measured one after the other shares it. In the tables of the \
     scenarios it is epoll-edge's processor time over the server's own, so more than 1 is better. The spread is half \
     of the way from the least to the greatest round; \"of least\" is the ratio of the least processor times.",
    "Closed loops send the next requests of a connection when it has its answers. The open loop sends at a fixed \
     rate, and its latency counts from the moment when a request should have been sent. Depth is the number of \
     requests that a connection sends at once.",
];

/// What was measured once and left out, with the reason.
pub const LEFT_OUT: &[&str] = &[
    "Direct descriptors (files that only the ring knows) as an option of the proactor's listener: uring-direct \
     against uring shows what they bring. A stream with one would have no descriptor to hand out (`AsFd`), no \
     addresses and no socket options, and a full table resets clients that were accepted already.",
    "Looking ahead in the queue of tasks, so that memory fetches the next 16 at once: with a million tasks that expire \
     together it saved a third, and it cost 2 ns at each yield of a thousand tasks.",
    "Zero-copy sends of small messages, a least time to wait, polling by a kernel thread, bundles, polling first: \
     they cost more than they brought in hand-written loops.",
    "`Stream::exchange` in the HTTP server of `demos`, so that a response and the wait for the next request are one \
     step: 2 to 6 % with a single connection on the proactor, nothing beyond the noise with eight or more, for sixty \
     lines, since the two steps have different limits.",
];
