//! Heads: what is taken and written for the next server is taken again, and is the same.

use headwater_proxy::micro::{pass_on, read_response};

fn main() {
    afl::fuzz!(|bytes: &[u8]| {
        if let Some(passed) = pass_on(bytes) {
            assert_eq!(pass_on(&passed).as_deref(), Some(&passed[..]), "read in two ways");
            let lines = passed.split(|&b| b == b'\n').count();
            assert_eq!(passed.iter().filter(|&&b| b == b'\r').count() + 1, lines, "a bare CR or LF");
            assert!(!passed.contains(&0), "a NUL");
        }
        read_response(bytes);
    });
}
