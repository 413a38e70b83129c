//! Header fields: one text and a list of ranges in it, so that a head costs two allocations however many fields it has.

/// A range of bytes in a head's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// The range that `part` takes up in `text`, of which it must be a subslice.
    pub fn of(part: &[u8], text: &[u8]) -> Self {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        Self { start: start as u32, length: part.len() as u32 }
    }

    fn of_range(start: usize, end: usize) -> Self {
        Self { start: start as u32, length: (end - start) as u32 }
    }

    fn within(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.start as usize + self.length as usize]
    }
}

/// Fields in the order in which they came, with their names as they were written. Names compare without case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    text: Vec<u8>,
    list: Vec<(Span, Span)>,
}

impl Fields {
    /// A head's text, with the ranges of its names and values.
    pub fn new(text: Vec<u8>, list: Vec<(Span, Span)>) -> Self {
        Self { text, list }
    }

    /// Some part of the text.
    pub fn span(&self, span: Span) -> &[u8] {
        span.within(&self.text)
    }

    /// The first value.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.list.iter().find(|(found, _)| self.is_named(*found, name));
        found.map(|(_, value)| value.within(&self.text))
    }

    fn is_named(&self, found: Span, name: &str) -> bool {
        found.length as usize == name.len() && found.within(&self.text).eq_ignore_ascii_case(name.as_bytes())
    }

    /// Every value, a line each.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.list
            .iter()
            .filter(move |(found, _)| self.is_named(*found, name))
            .map(|(_, value)| value.within(&self.text))
    }

    /// Whether there is such a field.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Bytes of the head's text.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// Every name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|(name, value)| (name.within(&self.text), value.within(&self.text)))
    }

    /// Adds a line. The value must be free of CR, LF and NUL: it is ours, or came through the parser.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.push_with(name, |text| text.extend_from_slice(value));
    }

    /// Adds a line whose value is written in place.
    pub fn push_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        self.text.extend_from_slice(name.as_bytes());
        let middle = self.text.len();
        write(&mut self.text);
        self.list.push((Span::of_range(start, middle), Span::of_range(middle, self.text.len())));
    }

    /// Replaces every line of that name by one.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.push(name, value);
    }

    /// Takes every line of that name out.
    pub fn remove(&mut self, name: &str) {
        self.retain(|found, _| !found.eq_ignore_ascii_case(name.as_bytes()));
    }

    /// Keeps the lines for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let text = &self.text;
        self.list.retain(|(name, value)| keep(name.within(text), value.within(text)));
    }

    /// Writes the lines as HTTP/1 has them.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The members of a comma-separated list over all lines of that name (RFC 9110, section 5.6.1), without those that are empty.
    pub fn members<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(members)
    }

    /// Whether one of the members of a list is that word.
    pub fn has_member(&self, name: &str, word: &str) -> bool {
        self.members(name).any(|member| member.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// The members of one comma-separated value. Commas within quotes do not separate.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest?;
        let mut quoted = false;
        let mut escaped = false;
        let end = value.iter().position(|&b| {
            let ends = b == b',' && !quoted;
            match b {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            ends
        });
        rest = end.map(|end| &value[end + 1..]);
        Some(value[..end.unwrap_or(value.len())].trim_ascii())
    })
    .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_keep_their_own() {
        let mut fields = Fields::default();
        fields.push("X-One", b"1");
        fields.push("x-one", b"2");
        fields.set("Other", b"3");
        assert_eq!(fields.all("X-ONE").collect::<Vec<_>>(), [b"1", b"2"]);
        fields.remove("X-one");
        let mut out = Vec::new();
        fields.write_to(&mut out);
        assert_eq!(out, b"Other: 3\r\n");
    }

    #[test]
    fn a_list_runs_over_lines_and_past_quoted_commas() {
        let mut fields = Fields::default();
        fields.push("Vary", b"a,, \"x,\\\"y\" ,");
        fields.push("vary", b"b");
        assert_eq!(fields.members("Vary").collect::<Vec<_>>(), [&b"a"[..], b"\"x,\\\"y\"", b"b"]);
        assert!(fields.has_member("vary", "B"));
    }
}
