//! PROXY headers: any bytes are a header or are refused.

use headwater_proxy::micro::read_proxy_header;

fn main() {
    afl::fuzz!(|bytes: &[u8]| {
        read_proxy_header(bytes);
    });
}
