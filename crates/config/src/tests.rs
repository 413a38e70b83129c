use super::*;
use std::os::unix::fs::PermissionsExt;

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
fn mistakes_come_in_the_order_of_their_lines_and_the_files_own_come_first() {
    let path = std::env::temp_dir().join(format!("headwater-order-{}.toml", std::process::id()));
    let list = path.with_extension("txt");
    std::fs::write(&list, "192.0.2.0/24\nx\ny\n").unwrap();
    let text = format!(
        "[metrics]\nprefix = \"\"\n[[cdn]]\nname = \"A\"\nkind = \"akamai\"\nnetworks = [\"file:{}\"]\n[limits]\nmax_fields = 0\nmax_head = 1\n\
         [tls]\nmin_version = \"1.1\"\n[listen]\nadmin = \"x\"\nhttp = [\"y\"]\n[origin]\nservers = [\"\"]\n",
        list.display()
    );
    std::fs::write(&path, text).unwrap();
    let overrides = ["limits.max_haed=1", "geo.x=1"].map(|text| Override::from_argument(text).unwrap());
    let (_, found) = from_file(&path, &overrides);
    let places: Vec<(String, usize)> = found
        .iter()
        .map(|mistake| mistake.place.as_ref().unwrap())
        .map(|place| (place.source.name.clone(), place.line_and_column().0))
        .collect();
    let of = |name: &str, lines: &[usize]| lines.iter().map(|line| (name.to_string(), *line)).collect::<Vec<_>>();
    let file = of(&path.display().to_string(), &[2, 4, 8, 9, 11, 13, 14, 16]);
    assert_eq!(places, [file, of("--set", &[1, 1]), of(&list.display().to_string(), &[2, 3])].concat());
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(list).unwrap();
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
    let allow = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
    allow(0o640);
    let text = |value: &str| {
        format!(
            "{ORIGIN}[[cdn]]\nname = \"a\"\nkind = \"akamai\"\nsecret = {{ header = \"X-S\", values = [\"{value}\"] }}\n"
        )
    };
    let (policy, found) = compile(&text(&format!("file:{}", folder.display())));
    allow(0o644);
    assert!(mistakes(&text(&format!("file:{}", folder.display())))[0].contains("everybody on this machine can read"));
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
        ("HEADWATER_SERVICE_HOST", "10.0.0.1"),
        ("HEADWATER_ADMIN_PORT_9180_TCP_ADDR", "10.0.0.1"),
        ("HEADWATER_PORT", "tcp://10.0.0.1:8080"),
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

/// What is said of a text that stands below `[origin]`.
fn said(text: &str) -> Vec<String> {
    mistakes(&format!("{ORIGIN}{text}"))
}

#[track_caller]
fn assert_said(text: &str, severity: Severity, expected: &str) {
    let (_, mistakes) = compile(&format!("{ORIGIN}{text}"));
    let found = mistakes.iter().any(|mistake| mistake.severity == severity && mistake.what.contains(expected));
    let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert!(found, "{expected:?} is not said of\n{text}\nbut\n{}", shown.join("\n"));
}

#[track_caller]
fn assert_error(text: &str, expected: &str) {
    assert_said(text, Severity::Error, expected);
}

#[track_caller]
fn assert_warning(text: &str, expected: &str) {
    assert_said(text, Severity::Warning, expected);
}

fn cdn(name: &str, kind: &str, proof: &str) -> String {
    format!("[[cdn]]\nname = \"{name}\"\nkind = \"{kind}\"\n{proof}\n")
}

fn secret(header: &str, value: &str) -> String {
    format!("secret = {{ header = \"{header}\", values = [\"{value}\"] }}")
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_header_that_means_something_is_neither_a_tag_nor_a_secret() {
    for name in ["Host", "X-Forwarded-For", "Accept-Encoding", "Cookie", "authorization", "X_Real_IP", "CF-Ray"] {
        assert_error(&format!("[identify]\nheader = \"{name}\"\n"), "has another meaning already");
        assert_error(&cdn("a", "akamai", &secret(name, SECRET)), "has another meaning already");
    }
    assert_error(&cdn("a", "akamai", &secret("X-CDN-Provider", SECRET)), "has another meaning already");
    assert_warning(&cdn("a", "cloudfront", &secret("X-Edge-Secret", SECRET)), "CloudFront adds no header");
    assert_eq!(said(&cdn("a", "akamai", &secret("X-Edge-Secret", SECRET))), Vec::<String>::new());
}

#[test]
fn a_network_that_is_too_wide_proves_nothing() {
    for wide in ["0.0.0.0/0", "::/0", "128.0.0.0/1", "2000::/3"] {
        assert_error(&cdn("a", "akamai", &format!("networks = [\"{wide}\"]")), "too wide to prove anything");
        let text = format!("[listen]\nproxy_protocol_from = [\"{wide}\"]\n");
        assert_error(&text, "too wide to prove anything");
    }
    let list = std::env::temp_dir().join(format!("headwater-wide-{}", std::process::id()));
    std::fs::write(&list, "192.0.2.0/24\n0.0.0.0/0\n").unwrap();
    assert_error(&cdn("a", "akamai", &format!("networks = [\"file:{}\"]", list.display())), "too wide");
    std::fs::remove_file(list).unwrap();
    assert_warning(&cdn("a", "akamai", "networks = [\"192.0.2.7/24\"]"), "stands for all of 192.0.2.0/24");
    assert_eq!(said(&cdn("a", "akamai", "networks = [\"10.0.0.0/8\", \"192.0.2.7\"]")), Vec::<String>::new());
}

#[test]
fn another_vendors_list_or_name_is_doubted() {
    assert_warning(
        &cdn("g", "google", "networks = [\"fastly\"]"),
        "the networks of fastly, and the provider's kind is google",
    );
    assert_warning(&cdn("a", "akamai", "networks = [\"google\"]"), "the networks of google");
    assert_warning(&cdn("fastly", "akamai", &secret("X-S", SECRET)), "named fastly and its kind is akamai");
    for fine in [cdn("g", "google", "networks = [\"google\"]"), cdn("x", "generic", "networks = [\"fastly\"]")] {
        assert_eq!(said(&fine), Vec::<String>::new());
    }
}

#[test]
fn one_secret_proves_one_provider() {
    let two = cdn("a", "akamai", &secret("X-A", SECRET)) + &cdn("b", "bunny", &secret("X-B", SECRET));
    assert_error(&two, "the secret of \"a\" too");
    let twice = format!("secret = {{ header = \"X-A\", values = [\"{SECRET}\", \"{SECRET}\"] }}");
    assert_warning(&cdn("a", "akamai", &twice), "stands here twice");
    let token = format!("[listen]\nadmin_token = \"{SECRET}\"\n");
    assert_warning(&(token + &cdn("a", "akamai", &secret("X-A", SECRET))), "can reload Headwater");
}

#[test]
fn sinks_of_figures_are_hosts_with_ports() {
    assert_error("[metrics]\nstatsd = \"1:2:3\"\n", "\"1:2:3\" is no host and port");
    assert_error("[metrics]\ngraphite = \"http://x:2003\"\n", "\"http://x:2003\" is no host and port");
    assert_error("[metrics]\nprefix = \"a..b\"\n", "cannot begin a name");
    assert_warning("[metrics]\ninterval = \"10ms\"\n", "more than once a second");
}

fn rule(more: &str) -> String {
    format!("[[rule]]\nname = \"r\"\npath = 'x'\n{more}\n")
}

#[test]
fn a_directive_that_no_cache_knows_is_asked_about() {
    let (policy, found) = compile(&(ORIGIN.to_string() + &rule("cache_control = \"public, max-agee=5\"")));
    assert!(policy.is_some() && found.len() == 1);
    assert_eq!((found[0].severity, found[0].remedy.as_str()), (Severity::Warning, "did you mean `max-age`?"));
    assert_warning(&rule("cache_control = 'max-age=5, community=\"a, b\"'"), "`community` is no directive");
    assert_warning(&rule("cache_control = \"public, private\""), "both public and private");
    for malformed in ["public max-age=5", "max-age: 5", "max-age=5; public", "(x)"] {
        let (policy, _) = compile(&(ORIGIN.to_string() + &rule(&format!("cache_control = \"{malformed}\""))));
        assert!(policy.is_none(), "{malformed}");
    }
    let targeted = |kind: &str, line: &str| cdn("c", kind, &secret("X-S", SECRET)) + &rule(&format!("cdn.c.{line}"));
    assert_warning(&targeted("fastly", "surrogate_control = \"max-age=5, stale-if-eror=5\""), "`stale-if-eror`");
    assert_warning(&targeted("cloudflare", "cdn_cache_control = \"s-max-age=5\""), "`s-max-age`");
    assert_error(&targeted("fastly", "surrogate_control = \"stale-if-error=1d\""), "needs a whole number of seconds");
    let known = "max-age=5, stale-while-revalidate=60, stale-if-error=86400, immutable, no-cache=\\\"Set-Cookie, X\\\"";
    assert_eq!(said(&rule(&format!("cache_control = \"{known}\""))), Vec::<String>::new());
    assert_eq!(said(&targeted("akamai", "edge_control = \"!no-store, cache-maxage=1d\"")), Vec::<String>::new());
}

#[test]
fn an_address_is_listened_on_once() {
    for (text, expected) in [
        ("http = [\"127.0.0.1:80\", \"127.0.0.1:80\"]", "4:25 127.0.0.1:80 is listened on twice in [listen]"),
        ("http = [\"127.0.0.1:9180\"]", "4:9 127.0.0.1:9180 is listened on twice in [listen]"),
        ("admin = \"127.0.0.1:8080\"", "4:9 127.0.0.1:8080 cannot be listened on beside 0.0.0.0:8080, which takes"),
        ("http = [\"0.0.0.0:80\", \"[::]:80\"]", "4:23 [::]:80 cannot be listened on beside 0.0.0.0:80, which takes"),
        ("https = [\"0.0.0.0:8080\"]", "4:10 0.0.0.0:8080 is listened on twice in [listen]"),
    ] {
        let found = said(&format!("[listen]\n{text}\n"));
        assert!(found.iter().any(|found| found.starts_with(expected)), "{expected:?} {found:?}");
    }
    let fine =
        "[listen]\nhttp = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"0.0.0.0:80\", \"[::1]:80\"]\nadmin = \"127.0.0.1:0\"\n";
    assert_eq!(said(fine), Vec::<String>::new());
}

#[test]
fn headwater_is_no_origin_of_its_own() {
    for (listen, server) in [
        ("0.0.0.0:8000", "127.0.0.1:8000"),
        ("[::]:8000", "localhost:8000"),
        ("192.0.2.1:8000", "192.0.2.1:8000"),
        ("127.0.0.1:80", "127.0.0.1:9180"),
    ] {
        let found = mistakes(&format!("[listen]\nhttp = [\"{listen}\"]\n[origin]\nservers = [\"{server}\"]\n"));
        assert!(found.iter().any(|found| found.contains("is Headwater itself")), "{listen} {server} {found:?}");
    }
    let other =
        mistakes("[listen]\nhttp = [\"0.0.0.0:8000\"]\n[origin]\nservers = [\"192.0.2.1:8000\", \"app:8000\"]\n");
    assert_eq!(other, Vec::<String>::new());
}

#[test]
fn settings_that_fit_each_other_badly_are_doubted() {
    assert_warning("response_timeout = \"1s\"\n", "to take a connection");
    assert_warning("connect_timeout = \"500m\"\n", "to take a connection");
    assert_warning("[identify]\nuntagged = \"deny\"\n", "every pull gets 403");
    assert_eq!(
        said(&format!("[identify]\nuntagged = \"deny\"\n{}", cdn("a", "akamai", &secret("X-A", SECRET)))),
        Vec::<String>::new()
    );
    assert_warning(&rule("cache_control = \"max-age=5\"\nstatus = []"), "for no answer at all");
    assert_warning("[[rule]]\nname = \"r\"\npath = '/static/*'\n", "any number of slashes");
    assert_warning("[[rule]]\nname = \"r\"\npath = '\\.css\\?v='\n", "a path has no query");
}

#[test]
fn what_was_found_before_is_found_still() {
    for (text, expected) in [
        (rule("") + &rule(""), "there are two rules \"r\""),
        (rule("cdn = { x = { surrogate_control = \"max-age=1\" } }"), "there is no provider \"x\""),
        ("[gzip]\nlevel = 10\n".into(), "`level` cannot be 10"),
        ("[gzip]\nlevel = 0\n".into(), "`level` cannot be 0"),
        ("[gzip]\nmin_length = -1\n".into(), "`min_length` wants a string"),
        ("[gzip]\nmin_length = \"-1 B\"\n".into(), "`min_length` cannot be \"-1 B\""),
        ("connect_timeout = \"0s\"\n".into(), "`connect_timeout` cannot be \"0s\""),
        ("[limits]\nheader_timeout = \"0ms\"\n".into(), "`header_timeout` cannot be \"0ms\""),
        ("[beacon]\nurl = \"https://b.example.net/b.gif?x\"\n".into(), "no absolute URL"),
    ] {
        assert_error(&text, expected);
    }
}

#[test]
fn the_access_log_is_a_file_that_can_be_written_and_is_not_made_by_looking() {
    let folder = std::env::temp_dir().join(format!("headwater-log-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let log = |path: &str| format!("[log]\naccess = \"{path}\"\n");
    let path = folder.join("access.log");
    assert_error(&log(folder.to_str().unwrap()), "is a folder");
    assert_error(&log("/no/such/folder/access.log"), "there is no folder /no/such/folder");
    assert_error(&log("Off"), "cannot go to \"Off\"");
    assert_error(&log(""), "cannot go to \"\"");
    assert_eq!(said(&log(path.to_str().unwrap())), Vec::<String>::new());
    assert!(!path.exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_variable_that_sets_nothing_is_warned_of_without_its_value() {
    let path = std::env::temp_dir().join(format!("headwater-stray-{}.toml", std::process::id()));
    std::fs::write(&path, format!("[listen]\nadmin_token = \"env:HEADWATER_TOKEN\"\n{ORIGIN}")).unwrap();
    let variables =
        [("HEADWATER_NONSENSE", "geheim"), ("HEADWATER_LIMITS_MAX_HEAD", "64 KiB"), ("HEADWATER_TOKEN", "x")];
    let overrides = Override::from_environment(variables.iter().map(|(a, b)| (a.to_string(), b.to_string())));
    let (_, found) = from_file(&path, &overrides);
    std::fs::remove_file(&path).unwrap();
    let warnings: Vec<String> =
        found.iter().filter(|m| m.severity == Severity::Warning).map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("did you mean HEADWATER_LIMITS__MAX_HEAD"), "{}", warnings[0]);
    assert!(warnings[1].contains("the variable HEADWATER_NONSENSE sets nothing") && !warnings[1].contains("geheim"));
}
