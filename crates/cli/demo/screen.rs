//! What the demo prints: where everything listens, what to try, and a table that is redrawn in place.

use super::vendor::Vendor;
use crate::say;
use headwater_config::Kind;
use std::fmt::Write;
use std::io::{IsTerminal, Result, stdout};
use std::net::SocketAddr;

/// Where everything listens.
pub struct Places {
    /// Headwater, for pulls.
    pub headwater: SocketAddr,
    /// Headwater's admin endpoint.
    pub admin: SocketAddr,
    /// The dashboard.
    pub control: SocketAddr,
    /// The origin.
    pub origin: SocketAddr,
    /// The CDNs.
    pub cdns: Vec<(&'static Vendor, SocketAddr)>,
}

/// Standard output, as a terminal or as a script's. What writes to it says whether somebody still looks.
pub struct Screen {
    terminal: bool,
    /// Lines of the table that stand on the terminal.
    drawn: usize,
}

impl Screen {
    /// A screen without anything on it. With `json`, a terminal is not one for people either.
    pub fn new(json: bool) -> Self {
        Self { terminal: !json && stdout().is_terminal(), drawn: 0 }
    }

    /// Whether a table is to be drawn before the last one.
    pub fn is_live(&self) -> bool {
        self.terminal
    }

    /// Says where everything listens: to people with what to try, to scripts in one line of standard error.
    pub fn open(&self, places: &Places, rate: u32) -> Result<bool> {
        if self.terminal {
            return say::out(&invitation(places, rate));
        }
        let Places { headwater, admin, control, .. } = places;
        let mut line = format!("headwater demo: http={headwater} admin={admin} control={control}");
        for (vendor, address) in &places.cdns {
            let _ = write!(line, " {}={address}", vendor.name());
        }
        say::aside(&(line + "\n"));
        Ok(true)
    }

    /// Shows the table, on a terminal in the place of the last one.
    pub fn draw(&mut self, lines: &[String]) -> Result<bool> {
        if !self.terminal {
            return self.print(&lines.join("\n"));
        }
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        // On a narrow terminal lines are cut rather than wrapped, or the next table would not stand on this one.
        text.push_str("\r\x1b[?7l");
        for line in lines {
            let _ = writeln!(text, "\x1b[2K{line}");
        }
        text.push_str("\x1b[J\x1b[?7h");
        self.drawn = lines.len();
        say::out(&text)
    }

    /// Prints a text, whoever reads it.
    pub fn print(&self, text: &str) -> Result<bool> {
        say::out(&format!("{text}\n"))
    }
}

fn invitation(places: &Places, rate: u32) -> String {
    let Places { headwater, admin, control, origin, cdns } = places;
    let mut text =
        format!("Users ask three CDNs for {rate} pages and files a second, all on this machine.\nCtrl-C ends it.\n\n");
    for (vendor, address) in cdns {
        let html = if vendor.kind == Kind::Cloudflare { ", none for HTML" } else { "" };
        let (name, pops, cache) = (vendor.name(), vendor.pops.len(), vendor.cache >> 20);
        let _ = writeln!(text, "  {name:<11} http://{address}  {pops} caches of {cache} MiB{html}");
    }
    let at =
        |kind: Kind| cdns.iter().find(|(vendor, _)| vendor.kind == kind).map_or(*headwater, |(_, address)| *address);
    let (fastly, cloudflare, cloudfront) = (at(Kind::Fastly), at(Kind::Cloudflare), at(Kind::CloudFront));
    let _ = write!(
        text,
        "  Headwater   http://{headwater}  figures: http://{admin}/metrics
  the origin  http://{origin}
  dashboard   http://{control}/  edge figures come a minute late

Try, in another terminal:
  # Twice: X-Cache says MISS, then HIT, and only the first is a pull.
  curl -i http://{fastly}/assets/print.css
  # A forged tag: the app never sees it, and the pull counts as unproven ...
  curl -s -H 'X-CDN-Provider: fastly' http://{headwater}/echo
  # ... but it sees who asks when that can prove it.
  curl -s http://{cloudfront}/echo
  # What users see when the app fails: in Japanese, and as a program wants it.
  curl -i -H 'Accept-Language: ja' http://{cloudflare}/broken
  curl -i -H 'Accept: application/json' http://{cloudflare}/broken
  # The beacon in that page, and what Headwater counted.
  curl -sD- -o /dev/null 'http://{headwater}/status/images/beacon.gif?source=curl'
  curl -s http://{admin}/metrics | grep -E 'pulls|whoopsie|beacon|mismatch'
  # A deploy: a line on every graph.
  headwater events add \"deploy 3f2a\" --tag deploy --url http://{control}
Or open http://{fastly}/ in a browser. After a minute
cloudflare falls ill for two: look at the dashboard then.

edge: what users asked of the CDN. pulls: what the CDN asked of Headwater.
offload: 1 - pulls / edge, since the start, and over the last 10 s.

"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::super::vendor::VENDORS;
    use super::*;

    #[test]
    fn the_invitation_names_every_address_and_fits_a_terminal_but_for_its_commands() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let cdns: Vec<_> = VENDORS.iter().zip(40_001..).map(|(vendor, port)| (vendor, address(port))).collect();
        let places = Places {
            headwater: address(40_010),
            admin: address(40_011),
            control: address(40_013),
            origin: address(40_012),
            cdns,
        };
        let text = invitation(&places, 5_000);
        for port in [40_001, 40_002, 40_003, 40_010, 40_011, 40_012] {
            assert!(text.contains(&format!("http://127.0.0.1:{port}")), "{port}");
        }
        let wide = text.lines().filter(|line| line.chars().count() > 80 && !line.starts_with("  curl"));
        assert_eq!(wide.collect::<Vec<_>>(), Vec::<&str>::new());
    }
}
