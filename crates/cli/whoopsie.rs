//! `headwater whoopsie export`: the error pages as files, for a CDN to show when the origin is gone.

use crate::check::{overrides, print_mistake};
use crate::say;
use anyhow::{Context, Result};
use headwater_config::Policy;
use std::path::PathBuf;
use std::process::ExitCode;

/// The page that users see on a 5xx.
#[derive(clap::Args)]
pub struct Whoopsie {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Export(Export),
}

/// Write the pages for upload to a CDN, which shows them when it cannot reach Headwater.
///
/// Their beacon points at `beacon.url`, on a host that depends on no CDN: a beacon that travels through the one that
/// has failed is never heard of.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  headwater whoopsie export -c headwater.toml --cdn fastly --out pages/")]
struct Export {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "headwater.toml")]
    config: PathBuf,
    /// The provider that will show them.
    #[arg(long, value_name = "NAME")]
    cdn: String,
    /// The folder; it is made if need be.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The status that they are for.
    #[arg(long, default_value_t = 503, value_parser = clap::value_parser!(u16).range(500..600))]
    status: u16,
    /// Override a key.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

impl Whoopsie {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        let Verb::Export(export) = self.verb;
        export.run()
    }
}

impl Export {
    fn run(self) -> Result<ExitCode> {
        let overrides = overrides(&self.settings).map_err(|mistake| anyhow::anyhow!("{mistake}"))?;
        let (policy, mistakes) = headwater_config::from_file(&self.config, &overrides);
        mistakes.iter().for_each(print_mistake);
        let Some(policy) = policy else { return Ok(ExitCode::FAILURE) };
        if !policy.providers.iter().any(|provider| provider.name == self.cdn) {
            let names: Vec<&str> = policy.providers.iter().map(|provider| provider.name.as_str()).collect();
            anyhow::bail!("there is no [[cdn]] \"{}\"; there are: {}", self.cdn, names.join(", "));
        }
        anyhow::ensure!(
            !policy.beacon.url.is_empty(),
            "beacon.url is empty: set it to the beacon's absolute URL on a host that depends on no CDN, \
             for example https://beacons.example.net{}",
            policy.beacon.path
        );
        self.write(&policy)
    }

    fn write(&self, policy: &Policy) -> Result<ExitCode> {
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot make {}", self.out.display()))?;
        // A beacon's source tells the CDN and the status, as the pages that Headwater serves itself do.
        let beacon =
            format!("{}?source={}_{}", headwater_config::pages::escape(&policy.beacon.url), self.cdn, self.status);
        for page in &policy.whoopsie.pages {
            let path = self.out.join(format!("{}.html", page.language));
            // Who serves a fixed file cannot put a request's id into it.
            let html = page.fill(&self.status.to_string(), &self.cdn, &beacon);
            std::fs::write(&path, html).with_context(|| format!("cannot write {}", path.display()))?;
            say::out(&format!("{}\n", path.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
