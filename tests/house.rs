//! The order of the house: which part may know which, and that the reference says what is built in.

use headwater_config::{from_file, from_text};
use std::path::Path;
use std::process::Command;

#[test]
fn no_arrow_points_where_none_may() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let allowed: &[&str] = match name {
            "headwater" => &["headwater-config", "headwater-proxy", "headwater-control"],
            "headwater-proxy" => &["headwater-config"],
            "headwater-control" => &["headwater-config", "headwater-vendors"],
            "headwater-config" | "headwater-vendors" | "headwater-testkit" => &[],
            other => panic!("{other} has no place in the house: say here whom it may know"),
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let for_tests = dependency["kind"] == "dev" && on == "headwater-testkit";
            assert!(!on.starts_with("headwater") || for_tests || allowed.contains(&on), "{name} -> {on}");
        }
    }
}

#[test]
fn the_reference_equals_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/headwater.toml");
    let (reference, mistakes) = from_file(&path, &[]);
    assert!(mistakes.is_empty(), "{}", mistakes[0]);
    let (defaults, _) = from_text("defaults", "[origin]\nservers = [\"127.0.0.1:8000\"]\n");
    assert_eq!(format!("{:#?}", reference.unwrap()), format!("{:#?}", defaults.unwrap()));
}

#[test]
fn the_reference_names_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/headwater.toml");
    let reference = std::fs::read_to_string(path).unwrap();
    // The keys are those that the compiler of the configuration asks for.
    let source = [
        "compile.rs",
        "control.rs",
        "edge_api.rs",
        "edge_logs.rs",
        "listen.rs",
        "log.rs",
        "metrics.rs",
        "origin.rs",
        "rules.rs",
        "rum.rs",
        "providers.rs",
        "support.rs",
        "tls.rs",
        "trace.rs",
    ]
    .map(|file| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/config/src").join(file)).unwrap()
    })
    .concat();
    let mut seen = 0;
    for getter in [
        "string(\"",
        "strings(\"",
        "duration(\"",
        "duration_from_zero(\"",
        "size(\"",
        "integer(\"",
        "share(\"",
        "boolean(\"",
        "one_of(\"",
        "sink(\"",
        " secret(\"",
        "(secret(\"",
        "optional(\"",
        "wanted(\"",
    ] {
        for key in source.split(getter).skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(reference.contains(&format!("{key} =")), "{key} is not in config/headwater.toml");
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} keys were found in the source");
}
