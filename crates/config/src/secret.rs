//! Secrets: written in place, or named by `env:NAME` or `file:PATH`, and never shown.

use crate::reader::{At, Mistakes};
use crate::source::{Mistake, Place};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A secret's bytes. Neither `Debug` nor any log shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes, for comparing and signing.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Fetches the secret that a setting names.
pub(crate) fn resolve(written: &At<String>, what: &str, mistakes: &Mistakes) -> Option<Secret> {
    if let Some(path) = written.value.strip_prefix("file:") {
        mistakes.borrow_mut().extend(exposed(Path::new(path), &written.place));
    }
    fetch(written, what).map_err(|mistake| mistakes.borrow_mut().push(mistake)).ok()
}

/// Fetches a whole file, or a variable, that is secret and no header's value: a key in JSON.
pub(crate) fn document(written: &At<String>, what: &str, mistakes: &Mistakes) -> Option<Secret> {
    if let Some(path) = written.value.strip_prefix("file:") {
        mistakes.borrow_mut().extend(exposed(Path::new(path), &written.place));
    }
    let text = named(written, what).map_err(|mistake| mistakes.borrow_mut().push(mistake)).ok()?;
    Some(Secret(text.into_bytes()))
}

/// A warning if everybody on this machine can read a file that is for Headwater alone.
pub(crate) fn exposed(path: &Path, place: &Place) -> Option<Mistake> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| {
        Mistake::warning(
            place,
            format!("everybody on this machine can read {}", path.display()),
            format!(
                "chmod o-rwx {}, and make the user that Headwater runs as its owner or of its group",
                path.display()
            ),
        )
    })
}

/// What `env:` or `file:` names, or what stands there itself.
fn named(written: &At<String>, what: &str) -> Result<String, Mistake> {
    if let Some(name) = written.value.strip_prefix("env:") {
        std::env::var(name).map_err(|_| {
            Mistake::at(
                &written.place,
                format!("the variable {name}, which holds {what}, is not set"),
                format!("set {name} in the environment that Headwater starts in, or name a file with \"file:PATH\""),
            )
        })
    } else if let Some(path) = written.value.strip_prefix("file:") {
        std::fs::read_to_string(path).map_err(|error| {
            Mistake::at(
                &written.place,
                format!("cannot read the file that holds {what}: {error}"),
                "the path stands after \"file:\", and the file is readable by the user that Headwater runs as",
            )
        })
    } else {
        Ok(written.value.clone())
    }
}

fn fetch(written: &At<String>, what: &str) -> Result<Secret, Mistake> {
    let text = named(written, what)?;
    // An editor ends a file with a line break that is no part of the secret.
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Mistake::at(&written.place, format!("{what} is empty"), "write at least one character"));
    }
    if !text.bytes().all(|b| matches!(b, 0x21..=0x7e)) {
        return Err(Mistake::at(
            &written.place,
            format!("{what} has a character that a header cannot carry safely"),
            "use printable ASCII without spaces, for example the output of `openssl rand -hex 32`",
        ));
    }
    Ok(Secret(text.as_bytes().to_vec()))
}
