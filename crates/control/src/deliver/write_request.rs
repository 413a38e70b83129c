//! A request of Prometheus' remote write, protocol 1.0: protobuf, compressed as one block by snappy. Of its messages only
//! what is sent is written here: a series is labels, sorted by name, and samples, in order of time.

/// A series with its samples: milliseconds since the epoch, and a value.
pub(super) struct Series {
    pub labels: Vec<(&'static str, String)>,
    pub samples: Vec<(i64, f64)>,
}

/// The body of a request.
///
/// # Errors
/// Where it is longer than snappy's 4 GiB.
pub(super) fn encode(all: &[Series]) -> Result<Vec<u8>, snap::Error> {
    let mut request = Vec::new();
    for series in all {
        let mut message = Vec::new();
        for (name, value) in &series.labels {
            let mut label = Vec::new();
            bytes(&mut label, 1, name.as_bytes());
            bytes(&mut label, 2, value.as_bytes());
            bytes(&mut message, 1, &label);
        }
        for (at, value) in &series.samples {
            let mut sample = vec![1 << 3 | 1];
            sample.extend(value.to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, *at as u64);
            bytes(&mut message, 2, &sample);
        }
        bytes(&mut request, 1, &message);
    }
    snap::raw::Encoder::new().compress_vec(&request)
}

/// A field that has a length.
fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend(content);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_protobuf_says() {
        let series = Series { labels: vec![("a", "b".into())], samples: vec![(300, 1.0)] };
        let request = snap::raw::Decoder::new().decompress_vec(&encode(&[series]).unwrap()).unwrap();
        let sample = [0x12, 12, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0xac, 0x02];
        assert_eq!(request, [&[0x0a, 22, 0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'b'][..], &sample].concat());
    }
}
