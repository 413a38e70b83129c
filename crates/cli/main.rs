//! `headwater`: one file a verb.

mod alert;
mod api;
mod check;
mod control;
mod demo;
mod descriptors;
mod events;
mod logs;
mod manual;
mod networks;
mod say;
mod serve;
mod service;
mod successor;
mod whoopsie;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Half the price of the system's for the small, short-lived things of a pull.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The origin's front door for sites behind more than one CDN.
#[derive(Parser)]
#[command(name = "headwater", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Serve(serve::Serve),
    Control(control::Control),
    Events(events::Events),
    Alert(alert::Alert),
    Logs(logs::Logs),
    Check(check::Check),
    Demo(demo::Demo),
    Whoopsie(whoopsie::Whoopsie),
    Networks(networks::Networks),
    Man(manual::Man),
    Completions(manual::Completions),
}

/// 0: done, or all is well. 1: what was checked does not hold. 2: called wrongly (clap's own code for it).
fn main() -> ExitCode {
    let verb = match Arguments::try_parse() {
        Ok(arguments) => arguments.verb,
        // To Nagios 2 is a failure of what is watched; that nobody knows is 3.
        Err(error) if error.use_stderr() && std::env::args_os().nth(1).is_some_and(|verb| verb == "alert") => {
            let _ = error.print();
            return alert::unknown("called wrongly");
        }
        Err(error) => error.exit(),
    };
    let result = match verb {
        Verb::Serve(serve) => serve.run(),
        Verb::Control(control) => control.run(),
        Verb::Alert(alert) => Ok(alert.run()),
        Verb::Events(events) => events.run(),
        Verb::Logs(logs) => logs.run(),
        Verb::Check(check) => check.run(),
        Verb::Demo(demo) => demo.run(),
        Verb::Whoopsie(whoopsie) => whoopsie.run(),
        Verb::Networks(networks) => networks.run(),
        Verb::Man(man) => man.run(),
        Verb::Completions(completions) => completions.run(),
    };
    result.unwrap_or_else(|error| {
        say::aside(&format!("headwater: {error:#}\n"));
        ExitCode::FAILURE
    })
}
