//! Whether a client of HTTP/2 keeps calm: frames that ask for nothing, and streams that are broken off, cost it little and
//! us much, so there is a bound on both.

use std::cell::Cell;
use tokio::time::Instant;

/// What a client may send beside heads and bodies: more than a connection's window, as the rest of a body that was refused
/// is on its way when it hears of that.
const FRAMES: u64 = 2 << 20;
/// So much more of it a second, for pings that keep a long download alive.
const FRAMES_A_SECOND: u64 = 4 << 10;
/// Framing of one stream, with room to spare.
const FRAMES_A_STREAM: u64 = 1 << 10;
/// One byte of window updates for so many bytes that were sent to it, twice of what a client needs.
const SENT_PER_FRAME_BYTE: u64 = 32;
/// So many streams may be broken off before they are weighed against those that were answered.
const BROKEN: u64 = 100;

/// What went over a connection.
#[derive(Default)]
pub(crate) struct Tally {
    /// Bytes that came.
    pub heard: Cell<u64>,
    /// Bytes that went.
    pub said: Cell<u64>,
    /// Bytes among those that came which were heads and bodies.
    pub asked: Cell<u64>,
    /// Streams that came.
    pub streams: Cell<u64>,
    /// Streams that the client broke off.
    pub broken: Cell<u64>,
}

/// Adds to a count.
pub(crate) fn add(count: &Cell<u64>, more: u64) {
    count.set(count.get().saturating_add(more));
}

impl Tally {
    /// How the client has lost its calm, if it has: a metric's label.
    pub fn flood(&self, begun: Instant) -> Option<&'static str> {
        let allowed =
            FRAMES + self.streams.get() * FRAMES_A_STREAM + self.asked.get() + self.said.get() / SENT_PER_FRAME_BYTE;
        let (broken, streams) = (self.broken.get(), self.streams.get());
        let heard = self.heard.get();
        if heard > allowed && heard > allowed + begun.elapsed().as_secs() * FRAMES_A_SECOND {
            Some("frames")
        } else if broken > BROKEN && broken > streams / 2 {
            Some("resets")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_client_that_pings_much_and_asks_little_is_a_flood() {
        let tally = Tally::default();
        tally.heard.set(FRAMES);
        assert_eq!(tally.flood(Instant::now()), None);
        add(&tally.heard, 1);
        assert_eq!(tally.flood(Instant::now()), Some("frames"));
        assert_eq!(tally.flood(Instant::now() - Duration::from_secs(1)), None, "time makes room");
        tally.asked.set(1);
        assert_eq!(tally.flood(Instant::now()), None, "what was asked is no flood");
    }

    #[test]
    fn breaking_off_most_of_many_streams_is_a_flood() {
        let tally = Tally::default();
        tally.streams.set(100);
        tally.broken.set(100);
        assert_eq!(tally.flood(Instant::now()), None);
        tally.streams.set(150);
        tally.broken.set(101);
        assert_eq!(tally.flood(Instant::now()), Some("resets"));
        tally.streams.set(1000);
        assert_eq!(tally.flood(Instant::now()), None, "most were heard out");
    }
}
