//! The corpus: its file, read.

/// What is to become of a case, as the file says it: a second opinion beside the oracle's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Serve(usize),
    Close(usize),
    Refuse { status: u16, after: usize },
    RefuseBody(u16),
    Wait,
}

#[derive(Clone, Debug)]
pub struct Case {
    /// `section: name`
    pub name: String,
    pub fate: Fate,
    pub bytes: Vec<u8>,
}

pub fn all() -> Vec<Case> {
    let (mut section, mut cases) = ("", Vec::<Case>::new());
    for line in include_str!("requests.txt").lines() {
        if let Some(name) = line.strip_prefix("== ") {
            section = name;
        } else if let Some(title) = line.strip_prefix("-- ") {
            let (name, fate) = title.rsplit_once(": ").unwrap_or_else(|| panic!("{title} has no fate"));
            let fate = read_fate(fate).unwrap_or_else(|| panic!("{title}: this fate is not known"));
            cases.push(Case { name: format!("{section}: {name}"), fate, bytes: Vec::new() });
        } else if let Some(case) = cases.last_mut() {
            unescape(line, &mut case.bytes);
        }
    }
    cases
}

fn read_fate(text: &str) -> Option<Fate> {
    let words: Vec<&str> = text.split(' ').collect();
    Some(match words[..] {
        ["serve", count] => Fate::Serve(count.parse().ok()?),
        ["close", count] => Fate::Close(count.parse().ok()?),
        ["body", status] => Fate::RefuseBody(status.parse().ok()?),
        ["wait"] => Fate::Wait,
        [status] => Fate::Refuse { status: status.parse().ok()?, after: 0 },
        [status, "after", count] => Fate::Refuse { status: status.parse().ok()?, after: count.parse().ok()? },
        _ => return None,
    })
}

fn unescape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let code = &rest[at + 1..];
        rest = &code[1..];
        match code.as_bytes()[0] {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'0' => out.push(0),
            b'\\' => out.push(b'\\'),
            b'x' => {
                out.push(u8::from_str_radix(&code[1..3], 16).unwrap());
                rest = &code[3..];
            }
            b'{' => {
                let (inner, after) = rest.split_once('}').expect("a repetition ends");
                let (count, what) = inner.split_once(':').expect("a repetition has a count");
                let mut once = Vec::new();
                unescape(what, &mut once);
                out.extend(once.repeat(count.parse().unwrap()));
                rest = after;
            }
            other => panic!("\\{} is no escape: {text}", other as char),
        }
    }
    out.extend_from_slice(rest.as_bytes());
}
