use super::*;
use proptest::prelude::*;

const NEXT: &[u8] = b"GET /next HTTP/1.1\r\n";

/// What a body held, and what was left for the next request.
type Read = (Vec<u8>, Vec<u8>);

/// Reads a body that arrives in pieces. `None`: it is not whole.
fn read(framing: Framing, pieces: &[&[u8]]) -> Result<Option<Read>, BadBody> {
    let (mut decoder, mut buffer, mut body) = (Decoder::new(framing), Buffer::default(), Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        buffer.push(piece);
        loop {
            match decoder.step(&mut buffer)? {
                Step::Data(count) => {
                    // Half of it first, as a slow client takes it.
                    let count = count.div_ceil(2);
                    body.extend_from_slice(&buffer.data()[..count]);
                    decoder.took(count, &mut buffer);
                }
                Step::More => break,
                Step::End => {
                    let mut rest = buffer.data().to_vec();
                    rest.extend(pieces[at + 1..].concat());
                    return Ok(Some((body, rest)));
                }
            }
        }
    }
    Ok(None)
}

fn chunked(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        write_chunk_size(chunk.len(), &mut out);
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Cuts a text where the marks, taken modulo its length, say.
fn cut<'t>(text: &'t [u8], marks: &[usize]) -> Vec<&'t [u8]> {
    let mut marks: Vec<usize> = marks.iter().map(|mark| mark % (text.len() + 1)).collect();
    marks.extend([0, text.len()]);
    marks.sort_unstable();
    marks.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn chunks_yield_what_was_put_into_them_however_they_arrive(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        marks in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let sent = [&chunked(&chunks)[..], NEXT].concat();
        let (body, rest) = read(Framing::Chunked, &cut(&sent, &marks)).unwrap().unwrap();
        prop_assert_eq!(body, chunks.concat());
        prop_assert_eq!(rest, NEXT);
    }

    #[test]
    fn a_length_is_kept_to_the_byte(
        body in prop::collection::vec(any::<u8>(), 0..500),
        marks in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let sent = [&body[..], NEXT].concat();
        let (read, rest) = read(Framing::Length(body.len() as u64), &cut(&sent, &marks)).unwrap().unwrap();
        prop_assert_eq!(read, body);
        prop_assert_eq!(rest, NEXT);
    }

    #[test]
    fn rubbish_is_refused_or_waited_for_and_read_in_one_way_only(
        sent in prop::collection::vec(prop_oneof![Just(b'0'), Just(b'3'), Just(b'\r'), Just(b'\n'), Just(b';'), any::<u8>()], 0..60),
        marks in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let whole = read(Framing::Chunked, &[&sent]);
        let pieces = read(Framing::Chunked, &cut(&sent, &marks));
        prop_assert_eq!(whole, pieces);
    }
}

#[test]
fn chunk_sizes_have_one_form() {
    for good in ["5\r\n", "00005\r\n", "5;x\r\n", "5 ; x=\"y\"\r\n", "5\t;x\r\n"] {
        assert_eq!(chunk_size(good.as_bytes()), Ok(Some((5, good.len()))), "{good:?}");
    }
    assert_eq!(chunk_size(b"aF\r\n"), Ok(Some((0xaf, 4))));
    for bad in [
        "\r\n",
        " 5\r\n",
        "+5\r\n",
        "-5\r\n",
        "0x5\r\n",
        "5 \r\n",
        "5 x\r\n",
        "5\n",
        "5\rx",
        "5\r\r\n",
        "5;\0\r\n",
        "5\r;x\r\n",
        "5\x0c;x\r\n",
        "g\r\n",
        "1000000000000000\r\n",
        "5;x\n",
    ] {
        assert_eq!(chunk_size(bad.as_bytes()), Err(BadBody), "{bad:?}");
    }
    for half in ["", "5", "5\r", "5;x"] {
        assert_eq!(chunk_size(half.as_bytes()), Ok(None), "{half:?}");
    }
    assert_eq!(chunk_size("5;".repeat(200).as_bytes()), Err(BadBody), "extensions without end");
}

#[test]
fn a_chunk_ends_where_it_says() {
    for bad in ["3\r\nabcd\r\n0\r\n\r\n", "3\r\nab\r\n0\r\n\r\n", "3\r\nabc0\r\n\r\n", "3\r\nabc\n0\r\n\r\n"] {
        assert_eq!(read(Framing::Chunked, &[bad.as_bytes()]), Err(BadBody), "{bad:?}");
    }
}

#[test]
fn trailers_are_kept_but_for_those_that_decide_about_the_message() {
    let mut buffer = Buffer::default();
    buffer.push(b"0\r\nX-Sum: 1\r\ncontent-length: 7\r\nHost: other\r\n\r\nNEXT");
    let mut decoder = Decoder::new(Framing::Chunked);
    assert_eq!(decoder.step(&mut buffer), Ok(Step::End));
    let kept: Vec<_> = decoder.trailers.as_ref().unwrap().iter().collect();
    assert_eq!(kept, [(&b"X-Sum"[..], &b"1"[..])]);
    assert_eq!(buffer.data(), b"NEXT");
}

#[test]
fn trailers_have_bounds_and_one_form() {
    for bad in ["0\r\nX: a\nY: b\r\n\r\n", "0\r\nX : a\r\n\r\n", "0\r\n folded\r\n\r\n", "0\r\nno colon\r\n\r\n"] {
        assert_eq!(read(Framing::Chunked, &[bad.as_bytes()]), Err(BadBody), "{bad:?}");
    }
    let endless = format!("0\r\n{}", "X: yyyyyyyyyyyyyyyyyy\r\n".repeat(1000));
    assert_eq!(read(Framing::Chunked, &[endless.as_bytes()]), Err(BadBody));
    let many = format!("0\r\n{}\r\n", "X: y\r\n".repeat(MOST_TRAILERS + 1));
    assert_eq!(read(Framing::Chunked, &[many.as_bytes()]), Err(BadBody));
}
