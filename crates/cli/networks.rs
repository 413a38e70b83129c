//! `headwater networks`: a vendor's published list of networks, as the file that `networks = ["file:..."]` reads.

use crate::say;
use anyhow::{Context, Result, bail};
use headwater_config::networks::{BUILT_IN, import};
use std::io::Read;
use std::process::ExitCode;

/// The networks that CDNs pull from.
#[derive(clap::Args)]
pub struct Networks {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Print a built-in list, with its source and date.
    Show {
        /// fastly, cloudflare, cloudfront, bunny or google
        vendor: String,
    },
    /// Turn a vendor's published list, from standard input, into a list for `networks = ["file:..."]`.
    #[command(
        after_help = "Example:\n  curl -fsS https://api.fastly.com/public-ip-list | headwater networks import fastly > fastly.txt"
    )]
    Import {
        /// fastly, cloudflare, cloudfront, bunny or google
        vendor: String,
        /// The day of the list, for its head; today if it is not given.
        #[arg(long, value_name = "YYYY-MM-DD")]
        date: Option<String>,
    },
}

impl Networks {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        let list = match self.verb {
            Verb::Show { vendor } => match BUILT_IN.iter().find(|(name, _)| *name == vendor) {
                Some((_, list)) => (*list).to_string(),
                None => {
                    bail!("there is no list \"{vendor}\"; there are fastly, cloudflare, cloudfront, bunny and google")
                }
            },
            Verb::Import { vendor, date } => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
                import(&vendor, &text, &date.unwrap_or_else(today)).map_err(anyhow::Error::msg)?
            }
        };
        say::out(&list)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The day in UTC.
fn today() -> String {
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|month| *month == &now[8..11]).unwrap_or(0) + 1;
    format!("{}-{month:02}-{}", &now[12..16], &now[5..7])
}
