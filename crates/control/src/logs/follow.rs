//! One log, followed through rotation, truncation and restarts: every line once.

use super::place::{self, Candidate, HEAD, Position, Source};
use memchr::{memchr, memrchr};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A longer line is no line: servers bound what they take of a request.
pub(super) const LONGEST: usize = 64 << 10;
const CHUNK: usize = 256 << 10;
/// Servers write to a log that has been renamed for as long as an old worker lives. A former log that nobody has written to
/// for so many seconds is let go.
const LINGER: i64 = 600;
/// Former files that are remembered after that.
const MOST_DONE: usize = 32;

/// What becomes of one who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There may be more at once.
    More,
    /// All that is there has been read.
    Ended,
    /// It has been cut, and begins anew.
    Cut,
}

struct Tail {
    path: PathBuf,
    device: u64,
    inode: u64,
    source: Source,
    head: Vec<u8>,
    offset: u64,
    skipping: bool,
}

/// A log and those of its former files that are not let go yet.
pub(crate) struct Follower {
    path: PathBuf,
    /// Oldest first.
    tails: Vec<Tail>,
    /// Those that were let go last, so that none is taken for a new one.
    done: Vec<Position>,
    at: i64,
    /// Something differs from what was written last.
    dirty: bool,
    buffer: Vec<u8>,
}

/// How a log was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is read on from where it was left.
    Known,
    /// It was never read before.
    New,
    /// There is no such file yet.
    Missing,
}

impl Follower {
    /// Finds the log, and where it was left, if `state` says so. One that was never read is read from its end, or from its
    /// beginning.
    ///
    /// # Errors
    /// What the system says of the file.
    pub fn open(path: &Path, state: Option<&str>, from_start: bool, now: i64) -> io::Result<(Self, Found)> {
        let path = std::path::absolute(path)?;
        let mut follower =
            Self { path, tails: Vec::new(), done: Vec::new(), at: now, dirty: true, buffer: vec![0; CHUNK] };
        let state: Option<Value> = state.and_then(|state| serde_json::from_str(state).ok());
        let positions = state.as_ref().and_then(|state| state["positions"].as_array());
        if let Some(positions) = positions {
            let read = |all: &Vec<Value>| all.iter().filter_map(Position::from_json).collect();
            follower.done = state.as_ref().and_then(|state| state["done"].as_array()).map(read).unwrap_or_default();
            let positions: Vec<Position> = read(positions);
            let was_empty = positions.last().is_some_and(|newest| newest.head == 0);
            follower.find(&positions, was_empty)?;
            return Ok((follower, Found::Known));
        }
        let live = match fs::metadata(&follower.path) {
            Ok(data) if !data.is_file() => return Err(io::Error::other("it is no file")),
            Ok(_) => place::candidates(&follower.path)?.pop(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(live) = live else { return Ok((follower, Found::Missing)) };
        let mut tail = Tail::open(&live, 0)?;
        if !from_start {
            tail.offset = tail.last_line_end(&mut follower.buffer)?;
        }
        follower.tails.push(tail);
        Ok((follower, Found::New))
    }

    /// The name of its checkpoint.
    pub fn name(&self) -> String {
        format!("logs:{}", self.path.display())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far it is read, to be written with what was counted; `None` where that has not changed.
    pub fn checkpoint(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let positions: Vec<Value> = self.tails.iter().map(|tail| tail.position(self.at).to_json()).collect();
        let done: Vec<Value> = self.done.iter().map(Position::to_json).collect();
        Some(json!({ "positions": positions, "done": done }).to_string())
    }

    /// Gives lines to `take`, at most about `budget` bytes of them, without their ends; one that is too long is given as
    /// `None`. Returns whether all that is there has been read.
    ///
    /// # Errors
    /// What the system says of the files. What has been given before counts.
    pub fn read(&mut self, now: i64, budget: u64, mut take: impl FnMut(Option<&[u8]>)) -> io::Result<bool> {
        let before = std::mem::replace(&mut self.at, now);
        let mut left = budget;
        let mut is_cut = false;
        let was_empty = self.tails.last().is_some_and(|live| live.head.is_empty());
        for index in 0..self.tails.len() {
            loop {
                let start = self.tails[index].offset;
                let state = self.tails[index].read(&mut self.buffer, &mut take)?;
                let gained = self.tails[index].offset.saturating_sub(start);
                self.dirty |= gained > 0;
                left = left.saturating_sub(gained);
                match state {
                    State::More if left == 0 && !was_empty => return Ok(false),
                    State::More => {}
                    State::Ended => break,
                    State::Cut => {
                        is_cut = true;
                        break;
                    }
                }
            }
        }
        let is_renamed = match fs::metadata(&self.path) {
            Ok(data) => self.tails.last().is_none_or(|live| (live.device, live.inode) != (data.dev(), data.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        // One that was seen empty may have been filled, copied and cut since, and be empty again.
        if is_cut || is_renamed || was_empty {
            let positions: Vec<Position> = self.tails.iter().map(|tail| tail.position(before)).collect();
            let is_empty = self.tails.last().is_some_and(|live| live.head.is_empty());
            let count = self.tails.len();
            self.find(&positions, was_empty)?;
            if is_cut || is_renamed || !is_empty || self.tails.len() != count {
                self.dirty = true;
                return Ok(false);
            }
        }
        self.let_go(now, &mut take)?;
        Ok(true)
    }

    /// Finds the files again that positions speak of, and those that are newer. `was_empty` says that the newest had nothing
    /// in it when it was last looked at. Where that fails nothing has changed.
    fn find(&mut self, positions: &[Position], was_empty: bool) -> io::Result<()> {
        for _ in 0..20 {
            if self.try_to_find(positions, was_empty)? {
                return Ok(());
            }
        }
        Err(io::Error::other("it is being rotated all the time"))
    }

    /// False where names went to other files meanwhile.
    fn try_to_find(&mut self, positions: &[Position], was_empty: bool) -> io::Result<bool> {
        let candidates = place::candidates(&self.path)?;
        let is_done = |candidate: &Candidate| {
            candidate.path != self.path && self.done.iter().any(|done| place::begins_as(candidate, done))
        };
        // An open file stays ours though it has no name any more.
        let open = |position: &Position| {
            let is_it = |tail: &Tail| (tail.device, tail.inode) == (position.device, position.inode);
            self.tails.iter().position(|tail| is_it(tail) && tail.still_begins_so())
        };
        let found = place::find(&candidates, positions, |position| open(position).is_some(), is_done);
        let mut held: Vec<usize> = Vec::new();
        let mut opened: Vec<Tail> = Vec::new();
        let mut gone: Vec<u64> = Vec::new();
        for (position, index) in positions.iter().zip(&found) {
            let (open, index) = (open(position), *index);
            // Rewritten under its name, as `sed -i` does: the new file takes the place of the old one.
            let is_rewritten = index.is_some_and(|index| {
                let found = &candidates[index];
                found.path == self.path && (found.device, found.inode) != (position.device, position.inode)
            });
            match (open.filter(|_| !is_rewritten), index) {
                (Some(open), _) => held.push(open),
                (None, Some(index)) => {
                    let Some(mut tail) = Tail::open_if_there(&candidates[index], position.offset)? else {
                        return Ok(false);
                    };
                    tail.skipping = position.skipping;
                    if !position.is_of(&tail.head) {
                        return Ok(false);
                    }
                    opened.push(tail);
                }
                (None, None) => gone.push(position.offset),
            }
        }
        let known: Vec<usize> = found.into_iter().flatten().collect();
        for index in place::newer(&candidates, &self.path, positions.last(), was_empty, &known) {
            if is_done(&candidates[index]) {
                continue;
            }
            let Some(tail) = Tail::open_if_there(&candidates[index], 0)? else { return Ok(false) };
            opened.push(tail);
        }
        // A file whose name changed while names were looked at may have been overlooked.
        if place::candidates(&self.path)?.iter().ne(&candidates) {
            return Ok(false);
        }
        for byte in gone.into_iter().filter(|byte| *byte > 0) {
            let log = self.path.display();
            tracing::warn!(%log, byte, "what was read up to this byte is gone; if it had more, that is lost");
        }
        let mut index = 0;
        self.tails.retain(|_| {
            index += 1;
            held.contains(&(index - 1))
        });
        self.tails.extend(opened);
        // The newest is last, and only the newest may be the log itself.
        let order = |tail: &Tail| candidates.iter().position(|c| (c.device, c.inode) == (tail.device, tail.inode));
        self.tails.sort_by_key(order);
        Ok(true)
    }

    /// Former files that have ended.
    fn let_go(&mut self, now: i64, take: &mut impl FnMut(Option<&[u8]>)) -> io::Result<()> {
        let mut index = 0;
        while index + 1 < self.tails.len() {
            if self.tails[index].is_over(now)? {
                let mut tail = self.tails.remove(index);
                // Nobody will end its last line.
                tail.read_rest(&mut self.buffer, take)?;
                self.done.push(tail.position(self.at));
                self.done.drain(..self.done.len().saturating_sub(MOST_DONE));
                self.dirty = true;
            } else {
                index += 1;
            }
        }
        Ok(())
    }
}

impl Tail {
    fn open(candidate: &Candidate, offset: u64) -> io::Result<Self> {
        let (source, head) = place::open(&candidate.path, offset)?;
        let (device, inode) = match &source {
            // The name may have gone to another file since it was looked at.
            Source::Plain(file) => file.metadata().map(|data| (data.dev(), data.ino()))?,
            Source::Packed(..) => (candidate.device, candidate.inode),
        };
        Ok(Self { path: candidate.path.clone(), device, inode, source, head, offset, skipping: false })
    }

    /// `None` where the name has gone to another file since it was looked at.
    fn open_if_there(candidate: &Candidate, offset: u64) -> io::Result<Option<Self>> {
        match Self::open(candidate, offset) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            tail => Ok(Some(tail?).filter(|tail| (tail.device, tail.inode) == (candidate.device, candidate.inode))),
        }
    }

    fn position(&self, at: i64) -> Position {
        let (head, hash) = (self.head.len(), place::hash(&self.head));
        let Self { device, inode, offset, skipping, .. } = *self;
        Position { device, inode, head, hash, offset, at, skipping }
    }

    /// Whether the file still begins as it did; one that was cut does not.
    fn still_begins_so(&self) -> bool {
        let Source::Plain(file) = &self.source else { return true };
        let mut now = vec![0; self.head.len()];
        place::read_at(file, &mut now, 0).is_ok_and(|length| length == self.head.len()) && now == self.head
    }

    /// Where the last whole line ends.
    fn last_line_end(&self, buffer: &mut [u8]) -> io::Result<u64> {
        let Source::Plain(file) = &self.source else { return Ok(self.offset) };
        let length = file.metadata()?.len();
        let from = length.saturating_sub(LONGEST as u64);
        let read = place::read_at(file, &mut buffer[..LONGEST], from)?;
        Ok(memrchr(b'\n', &buffer[..read]).map_or(from, |end| from + end as u64 + 1))
    }

    /// Reads a piece, and gives its whole lines away.
    fn read(&mut self, buffer: &mut [u8], take: &mut impl FnMut(Option<&[u8]>)) -> io::Result<State> {
        let length = match &mut self.source {
            Source::Plain(file) => {
                let length = place::read_at(file, buffer, self.offset)?;
                if length == 0 && file.metadata()?.len() < self.offset {
                    if self.still_begins_so() {
                        self.offset = self.last_line_end(buffer)?;
                        return Ok(State::More);
                    }
                    return Ok(State::Cut);
                }
                // Looked at after reading: what was read before is of the old file.
                if !self.still_begins_so() {
                    return Ok(State::Cut);
                }
                length
            }
            Source::Packed(content, ahead) => {
                let length = fill(content, ahead, &self.path)?;
                buffer[..length].copy_from_slice(ahead);
                length
            }
        };
        if self.head.len() < HEAD && self.offset <= self.head.len() as u64 {
            let known = self.head.len() - self.offset as usize;
            let more = &buffer[known.min(length)..length];
            self.head.extend_from_slice(&more[..more.len().min(HEAD - self.head.len())]);
        }
        let mut used = self.give(&buffer[..length], take);
        if matches!(self.source, Source::Packed(..)) && length < buffer.len() && used < length {
            // Nobody will end its last line.
            give_line(&buffer[used..length], take);
            used = length;
        }
        self.offset += used as u64;
        if let Source::Packed(_, ahead) = &mut self.source {
            ahead.drain(..used);
        }
        Ok(if used == 0 || length < buffer.len() { State::Ended } else { State::More })
    }

    /// Gives whole lines away; returns how many bytes are done with.
    fn give(&mut self, chunk: &[u8], take: &mut impl FnMut(Option<&[u8]>)) -> usize {
        let mut used = 0;
        while let Some(end) = memchr(b'\n', &chunk[used..]) {
            let line = &chunk[used..used + end];
            used += end + 1;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            give_line(line, take);
        }
        // Nothing but zeros: where a log was cut under a server that does not append, a hole stands before its next line.
        if chunk[used..].iter().all(|byte| *byte == 0) {
            return chunk.len();
        }
        if chunk.len() - used > LONGEST {
            if !std::mem::replace(&mut self.skipping, true) {
                take(None);
            }
            return chunk.len();
        }
        used
    }

    /// What stands after the last line's end.
    fn read_rest(&mut self, buffer: &mut [u8], take: &mut impl FnMut(Option<&[u8]>)) -> io::Result<()> {
        let Source::Plain(file) = &self.source else { return Ok(()) };
        let length = place::read_at(file, &mut buffer[..LONGEST], self.offset)?;
        if !self.skipping {
            give_line(&buffer[..length], take);
        }
        Ok(())
    }

    /// Whether nobody will write to it any more.
    fn is_over(&self, now: i64) -> io::Result<bool> {
        match &self.source {
            Source::Packed(..) => Ok(true),
            Source::Plain(file) => Ok(now - file.metadata()?.mtime() > LINGER),
        }
    }
}

fn give_line(line: &[u8], take: &mut impl FnMut(Option<&[u8]>)) {
    let line = &line[line.iter().position(|byte| *byte != 0).unwrap_or(line.len())..];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > LONGEST {
        take(None);
    } else if !line.is_empty() {
        take(Some(line));
    }
}

/// Fills up what is read ahead of a compressed file. What is broken ends there.
fn fill(content: &mut Box<dyn Read + Send>, ahead: &mut Vec<u8>, path: &Path) -> io::Result<usize> {
    let wanted = (CHUNK - ahead.len()) as u64;
    match content.by_ref().take(wanted).read_to_end(ahead) {
        Ok(_) => Ok(ahead.len()),
        Err(error) => {
            let file = path.display();
            tracing::warn!(%file, %error, "the rest of a compressed log cannot be read");
            *content = Box::new(io::empty());
            Ok(ahead.len())
        }
    }
}
