use super::*;
use proptest::prelude::*;
use std::cell::Cell;

const TERMS: Terms = Terms { fails: 3, eject: 1000, longest: 8000, checks: None };

fn checked() -> Terms {
    Terms { checks: Some((3, 2)), ..TERMS }
}

fn ejected(health: &mut Health, now: Moment) -> Moment {
    for _ in 0..10 {
        if let Some(News::Became(Condition::Ejected { until })) = health.failed(Pass::Offered, now, true) {
            return until - now;
        }
    }
    panic!("ten failures in a row do not eject");
}

#[test]
fn failures_in_a_row_eject_and_one_success_between_them_does_not() {
    let mut health = Health::new(TERMS, 0);
    for _ in 0..10 {
        assert_eq!(health.failed(Pass::Offered, 1, true), None);
        assert_eq!(health.failed(Pass::Offered, 1, true), None);
        assert_eq!(health.succeeded(Pass::Offered, 1), None);
    }
    assert_eq!(ejected(&mut health, 5), 1000);
    assert_eq!(health.succeeded(Pass::Offered, 6), None, "a pull that was begun before brings nothing back");
}

#[test]
fn the_last_one_is_kept_and_told_of_once() {
    let mut health = Health::new(TERMS, 0);
    let news: Vec<_> = (0..9).filter_map(|_| health.failed(Pass::Offered, 1, false)).collect();
    assert_eq!(news, [News::LastOneFails]);
    assert_eq!(health.succeeded(Pass::Offered, 2), Some(News::LastOneAnswers));
    assert!(health.standing().is_up());
    for _ in 0..5 {
        health.failed(Pass::Offered, 3, false);
    }
    assert!(
        matches!(health.failed(Pass::Offered, 4, true), Some(News::Became(Condition::Ejected { .. }))),
        "as soon as another is up, it goes"
    );
}

#[test]
fn ejections_that_follow_soon_grow_to_a_bound_and_a_good_time_forgets_them() {
    let mut health = Health::new(TERMS, 0);
    let mut now = 0;
    for expected in [1000, 2000, 4000, 8000, 8000] {
        assert_eq!(ejected(&mut health, now), expected);
        now += expected;
        assert!(health.claim(now - 1).is_none(), "before its time");
        assert!(health.claim(now).is_some());
        assert!(health.claim(now).is_none(), "one trial at a time");
        assert_eq!(health.succeeded(Pass::Trial, now), Some(News::Became(Condition::Up)));
        now += 10;
    }
    assert_eq!(ejected(&mut health, now + 8001), 1000);
}

#[test]
fn a_trial_that_fails_ejects_for_longer_and_one_that_tells_nothing_is_given_on() {
    let mut health = Health::new(TERMS, 0);
    ejected(&mut health, 0);
    health.claim(1000);
    assert_eq!(health.failed(Pass::Offered, 1001, true), None, "only the trial's own end counts");
    let news = health.failed(Pass::Trial, 1002, true);
    assert_eq!(news, Some(News::Became(Condition::Ejected { until: 3002 })));
    health.claim(3002);
    health.release(3003);
    assert!(health.claim(3003).is_some());
}

#[test]
fn checks_take_out_and_bring_back_and_no_pull_tries() {
    let mut health = Health::new(checked(), 0);
    assert_eq!(health.checked(false, 1).or(health.checked(false, 2)).or(health.checked(true, 3)), None);
    assert_eq!(health.checked(false, 4).or(health.checked(false, 5)), None);
    assert_eq!(health.checked(false, 6), Some(News::Became(Condition::Down)));
    assert_eq!(health.claim(100_000).or(health.succeeded(Pass::Desperate, 100_000)), None);
    assert_eq!(health.checked(true, 7).or(health.checked(false, 8)).or(health.checked(true, 9)), None);
    assert_eq!(health.checked(true, 10), Some(News::Became(Condition::Up)));
}

#[test]
fn with_checks_an_ejected_server_needs_them_and_its_time() {
    let mut health = Health::new(checked(), 0);
    ejected(&mut health, 0);
    for now in [10, 500, 999] {
        assert_eq!(health.checked(true, now), None, "{now}");
    }
    assert_eq!(health.standing(), Standing::Out);
    assert_eq!(health.checked(true, 1000), Some(News::Became(Condition::Up)));
}

#[test]
fn a_reload_without_checks_does_not_strand_a_server() {
    let mut health = Health::new(checked(), 0);
    let news: Vec<_> = (0..3).filter_map(|now| health.checked(false, now)).collect();
    assert_eq!(news, [News::Became(Condition::Down)]);
    health.judge_by(TERMS, 50);
    assert!(health.claim(50).is_some());
}

fn candidates(standings: &[(Standing, usize)]) -> impl Iterator<Item = (usize, Candidate)> + '_ {
    standings.iter().map(|(standing, load)| Candidate { standing: *standing, load: *load }).enumerate()
}

#[test]
fn the_share_of_a_server_that_came_back_grows() {
    let bits = Cell::new(1_u32);
    let luck = || {
        bits.set(bits.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        f64::from(bits.get() >> 8) / f64::from(1 << 24)
    };
    let share_at = |now: Moment, load: usize| {
        let standings = [(Standing::Full, load), (Standing::Rising { since: 0 }, load), (Standing::Full, load)];
        let taken = (0..3000).filter(|turn| {
            let mut turned: Vec<_> = candidates(&standings).collect();
            turned.rotate_left(turn % 3);
            choose(turned.into_iter(), 10_000, || now, luck) == Some((1, Pass::Offered))
        });
        taken.count() as f64 / 3000.0
    };
    let shares: Vec<f64> = [0, 2500, 5000, 7500, 10_000].iter().map(|&now| share_at(now, 0)).collect();
    assert!(shares.is_sorted(), "{shares:?}");
    assert!(shares[0] < 0.06 && shares[4] > 0.32 && shares[4] < 0.35, "{shares:?}");
    assert_eq!(share_at(5000, 10), 0.0, "at half its share, ten pulls in hand weigh as twenty");
}

#[test]
fn the_least_loaded_is_chosen_and_nobody_who_is_out_while_another_is_up() {
    let chosen = |standings: &[(Standing, usize)], now| choose(candidates(standings), 1000, || now, || 0.5);
    let (full, out) = (Standing::Full, Standing::Out);
    assert_eq!(chosen(&[(full, 3), (full, 1), (full, 1)], 0), Some((1, Pass::Offered)));
    assert_eq!(chosen(&[(out, 0), (full, 99)], 0), Some((1, Pass::Offered)));
    assert_eq!(chosen(&[(out, 2), (out, 1)], 0), Some((1, Pass::Desperate)));
    let trial = Standing::TrialFrom { until: 10 };
    assert_eq!(chosen(&[(full, 0), (trial, 0)], 9), Some((0, Pass::Offered)));
    assert_eq!(chosen(&[(full, 0), (trial, 0)], 10), Some((1, Pass::Trial)));
    assert_eq!(chosen(&[(Standing::Rising { since: 0 }, 0), (out, 0)], 0), Some((0, Pass::Offered)));
    assert_eq!(chosen(&[], 0), None);
}

#[derive(Clone, Debug)]
enum Event {
    Pull,
    End { pull: usize, how: u8 },
    Check { server: usize, good: bool },
    Wait(u64),
    Reload { checks: bool },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Pull),
        6 => (any::<usize>(), 0..5_u8).prop_map(|(pull, how)| Event::End { pull, how }),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(server, good)| Event::Check { server, good }),
        2 => (0..3000_u64).prop_map(Event::Wait),
        1 => any::<bool>().prop_map(|checks| Event::Reload { checks }),
    ]
}

proptest! {
    #[test]
    fn standings_are_packed_without_loss(moment in 0..1_u64 << 62) {
        for standing in [
            Standing::Full, Standing::Out, Standing::Rising { since: moment }, Standing::TrialFrom { until: moment },
        ] {
            prop_assert_eq!(Standing::unpack(standing.pack()), standing);
        }
    }

    #[test]
    fn whatever_happens_a_server_is_offered_and_no_two_trials_run(
        count in 1..5_usize,
        passive in any::<bool>(),
        events in proptest::collection::vec(event(), 0..300),
    ) {
        let mut now = 0;
        let mut servers = vec![Health::new(TERMS, now); count];
        let mut pulls: Vec<(usize, Pass)> = Vec::new();
        for event in events {
            match event {
                Event::Wait(time) => now += time,
                Event::Pull => {
                    let seen: Vec<_> = servers.iter().map(|server| (server.standing(), 0)).collect();
                    let (index, pass) = choose(candidates(&seen), 500, || now, || 0.3).expect("a server is offered");
                    if pass == Pass::Trial {
                        prop_assert!(servers[index].claim(now).is_some(), "a trial that is due can be had");
                    }
                    let up = servers.iter().any(|server| server.condition() == Condition::Up);
                    prop_assert!(!(up && pass == Pass::Desperate));
                    pulls.push((index, pass));
                }
                Event::End { pull, how } if !pulls.is_empty() => {
                    let (index, pass) = pulls.swap_remove(pull % pulls.len());
                    let another = (0..count).any(|other| other != index && servers[other].standing().is_up());
                    match how {
                        0..=2 => _ = servers[index].failed(pass, now, another),
                        3 => _ = servers[index].succeeded(pass, now),
                        _ if pass == Pass::Trial => servers[index].release(now),
                        _ => {}
                    }
                }
                Event::Check { server, good } if !passive => _ = servers[server % count].checked(good, now),
                Event::Reload { checks } if !passive => {
                    let terms = if checks { checked() } else { TERMS };
                    servers.iter_mut().for_each(|server| server.judge_by(terms.clone(), now));
                }
                _ => {}
            }
            for (index, server) in servers.iter().enumerate() {
                let trials = pulls.iter().filter(|(at, pass)| *at == index && *pass == Pass::Trial).count();
                prop_assert_eq!(trials, usize::from(server.condition() == Condition::Trial));
            }
            if passive {
                let up = servers.iter().any(|server| server.condition() == Condition::Up);
                prop_assert!(up, "the last one was ejected");
            }
        }
    }
}
