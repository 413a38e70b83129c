//! `headwater whoopsie export`: the error pages as files, for a CDN to show when the origin is gone.

mod vcl;

use crate::check::{overrides, print_mistake};
use crate::say;
use anyhow::{Context, Result};
use headwater_config::pages::escape;
use headwater_config::{Kind, Page, Part};
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

/// How the pages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Html,
    Vcl,
}

/// Write the pages for upload to a CDN, which shows them when it cannot reach Headwater.
///
/// Their beacon points at `beacon.url`, on a host that depends on no CDN: a beacon that travels through the one that
/// has failed is never heard of.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  headwater whoopsie export -c headwater.toml --cdn fastly --format vcl --out pages/
  headwater whoopsie export -c headwater.toml --cdn cloudfront --out pages/")]
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
    /// html: a file for each language. vcl: one snippet for Fastly, which puts in what only the edge knows.
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,
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
        let Some(provider) = policy.providers.iter().find(|provider| provider.name == self.cdn) else {
            let names: Vec<&str> = policy.providers.iter().map(|provider| provider.name.as_str()).collect();
            anyhow::bail!("there is no [[cdn]] \"{}\"; there are: {}", self.cdn, names.join(", "));
        };
        anyhow::ensure!(
            !policy.beacon.url.is_empty(),
            "beacon.url is empty: set it to the beacon's absolute URL on a host that depends on no CDN, \
             for example https://beacons.example.net{}",
            policy.beacon.path
        );
        anyhow::ensure!(
            self.format == Format::Html || provider.kind == Kind::Fastly,
            "\"{}\" is of kind {}, which runs no VCL: leave --format out",
            self.cdn,
            provider.kind.name()
        );
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot make {}", self.out.display()))?;
        // A beacon's source tells the CDN and the status, as the pages that Headwater serves itself do.
        let beacon = format!("{}?source={}_{}", escape(&policy.beacon.url), self.cdn, self.status);
        match self.format {
            Format::Html => self.write_html(&policy.whoopsie.pages, provider.kind, &beacon)?,
            Format::Vcl => self.write("whoopsie.vcl", &vcl::snippet(&policy.whoopsie.pages, self.status, &beacon))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn write_html(&self, pages: &[Page], kind: Kind, beacon: &str) -> Result<()> {
        let reference = edge_reference(kind);
        for page in pages {
            if reference.is_none() && page.unreferenced.contains(&Part::RequestId) {
                say::aside(&format!(
                    "warning: the page {} shows {{{{request_id}}}}, and {} has nothing to put there: \
                     let it stand between {{{{#request_id}}}} and {{{{/request_id}}}}\n",
                    page.language,
                    kind.name()
                ));
            }
            let html = page.fill(&self.status.to_string(), reference, beacon);
            self.write(&format!("{}.html", page.language), &html)?;
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        say::out(&format!("{}\n", path.display()))?;
        Ok(())
    }
}

/// What the vendor puts into a fixed page in place of a request's id. Who has nothing shows no reference.
fn edge_reference(kind: Kind) -> Option<&'static str> {
    match kind {
        // An error token: <https://developers.cloudflare.com/rules/custom-errors/reference/error-tokens/>
        Kind::Cloudflare => Some("::RAY_ID::"),
        _ => None,
    }
}
