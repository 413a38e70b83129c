//! Finds the lines in a body that comes piece by piece, and in memory for one line alone.

/// A longer line is refused.
pub const LONGEST_LINE: usize = 256 << 10;

/// What is found.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line, or one object of a JSON array.
    Line(&'a [u8]),
    /// One that is longer than [`LONGEST_LINE`]; its beginning.
    TooLong(&'a [u8]),
}

/// Lines end with a line feed. A body, or a line, that begins with `[` is a JSON array instead, whose objects are the lines.
#[derive(Default)]
pub struct Splitter {
    kept: Vec<u8>,
    is_array: Option<bool>,
    skips: bool,
    array: Array,
}

impl Splitter {
    /// The next piece of the body.
    pub fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Piece<'_>)) {
        let is_array = match self.is_array {
            Some(is_array) => is_array,
            None => {
                bytes = bytes.trim_ascii_start();
                let Some(first) = bytes.first() else { return };
                *self.is_array.insert(*first == b'[')
            }
        };
        if is_array {
            return self.array.feed(bytes, &mut found);
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if std::mem::take(&mut self.skips) {
                continue;
            }
            if self.kept.is_empty() {
                one(line, &mut found);
            } else {
                self.kept.extend_from_slice(line);
                one(&self.kept, &mut found);
                self.kept.clear();
            }
        }
        if self.skips {
            return;
        }
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > LONGEST_LINE {
            found(Piece::TooLong(&self.kept[..LONGEST_LINE]));
            self.kept.clear();
            self.skips = true;
        }
    }

    /// The body has ended: so has its last line.
    pub fn end(self, mut found: impl FnMut(Piece<'_>)) {
        if self.is_array == Some(true) {
            return self.array.end(&mut found);
        }
        one(&self.kept, &mut found);
    }
}

fn one(line: &[u8], found: &mut impl FnMut(Piece<'_>)) {
    let line = line.trim_ascii();
    if line.len() > LONGEST_LINE {
        found(Piece::TooLong(&line[..LONGEST_LINE]));
    } else if line.first() == Some(&b'[') {
        let mut array = Array::default();
        array.feed(line, found);
        array.end(found);
    } else if !line.is_empty() {
        found(Piece::Line(line));
    }
}

/// Finds the objects of an array. What lies between them is not looked at.
#[derive(Default)]
struct Array {
    kept: Vec<u8>,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    is_too_long: bool,
}

impl Array {
    fn feed(&mut self, bytes: &[u8], found: &mut impl FnMut(Piece<'_>)) {
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_string => self.is_escaped = true,
                b'"' if self.depth > 0 => self.in_string = !self.in_string,
                b'{' if !self.in_string => {
                    if self.depth == 0 {
                        from = at;
                    }
                    self.depth += 1;
                }
                b'}' if !self.in_string && self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.keep(&bytes[from..=at], found);
                        if !std::mem::take(&mut self.is_too_long) {
                            found(Piece::Line(&self.kept));
                        }
                        self.kept.clear();
                    }
                }
                _ => {}
            }
        }
        if self.depth > 0 {
            self.keep(&bytes[from..], found);
        }
    }

    fn keep(&mut self, bytes: &[u8], found: &mut impl FnMut(Piece<'_>)) {
        if self.is_too_long {
            return;
        }
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > LONGEST_LINE {
            self.is_too_long = true;
            found(Piece::TooLong(&self.kept[..LONGEST_LINE]));
            self.kept.clear();
        }
    }

    fn end(self, found: &mut impl FnMut(Piece<'_>)) {
        if self.depth > 0 && !self.is_too_long {
            found(Piece::Line(&self.kept));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a body that comes in pieces of this length.
    fn split(body: &str, length: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Line(line) => lines.push(String::from_utf8(line.to_vec()).unwrap()),
            Piece::TooLong(_) => lines.push("too long".into()),
        };
        let mut splitter = Splitter::default();
        body.as_bytes().chunks(length).for_each(|piece| splitter.feed(piece, &mut take));
        splitter.end(take);
        lines
    }

    #[test]
    fn lines_are_found_wherever_the_body_is_cut() {
        let bodies: [(&str, &[&str]); 5] = [
            ("{\"a\":1}\r\n\n{\"b\":2}\n{\"c\"", &["{\"a\":1}", "{\"b\":2}", "{\"c\""]),
            ("[{\"a\":\"}{\\\"\"},\n{\"b\":{\"c\":[{}]}}]\n", &["{\"a\":\"}{\\\"\"}", "{\"b\":{\"c\":[{}]}}"]),
            ("{\"a\":1}\n[{\"b\":2},{\"c\":3}]\n", &["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]),
            ("[{\"a\":1},{\"b\":", &["{\"a\":1}", "{\"b\":"]),
            (" \n", &[]),
        ];
        for (body, lines) in bodies {
            for length in 1..=body.len() {
                assert_eq!(split(body, length), lines, "{body} in pieces of {length}");
            }
        }
    }

    #[test]
    fn a_line_that_never_ends_takes_no_memory_and_the_next_one_is_read() {
        let long = "x".repeat(LONGEST_LINE * 3);
        for length in [1000, LONGEST_LINE * 4] {
            assert_eq!(split(&format!("{long}\n{{\"a\":1}}\n"), length), ["too long", "{\"a\":1}"]);
            assert_eq!(split(&format!("[{{\"a\":\"{long}\"}},{{\"a\":1}}]"), length), ["too long", "{\"a\":1}"]);
        }
    }
}
