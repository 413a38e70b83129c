use super::*;

fn compile(text: &str) -> (Option<Policy>, Vec<Mistake>) {
    from_text("headwater.toml", text)
}

/// The mistakes, each as `line:column what`.
fn mistakes(text: &str) -> Vec<String> {
    let (_, mistakes) = compile(text);
    let place = |mistake: &Mistake| mistake.place.as_ref().map_or((0, 0), Place::line_and_column);
    mistakes.iter().map(|mistake| format!("{}:{} {}", place(mistake).0, place(mistake).1, mistake.what)).collect()
}

const ORIGIN: &str = "[origin]\nservers = [\"127.0.0.1:8000\"]\n";

#[test]
fn one_key_is_enough() {
    let (policy, mistakes) = compile(ORIGIN);
    assert!(mistakes.is_empty());
    let policy = policy.unwrap();
    assert_eq!(policy.origin.servers[0].name, "127.0.0.1:8000");
    assert_eq!(policy.limits.max_head, 32 << 10);
    assert_eq!(policy.rules.all().len(), 2);
}

#[test]
fn every_mistake_comes_in_one_go_with_its_place() {
    let text = r#"
[listen]
http = ["8080"]
admin = "0.0.0.0:9180"
[origin]
servers = ["http://app/"]
conect_timeout = "5 sec"
response_timeout = "5"
[limits]
max_head = "32 KB"
max_fields = 0
[[cdn]]
name = "Fastly"
kind = "fasty"
[whoopsie]
answer = "maybe"
"#;
    let found = mistakes(text);
    for expected in [
        "3:9 \"8080\" is no address to listen on",
        "4:1 anybody who reaches 0.0.0.0:9180 could change things",
        "6:12 \"http://app/\" is no server",
        "7:1 there is no key `conect_timeout` in [origin]",
        "8:20 `response_timeout` cannot be \"5\"",
        "10:12 `max_head` cannot be \"32 KB\"",
        "11:14 `max_fields` cannot be 0",
        "13:8 \"Fastly\" cannot be a provider's name",
        "14:8 `kind` cannot be \"fasty\"",
        "16:10 `answer` cannot be \"maybe\"",
    ] {
        assert!(found.iter().any(|found| found == expected), "{expected:?} is not among\n{}", found.join("\n"));
    }
    assert!(compile(text).0.is_none());
}

#[test]
fn a_mistake_is_shown_in_its_line_with_the_remedy() {
    let (_, mistakes) = compile("[origin]\nservers = [\"a:1\"]\nconect_timeout = \"5s\"\n");
    assert_eq!(
        mistakes[0].to_string(),
        "error: there is no key `conect_timeout` in [origin]\n \
         --> headwater.toml:3:1\n  |\n3 | conect_timeout = \"5s\"\n  | ^^^^^^^^^^^^^^\n  = did you mean `connect_timeout`?"
    );
}

#[test]
fn broken_toml_is_a_mistake_and_not_the_end_of_the_search() {
    let found = mistakes("[origin]\nservers = [\"a:1\"]\nconnect_timeout = 5s\nidle_timeout = \"x\"\n");
    assert!(found.iter().any(|found| found.starts_with("3:") && found.contains("not TOML")), "{found:?}");
    assert!(found.iter().any(|found| found.starts_with("4:16 ")), "{found:?}");
}

#[test]
fn a_provider_needs_a_proof() {
    let found = mistakes(&format!("{ORIGIN}[[cdn]]\nname = \"a\"\nkind = \"akamai\"\n"));
    assert_eq!(found, ["3:1 this provider has no proof: anybody could claim to be it"]);
}

#[test]
fn secrets_come_from_files_and_variables_and_show_nowhere() {
    let folder = std::env::temp_dir().join(format!("headwater-secret-{}", std::process::id()));
    std::fs::write(&folder, "0123456789abcdef0123456789abcdef\n").unwrap();
    let text = |value: &str| {
        format!(
            "{ORIGIN}[[cdn]]\nname = \"a\"\nkind = \"akamai\"\nsecret = {{ header = \"X-S\", values = [\"{value}\"] }}\n"
        )
    };
    let (policy, found) = compile(&text(&format!("file:{}", folder.display())));
    std::fs::remove_file(&folder).unwrap();
    assert!(found.is_empty());
    let policy = policy.unwrap();
    let secret = &policy.providers[0].secret.as_ref().unwrap().values[0];
    assert_eq!(secret.expose(), b"0123456789abcdef0123456789abcdef");
    assert!(!format!("{policy:?}").contains("0123456789abcdef"));
    assert!(mistakes(&text("env:HEADWATER_NO_SUCH_VARIABLE"))[0].contains("is not set"));
    assert!(mistakes(&text("file:/no/such/file"))[0].contains("cannot read"));
    assert!(mistakes(&text("two words"))[0].contains("cannot carry"));
}

#[test]
fn a_vendors_header_for_another_vendor_is_a_mistake_with_the_right_one_in_the_remedy() {
    let text = format!(
        "{ORIGIN}[[cdn]]\nname = \"cf\"\nkind = \"cloudflare\"\nnetworks = [\"cloudflare\"]\n\
         [[rule]]\nname = \"r\"\npath = 'x'\ncdn = {{ cf = {{ surrogate_control = \"max-age=1\" }}, nobody = {{}} }}\n"
    );
    let (_, found) = compile(&text);
    assert!(found[0].what.contains("cloudflare does not honour Surrogate-Control"), "{}", found[0]);
    assert!(found[0].remedy.contains("cloudflare_cdn_cache_control"), "{}", found[0]);
    assert!(found[1].what.contains("there is no provider \"nobody\""), "{}", found[1]);
}

#[test]
fn an_unreachable_rule_is_warned_of_and_the_config_still_usable() {
    let text = format!("{ORIGIN}[[rule]]\nname = \"all\"\npath = '^/'\n[[rule]]\nname = \"css\"\npath = '\\.css$'\n");
    let (policy, found) = compile(&text);
    assert!(policy.is_some());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].severity, Severity::Warning);
    assert_eq!(found[0].place.as_ref().unwrap().line_and_column(), (8, 8));
}

#[test]
fn a_5xx_never_gets_a_lifetime_by_configuration() {
    let found = mistakes(&format!(
        "{ORIGIN}[[rule]]\nname = \"r\"\npath = 'x'\ncache_control = \"max-age=1, max-age=2\"\nstatus = [\"2xx\", \"503\", \"nix\"]\n"
    ));
    assert!(found.iter().any(|found| found.contains("two max-age")), "{found:?}");
    assert!(found.iter().any(|found| found.contains("a 5xx never carries a lifetime")), "{found:?}");
    assert!(found.iter().any(|found| found.contains("\"nix\" is no status")), "{found:?}");
}

#[test]
fn the_environment_and_the_command_line_stand_above_the_file() {
    let path = std::env::temp_dir().join(format!("headwater-overrides-{}.toml", std::process::id()));
    std::fs::write(&path, ORIGIN).unwrap();
    let variables = [
        ("HEADWATER_ORIGIN__CONNECT_TIMEOUT", "7s"),
        ("HEADWATER_LIMITS__MAX_FIELDS", "50"),
        ("HEADWATER_BIN", "not a key"),
        ("PATH", "x"),
    ];
    let mut overrides = Override::from_environment(variables.iter().map(|(a, b)| (a.to_string(), b.to_string())));
    overrides.push(Override::from_argument("limits.max_fields=60").unwrap());
    overrides.push(Override::from_argument("listen.http=[\"127.0.0.1:1\"]").unwrap());
    let (policy, found) = from_file(&path, &overrides);
    assert!(found.is_empty(), "{}", found[0]);
    let policy = policy.unwrap();
    assert_eq!(policy.origin.connect_timeout.as_secs(), 7);
    assert_eq!(policy.limits.max_fields, 60);
    assert_eq!(policy.listen.http[0].port(), 1);
    let (_, found) = from_file(&path, &[Override::from_argument("limits.max_feilds=1").unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert!(found[0].to_string().contains("--> --set:1:"), "{}", found[0]);
    assert!(Override::from_argument("novalue").is_err());
}

#[test]
fn rules_are_matched_in_order_on_the_decoded_path() {
    let text = format!("{ORIGIN}[[rule]]\nname = \"a\"\npath = '^/a/'\n[[rule]]\nname = \"css\"\npath = '\\.css$'\n");
    let rules = compile(&text).0.unwrap().rules;
    let name = |path: &[u8]| rules.all()[rules.matching(path)].name.clone();
    assert_eq!(name(b"/a/x.css"), "a");
    assert_eq!(name(b"/b/x.css"), "css");
    assert_eq!(name(b"/b/x.css/"), "default");
    assert_eq!(name(b"/\xff\x00.css"), "css");
}
