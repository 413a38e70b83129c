//! Where the control plane is: by its configuration, or by its URL.

use crate::check::{overrides, print_mistake};
use anyhow::{Context, Result, bail};
use headwater_config::Control;
use headwater_control::remote::Remote;
use std::path::PathBuf;

/// The file that the package installs.
const DEFAULT: &str = "/etc/headwater/headwater.toml";

/// Which control plane is asked.
#[derive(clap::Args)]
pub struct Api {
    /// The configuration, of which `[control]` alone is read; /etc/headwater/headwater.toml unless given.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override a key; stands above the file and the environment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The control plane itself, such as http://127.0.0.1:9280; its token is read from the variable HEADWATER_TOKEN.
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "settings"])]
    url: Option<String>,
}

/// A control plane, and what the file says of it, where a file was read.
pub struct Found {
    /// Its API.
    pub remote: Remote,
    /// `[control]`
    pub control: Option<Control>,
}

impl Api {
    /// Finds it. It need not run.
    pub fn find(&self) -> Result<Found> {
        if let Some(url) = &self.url {
            let token = std::env::var("HEADWATER_TOKEN").ok().filter(|token| !token.is_empty());
            let remote = Remote::at(url, token.as_deref().map(str::as_bytes))?;
            return Ok(Found { remote, control: None });
        }
        let file = self.config.clone().unwrap_or_else(|| DEFAULT.into());
        let overrides = overrides(&self.settings).map_err(|mistake| anyhow::anyhow!("{mistake}"))?;
        let (control, mistakes) = headwater_config::control_from_file(&file, &overrides);
        mistakes.iter().for_each(print_mistake);
        let Some(control) = control else {
            bail!("{} does not say where the control plane is; --url does", file.display())
        };
        let token = control.token.as_ref().map(|token| token.expose());
        Ok(Found { remote: Remote::on(control.listen, token), control: Some(control) })
    }
}

/// Runs to its end what a verb does.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(work)
}

/// A value of a query, percent-encoded (RFC 3986, section 2.1).
pub fn in_a_query(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
