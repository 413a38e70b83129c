//! What the demo's site consists of: pages, style sheets, scripts and pictures, the same in every run.

use super::pictures;
use hyper::body::Bytes;
use std::collections::HashMap;
use std::fmt::Write;

const LISTINGS: u32 = 100;
const PICTURES: u32 = 180;
const SCRIPTS: u32 = 6;
const STYLES: u32 = 3;

/// One object of the site.
pub struct Object {
    /// `Content-Type`
    pub kind: &'static str,
    /// The body.
    pub body: Bytes,
    /// A strong entity tag, with its quotes.
    pub tag: String,
}

/// All objects by their path.
pub struct Shop {
    objects: HashMap<String, Object>,
    popular: Vec<String>,
}

impl Shop {
    /// Makes the whole site, about 3 MiB.
    pub fn new() -> Self {
        let mut shop = Self { objects: HashMap::new(), popular: Vec::new() };
        shop.add("/".into(), "text/html; charset=utf-8", home());
        for n in 0..LISTINGS {
            shop.add(format!("/listing/{n}"), "text/html; charset=utf-8", listing(n));
        }
        for n in 0..STYLES {
            shop.add(format!("/assets/style{n}.css"), "text/css", style(n));
        }
        for n in 0..SCRIPTS {
            shop.add(format!("/assets/part{n}.js"), "application/javascript", script(n));
        }
        for n in 0..PICTURES {
            let (kind, bytes) = match n % 3 {
                0 => ("image/png", pictures::png(n)),
                1 => ("image/jpeg", pictures::jpeg(n)),
                _ => ("image/gif", pictures::gif(n)),
            };
            shop.add(picture(n), kind, bytes);
        }
        // What is popular has nothing to do with what it is.
        fastrand::Rng::with_seed(2013).shuffle(&mut shop.popular);
        // For people at a terminal: short, and asked for by nobody else, so that the first answer is a miss.
        shop.add("/assets/print.css".into(), "text/css", PRINT);
        shop.popular.retain(|path| path != "/assets/print.css");
        shop
    }

    fn add(&mut self, path: String, kind: &'static str, body: impl Into<Vec<u8>>) {
        let body = Bytes::from(body.into());
        // FNV-1a: a tag has to change with the body, and that is all.
        let hash = body
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        self.popular.push(path.clone());
        self.objects.insert(path, Object { kind, body, tag: format!("\"{hash:016x}\"") });
    }

    /// The object at a path.
    pub fn object(&self, path: &str) -> Option<&Object> {
        self.objects.get(path)
    }

    /// The paths that users ask for, the most popular first.
    pub fn popular(&self) -> &[String] {
        &self.popular
    }
}

const PRINT: &str = "/* How a page looks on paper. */
@media print {
  body { font: 11pt/1.4 Georgia, serif; color: #000; background: #fff }
  nav, footer, form, video, .basket { display: none }
  a[href^=\"http\"]::after { content: \" (\" attr(href) \")\"; font-size: 9pt }
  h1, h2, h3 { break-after: avoid }
  img { max-width: 100%; break-inside: avoid }
}
";

const WORDS: [&str; 40] = [
    "oak", "linen", "copper", "river", "glass", "walnut", "amber", "woven", "silver", "harbour", "candle", "ceramic",
    "cedar", "cotton", "garden", "lantern", "marble", "meadow", "paper", "pebble", "quilt", "ribbon", "saddle",
    "slate", "spruce", "stone", "thistle", "velvet", "wicker", "willow", "brass", "button", "clover", "feather",
    "hazel", "indigo", "juniper", "kettle", "lavender", "mosaic",
];

fn picture(n: u32) -> String {
    format!("/images/{n}.{}", ["png", "jpg", "gif"][(n % 3) as usize])
}

fn page(title: &str, content: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/assets/style0.css\">\n\
         <link rel=\"stylesheet\" href=\"/assets/print.css\" media=\"print\">\n\
         <script src=\"/assets/part0.js\" defer></script>\n</head>\n<body>\n\
         <nav><a href=\"/\">Home</a> <a href=\"/basket\">Basket</a> <a href=\"/checkout\">Check out</a> \
         <a href=\"/slow\">A slow page</a> <a href=\"/broken\">A broken page</a> <a href=\"/echo\">What the app sees</a></nav>\n\
         <h1>{title}</h1>\n{content}</body>\n</html>\n"
    )
}

fn home() -> String {
    let links = (0..LISTINGS).fold(String::new(), |mut links, n| {
        let _ =
            writeln!(links, "<li><a href=\"/listing/{n}\"><img src=\"{}\" alt=\"\"> {}</a></li>", picture(n), name(n));
        links
    });
    page("A small shop", &format!("<ul>\n{links}</ul>\n"))
}

fn name(n: u32) -> String {
    let word = |n: u32| WORDS[n as usize % WORDS.len()];
    format!("{} {} {}", word(n * 7), word(n / 3 + 11), word(n * 13 + 5))
}

fn words(rng: &mut fastrand::Rng, count: usize) -> String {
    (0..count).map(|_| WORDS[rng.usize(..WORDS.len())]).collect::<Vec<_>>().join(" ")
}

fn listing(n: u32) -> String {
    let mut rng = fastrand::Rng::with_seed(u64::from(n));
    let mut content = String::new();
    for step in 0..4 {
        let _ = writeln!(content, "<img src=\"{}\" alt=\"{}\">", picture((n * 5 + step * 17) % PICTURES), name(n));
    }
    for _ in 0..rng.usize(6..30) {
        let _ = writeln!(content, "<p>{}.</p>", words(&mut rng, 30));
    }
    page(&name(n), &content)
}

fn style(n: u32) -> String {
    let mut css = String::from(
        "body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }\n\
         nav a { margin-right: 1rem }\nul { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); \
         gap: 1rem; list-style: none; padding: 0 }\nimg { max-width: 100%; border-radius: .4rem }\n",
    );
    let mut rng = fastrand::Rng::with_seed(1_000 + u64::from(n));
    for number in 0..150 + n * 80 {
        let word = WORDS[rng.usize(..WORDS.len())];
        let _ = writeln!(
            css,
            ".{word}-{number} {{ color: #{:06x}; padding: {}px {}px; border-left: {}px solid currentColor }}",
            rng.u32(..0x100_0000),
            rng.u32(..24),
            rng.u32(..24),
            rng.u32(1..4),
        );
    }
    css
}

fn script(n: u32) -> String {
    let mut js = String::from("\"use strict\";\n");
    let mut rng = fastrand::Rng::with_seed(2_000 + u64::from(n));
    for number in 0..140 + n * 40 {
        let [one, two] = [(); 2].map(|()| WORDS[rng.usize(..WORDS.len())]);
        let _ = writeln!(
            js,
            "// The {} of part {n}.\nfunction {one}{number}(items, limit = {}) {{\n  return items\n    \
             .filter((item) => item.{two} > {} && item.name !== \"{}\")\n    \
             .map((item) => ({{ ...item, {one}: item.{two} * {} }}))\n    .slice(0, limit);\n}}\n",
            words(&mut rng, 4),
            rng.u32(1..100),
            rng.u32(..1000),
            words(&mut rng, 2),
            rng.u32(2..9),
        );
    }
    js
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_within_the_site_leads_somewhere() {
        let shop = Shop::new();
        let dynamic = ["/basket", "/checkout", "/slow", "/broken", "/echo"];
        for (path, object) in &shop.objects {
            if object.kind.starts_with("text/html") {
                let html = String::from_utf8(object.body.to_vec()).unwrap();
                for link in html.split("=\"/").skip(1).filter_map(|rest| rest.split_once('"')) {
                    let link = format!("/{}", link.0);
                    assert!(shop.object(&link).is_some() || dynamic.contains(&link.as_str()), "{path}: {link}");
                }
            }
        }
    }

    #[test]
    fn the_site_is_the_same_in_every_run() {
        let [one, two] = [Shop::new(), Shop::new()];
        assert_eq!(one.popular(), two.popular());
        assert!(one.objects.iter().all(|(path, object)| two.object(path).is_some_and(|other| other.tag == object.tag)));
    }

    #[test]
    fn it_is_larger_than_the_smallest_cache_and_small_enough_to_hold() {
        let shop = Shop::new();
        let bytes: usize = shop.objects.values().map(|object| object.body.len()).sum();
        assert!((2 << 20..6 << 20).contains(&bytes), "{bytes}");
        let scripts = (0..SCRIPTS).map(|n| script(n).len());
        assert!(scripts.into_iter().all(|length| (20_000..90_000).contains(&length)));
    }
}
