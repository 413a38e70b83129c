//! Small pictures in three formats, drawn from a number.
//!
//! None of them is compressed: a CDN's cache has to hold something, and an encoder would be beside the point.

/// A PNG with a palette (W3C PNG, section 5; zlib with stored blocks, RFC 1950 and RFC 1951, section 3.2.4).
pub fn png(seed: u32) -> Vec<u8> {
    let (width, height) = (96 + seed % 5 * 16, 64 + seed % 7 * 16);
    let mut rows = Vec::new();
    for y in 0..height {
        rows.push(0); // no filter
        rows.extend((0..width).map(|x| pattern(seed, x, y)));
    }
    let mut zlib = vec![0x78, 0x01];
    let mut blocks = rows.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        zlib.push(u8::from(blocks.peek().is_none()));
        zlib.extend((block.len() as u16).to_le_bytes());
        zlib.extend((!(block.len() as u16)).to_le_bytes());
        zlib.extend(block);
    }
    zlib.extend(adler32(&rows).to_be_bytes());

    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 3, 0, 0, 0]); // 8 bits, palette
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let palette: Vec<u8> = (0..128).flat_map(|index| colour(seed, index)).collect();
    for (name, data) in [(b"IHDR", &header), (b"PLTE", &palette), (b"IDAT", &zlib), (b"IEND", &Vec::new())] {
        png.extend((data.len() as u32).to_be_bytes());
        let start = png.len();
        png.extend(name);
        png.extend(data);
        png.extend(crc32(&png[start..]).to_be_bytes());
    }
    png
}

/// A GIF whose every LZW code is one pixel: the table is cleared before codes would grow past 8 bits.
pub fn gif(seed: u32) -> Vec<u8> {
    let (width, height) = (64 + seed % 6 * 16, 48 + seed % 5 * 16);
    let mut gif = b"GIF89a".to_vec();
    gif.extend((width as u16).to_le_bytes());
    gif.extend((height as u16).to_le_bytes());
    gif.extend([0xf6, 0, 0]); // a palette of 128 colours
    gif.extend((0..128).flat_map(|index| colour(seed, index)));
    gif.push(b',');
    gif.extend([0, 0, 0, 0]);
    gif.extend((width as u16).to_le_bytes());
    gif.extend((height as u16).to_le_bytes());
    gif.extend([0, 7]);
    const CLEAR: u8 = 128;
    const END: u8 = 129;
    let pixels: Vec<u8> = (0..height).flat_map(|y| (0..width).map(move |x| pattern(seed, x, y))).collect();
    let mut codes = Vec::new();
    for run in pixels.chunks(100) {
        codes.push(CLEAR);
        codes.extend(run);
    }
    codes.push(END);
    for block in codes.chunks(255) {
        gif.push(block.len() as u8);
        gif.extend(block);
    }
    gif.extend([0, b';']);
    gif
}

/// A baseline JPEG (ITU-T T.81) of 8x8 blocks of one colour each.
pub fn jpeg(seed: u32) -> Vec<u8> {
    let (across, down) = (30 + seed % 20, 20 + seed % 30);
    let mut jpeg = vec![0xff, 0xd8];
    let mut segment = |marker: u8, data: &[u8]| {
        jpeg.extend([0xff, marker]);
        jpeg.extend((data.len() as u16 + 2).to_be_bytes());
        jpeg.extend(data);
    };
    segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    segment(0xdb, &[[0].as_slice(), &[8; 64]].concat());
    let [height, width] = [down * 8, across * 8].map(|pixels| (pixels as u16).to_be_bytes());
    let components = [1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0];
    segment(0xc0, &[&[8], &height[..], &width[..], &[3], &components].concat());
    // Twelve codes of four bits, so that the code of a DC category is its number; one AC code of one bit, the end of block.
    let lengths = |at: usize, count: u8| {
        let mut lengths = [0_u8; 16];
        lengths[at - 1] = count;
        lengths
    };
    let categories: Vec<u8> = (0..12).collect();
    segment(0xc4, &[&[0x00], &lengths(4, 12)[..], &categories].concat());
    segment(0xc4, &[&[0x10], &lengths(1, 1)[..], &[0]].concat());
    segment(0xda, &[3, 1, 0, 2, 0, 3, 0, 0, 63, 0]);

    let mut bits = Bits::default();
    let mut last = [0_i32; 3];
    for y in 0..down {
        for x in 0..across {
            let [red, green, blue] = colour(seed, pattern(seed, x * 3, y * 3)).map(i32::from);
            let luminance = (299 * red + 587 * green + 114 * blue) / 1000;
            let components = [luminance - 128, (blue - luminance) * 564 / 1000, (red - luminance) * 713 / 1000];
            for (last, value) in last.iter_mut().zip(components) {
                bits.difference(value - *last);
                *last = value;
            }
        }
    }
    jpeg.extend(bits.finish());
    jpeg.extend([0xff, 0xd9]);
    jpeg
}

/// Entropy-coded data, with a zero after every 0xff (T.81, section B.1.1.5).
#[derive(Default)]
struct Bits {
    out: Vec<u8>,
    pending: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, bits: u32, count: u32) {
        for at in (0..count).rev() {
            self.pending = self.pending << 1 | bits >> at & 1;
            self.count += 1;
            if self.count == 8 {
                self.out.push(self.pending as u8);
                if self.pending as u8 == 0xff {
                    self.out.push(0);
                }
                (self.pending, self.count) = (0, 0);
            }
        }
    }

    /// A block with a DC coefficient alone (T.81, section F.1.2.1).
    fn difference(&mut self, difference: i32) {
        let category = 32 - difference.unsigned_abs().leading_zeros();
        self.push(category, 4);
        let bits = if difference < 0 { difference - 1 } else { difference };
        self.push(bits as u32, category);
        self.push(0, 1);
    }

    fn finish(mut self) -> Vec<u8> {
        while self.count > 0 {
            self.push(1, 1);
        }
        self.out
    }
}

fn pattern(seed: u32, x: u32, y: u32) -> u8 {
    let (x, y) = (x + seed % 50, y + seed / 3 % 40);
    let wave = match seed % 4 {
        0 => (x * x + y * y) / 97,
        1 => x * y / 61,
        2 => (x ^ y) + y / 2,
        _ => x.abs_diff(70) + y.abs_diff(60) * 2,
    };
    (wave % 128) as u8
}

fn colour(seed: u32, index: u8) -> [u8; 3] {
    let index = u32::from(index);
    let ramp = |factor: u32, shift: u32| ((index * factor + seed * shift) % 256).abs_diff(128) as u8 + 100;
    [ramp(2, 37), ramp(3, 71), ramp(4, 113)]
}

fn adler32(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1, 0), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut value = n as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { 0xedb8_8320 ^ value >> 1 } else { value >> 1 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc: u32, &byte| TABLE[(crc as u8 ^ byte) as usize] ^ crc >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn no_marker_hides_in_the_data_of_a_jpeg() {
        for seed in 0..50 {
            let jpeg = jpeg(seed);
            let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 2;
            let markers = jpeg[scan..].windows(2).filter(|pair| pair[0] == 0xff && pair[1] != 0).count();
            assert_eq!(markers, 1, "seed {seed}: the end of the image and nothing else");
        }
    }

    #[test]
    fn a_gif_of_more_than_one_block_ends_where_its_blocks_say() {
        let gif = gif(3);
        let mut at = 13 + 3 * 128 + 11;
        while gif[at] != 0 {
            at += gif[at] as usize + 1;
        }
        assert_eq!(gif[at..], [0, b';']);
    }
}
