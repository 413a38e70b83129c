//! The proxy and the control plane: one file, and neither falls with the other.

use headwater_testkit::{Headwater, Origin, Then, answer, get, run, wait_until};
use std::net::{SocketAddr, TcpListener, TcpStream};

fn origin() -> Origin {
    Origin::with(|_, stream| {
        let _ = stream.write_all(&answer("200 OK", &[], b"here"));
        Then::Keep
    })
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn the_proxy_starts_and_reloads_without_the_secrets_of_the_control_plane() {
    let origin = origin();
    let config = |token: &str| {
        format!(
            "[origin]\nservers = [\"{}\"]\n[[cdn]]\nname = \"fastly\"\nkind = \"fastly\"\nnetworks = [\"192.0.2.0/24\"]\n\
             api = {{ token = \"env:{token}\", properties = [\"shop\"] }}\n[control]\ntoken = \"env:{token}\"\n",
            origin.address
        )
    };
    let headwater = Headwater::start(&config("NOBODY_SET_THIS"));
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
    headwater.rewrite(&config("NOR_THIS"));
    headwater.signal("HUP");
    headwater.wait_metric("headwater_policy_reload_failed", &[], 0.0);
    assert_eq!(get(headwater.http, "/", &[]).status, 200);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headwater.toml");
    std::fs::write(&file, config("NOBODY_SET_THIS")).unwrap();
    let checked = run(&["check", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(1), "who checks hears of it");
    assert!(String::from_utf8_lossy(&checked.stderr).contains("NOBODY_SET_THIS"));
}

#[test]
fn a_control_plane_beside_the_proxy_comes_when_it_can_and_the_proxy_does_not_wait_for_it() {
    let origin = origin();
    let folder = tempfile::tempdir().unwrap();
    let held = TcpListener::bind(free()).unwrap();
    let control = held.local_addr().unwrap();
    let config = format!(
        "[origin]\nservers = [\"{}\"]\n[control]\nlisten = \"{control}\"\nstore = \"{}\"\n",
        origin.address,
        folder.path().join("history.db").display()
    );
    let headwater = Headwater::start_with(&config, &["--with-control"], &[]);
    assert_eq!(get(headwater.http, "/", &[]).status, 200, "its port is held, and pulls are served");
    drop(held);
    wait_until("the control plane is there", || TcpStream::connect(control).is_ok());
    wait_until("it is alive", || get(control, "/livez", &[]).status == 200);
    assert_eq!(get(headwater.http, "/", &[]).status, 200);
}
