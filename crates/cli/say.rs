//! What the verbs say. A reader who leaves early, as `head` does, wants no more of it: that is no failure, and a verb ends with
//! the code that it would have ended with. `println!` would panic.

use std::io::{self, ErrorKind, Write};

/// Says something to standard output, and whether somebody may still read more.
///
/// # Errors
/// What is said cannot be written, for another reason than that nobody reads it: the disk is full, for example.
pub fn out(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Says something to standard error, where a failure could not be told anyway.
pub fn aside(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
