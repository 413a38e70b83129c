//! `headwater man` and `headwater completions`: what a shell and `man` know of Headwater, made from the command line's own
//! definition.

use crate::say;
use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the completions for a shell.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  headwater completions bash > /etc/bash_completion.d/headwater")]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        // Gathered first: the generator panics where a pipe is closed early.
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Arguments::command(), "headwater", &mut text);
        say::out(&String::from_utf8(text)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Write the man pages: headwater(1), and one for each verb.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  headwater man --out /usr/local/share/man/man1")]
pub struct Man {
    /// The folder; it is made if need be.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Man {
    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode> {
        let shown = self.out.display();
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot make {shown}"))?;
        clap_mangen::generate_to(crate::Arguments::command(), &self.out)
            .with_context(|| format!("cannot write into {shown}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
