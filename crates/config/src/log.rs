//! `[log]`: the access log.

use crate::policy::{AccessLog, Log, LogFormat};
use crate::reader::{At, Table};
use crate::source::Mistake;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::path::{Path, PathBuf};

/// Reads `[log]`, and the share of pulls that get a line where their rule names none.
pub(crate) fn read(table: Table<'_>) -> (Log, f64) {
    let access = table.string("access", "\"stdout\"");
    let access = match access.as_ref().map(|text| text.value.as_str()) {
        None | Some("stdout") => AccessLog::Stdout,
        Some("off") => AccessLog::Off,
        Some(path) => {
            if let Some(mistake) = access.as_ref().and_then(find_mistake) {
                table.mistake(mistake);
            }
            AccessLog::File(PathBuf::from(path))
        }
    };
    let formats = [("combined", LogFormat::Combined), ("json", LogFormat::Json)];
    let log = Log { access, format: table.one_of("format", &formats).unwrap_or(LogFormat::Combined) };
    let sample = table.share("sample").unwrap_or(1.0);
    table.done();
    (log, sample)
}

/// Looks at the file without touching it. What only another user may write is a warning: `check` may run as somebody else than
/// `serve` will, and pulls are served without their log too.
fn find_mistake(written: &At<String>) -> Option<Mistake> {
    /// What people write who mean `off` or `stdout`, and would get a file of that name.
    const WORDS: [&str; 9] = ["", "none", "no", "false", "null", "stderr", "-", "syslog", "true"];
    let path = Path::new(&written.value);
    let lower = written.value.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) || lower == "off" || lower == "stdout" {
        return Some(Mistake::at(
            &written.place,
            format!("the access log cannot go to \"{}\"", written.value),
            "write \"stdout\", \"off\" or the path of a file",
        ));
    }
    if path.is_dir() {
        return Some(Mistake::at(
            &written.place,
            format!("{} is a folder", path.display()),
            "name a file in it, for example with /access.log at the end",
        ));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Some(Mistake::at(
            &written.place,
            format!("there is no folder {}", folder.display()),
            "make it, or write \"stdout\" or \"off\"",
        ));
    }
    let (place, wanted, what) = if path.exists() {
        (path, Access::WRITE_OK, "be opened for appending")
    } else {
        (folder, Access::WRITE_OK | Access::EXEC_OK, "be made")
    };
    accessat(CWD, place, wanted, AtFlags::EACCESS).err().map(|error| {
        Mistake::warning(
            &written.place,
            format!("{} cannot {what} by the user who checks this: {error}", path.display()),
            "let the user that Headwater runs as write it, else every line is dropped and counted",
        )
    })
}
