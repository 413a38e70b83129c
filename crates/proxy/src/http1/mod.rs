//! HTTP/1.0 and 1.1 (RFC 9112), strict where two servers could read one text in two ways.

pub(crate) mod body;
pub(crate) mod head;
