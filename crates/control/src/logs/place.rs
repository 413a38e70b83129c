//! Which file is which: a log is known by its inode and by its beginning, whatever rotation has made of its name.

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// So many bytes of a file's beginning tell it from every other: a line begins with an address and a time.
pub(super) const HEAD: usize = 1024;

/// How far a file has been read, as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub device: u64,
    pub inode: u64,
    /// Bytes of the beginning that `hash` is of.
    pub head: usize,
    pub hash: u64,
    /// Bytes that are counted; of a compressed file, of its content.
    pub offset: u64,
    /// What is not read yet was written after this, in seconds since the epoch.
    pub at: i64,
    /// The rest of the line is skipped, as it is too long.
    pub skipping: bool,
}

impl Position {
    pub fn to_json(&self) -> Value {
        json!({
            "device": self.device, "inode": self.inode, "head": self.head, "hash": self.hash, "offset": self.offset,
            "at": self.at, "skipping": self.skipping,
        })
    }

    pub fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            device: value["device"].as_u64()?,
            inode: value["inode"].as_u64()?,
            head: value["head"].as_u64()? as usize,
            hash: value["hash"].as_u64()?,
            offset: value["offset"].as_u64()?,
            at: value["at"].as_i64()?,
            skipping: value["skipping"].as_bool()?,
        })
    }
}

impl Position {
    /// Whether a file that begins like this may be the one.
    pub fn is_of(&self, head: &[u8]) -> bool {
        head.get(..self.head).is_some_and(|head| hash(head) == self.hash)
    }
}

/// FNV-1a, as it is stored and has to be the same in every version.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A file that may be the log, or a former one of it.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
    /// When it was last written to, in seconds since the epoch.
    pub modified: i64,
}

impl PartialEq for Candidate {
    /// The same file under the same name, whoever has written to it since.
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.device, self.inode) == (&other.path, other.device, other.inode)
    }
}

/// The log and what rotation has left of it, oldest first, the log itself last if it is there.
///
/// # Errors
/// Where the log or its folder cannot be looked at. That there is no such file is no error.
pub(super) fn candidates(path: &Path) -> io::Result<Vec<Candidate>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut former = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(end) = file.strip_prefix(&name).and_then(|end| end.strip_prefix(['.', '-'])) else { continue };
        let plain = end.strip_suffix(".gz").unwrap_or(end);
        // What is being compressed is there twice, and whole only in its old form.
        let is_half = plain != end && folder.join(file.trim_end_matches(".gz")).exists();
        let is_rotated = plain.bytes().next().is_some_and(|b| b.is_ascii_digit());
        if is_rotated && !is_half && entry.file_type()?.is_file() {
            former.push((plain.to_string(), candidate(entry.path())));
        }
    }
    let mut former: Vec<(String, Candidate)> =
        former.into_iter().filter_map(|(end, candidate)| Some((end, candidate.ok()?))).collect();
    let number = |end: &str| end.parse::<u32>().ok().filter(|_| end.len() <= 5);
    let numbered = former.iter().filter(|(end, _)| number(end).is_some()).count();
    if numbered == former.len() {
        former.sort_by_key(|(end, _)| std::cmp::Reverse(number(end)));
    } else if numbered == 0 {
        former.sort_by(|(a, _), (b, _)| a.cmp(b));
    } else {
        former.sort_by_key(|(_, candidate)| candidate.modified);
    }
    let mut all: Vec<Candidate> = former.into_iter().map(|(_, candidate)| candidate).collect();
    match candidate(path.into()) {
        Ok(live) => all.push(live),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(all)
}

fn candidate(path: PathBuf) -> io::Result<Candidate> {
    let data = fs::metadata(&path)?;
    Ok(Candidate { device: data.dev(), inode: data.ino(), modified: data.mtime(), path })
}

/// The files that were never read: of those that no position speaks of, what is newer than the newest position's file.
/// Where that is gone, what was written since it was read.
pub(super) fn newer(
    candidates: &[Candidate],
    path: &Path,
    newest: Option<&Position>,
    was_empty: bool,
    known: &[usize],
) -> Vec<usize> {
    let after = known.iter().max();
    let is_new = |index: &usize| {
        let candidate = &candidates[*index];
        let since = newest.is_some_and(|newest| candidate.modified >= newest.at);
        match after {
            Some(after) if index > after => true,
            // Of a file that was empty nothing tells what it had in it before it was cut again.
            Some(_) => since && was_empty,
            None => since || candidate.path == path,
        }
    };
    (0..candidates.len()).filter(|index| !known.contains(index)).filter(is_new).collect()
}

/// The files that positions speak of, which stand oldest first: of each the same inode and beginning, or a copy with the
/// same beginning.
///
/// An empty file is known by its inode alone, which goes to another file once it is deleted. Unless it is still open, a
/// file that begins like one of the others or a former one is not it, nor is one that is newer than those that came after it.
pub(super) fn find(
    candidates: &[Candidate],
    positions: &[Position],
    is_open: impl Fn(&Position) -> bool,
    is_done: impl Fn(&Candidate) -> bool,
) -> Vec<Option<usize>> {
    let mut found = vec![None; positions.len()];
    for (place, position) in positions.iter().enumerate().filter(|(_, position)| position.head > 0) {
        found[place] = find_among(candidates, position, &found);
    }
    let is_other = |c: &Candidate| is_done(c) || positions.iter().any(|other| begins_as(c, other));
    for (place, position) in positions.iter().enumerate().filter(|(_, position)| position.head == 0) {
        let is_older = |index: usize| {
            let later = place + 1..positions.len();
            later.clone().all(|later| positions[later].head == 0)
                || later.filter_map(|later| found[later]).any(|later| index < later)
        };
        let may_be = |index: &usize| is_open(position) || is_older(*index) && !is_other(&candidates[*index]);
        found[place] = find_among(candidates, position, &found).filter(may_be);
    }
    found
}

fn find_among(candidates: &[Candidate], position: &Position, taken: &[Option<usize>]) -> Option<usize> {
    let begins_so = |candidate: &Candidate| head(&candidate.path).is_ok_and(|head| position.is_of(&head));
    let is_same = |c: &Candidate| (c.device, c.inode) == (position.device, position.inode);
    let free = |index: &usize| !taken.contains(&Some(*index));
    let same = (0..candidates.len()).filter(free).find(|i| is_same(&candidates[*i]) && begins_so(&candidates[*i]));
    // The newest copy: a log that begins like its former one was copied last.
    let copy =
        || (0..candidates.len()).rev().filter(free).find(|i| !is_same(&candidates[*i]) && begins_so(&candidates[*i]));
    same.or_else(|| if position.head > 0 { copy() } else { None })
}

/// Whether a file begins like the one that a position speaks of, which was not empty.
pub(super) fn begins_as(candidate: &Candidate, position: &Position) -> bool {
    position.head > 0 && head(&candidate.path).is_ok_and(|head| position.is_of(&head))
}

/// An open file.
pub(super) enum Source {
    Plain(File),
    /// What is left of a compressed one, and bytes of it that were read ahead.
    Packed(Box<dyn Read + Send>, Vec<u8>),
}

/// Opens a file and reads its beginning. `offset` bytes of its content are passed over.
pub(super) fn open(path: &Path, offset: u64) -> io::Result<(Source, Vec<u8>)> {
    let file = File::open(path)?;
    if !is_packed(&file)? {
        let mut head = vec![0; HEAD];
        let length = read_at(&file, &mut head, 0)?;
        head.truncate(length);
        return Ok((Source::Plain(file), head));
    }
    let head = unpacked_head(&file)?;
    let mut content = MultiGzDecoder::new(io::BufReader::with_capacity(64 << 10, File::open(path)?));
    io::copy(&mut content.by_ref().take(offset), &mut io::sink())?;
    Ok((Source::Packed(Box::new(content), Vec::new()), head))
}

/// The first bytes of a file's content.
pub(super) fn head(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if is_packed(&file)? {
        return unpacked_head(&file);
    }
    let mut head = vec![0; HEAD];
    let length = read_at(&file, &mut head, 0)?;
    head.truncate(length);
    Ok(head)
}

fn unpacked_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    MultiGzDecoder::new(file.try_clone()?).take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// By its first bytes (RFC 1952, section 2.3.1), not by its name.
fn is_packed(file: &File) -> io::Result<bool> {
    let mut magic = [0; 3];
    Ok(read_at(file, &mut magic, 0)? == 3 && magic == [0x1f, 0x8b, 8])
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
