//! Chunked bodies: however the bytes arrive, they say the same.

use headwater_proxy::micro::read_chunks;

fn main() {
    afl::fuzz!(|bytes: &[u8]| {
        let whole = read_chunks(bytes, bytes.len());
        for piece in [1, 2, 3, 7] {
            assert_eq!(read_chunks(bytes, piece), whole, "in pieces of {piece}");
        }
    });
}
