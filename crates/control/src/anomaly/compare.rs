//! Methods beside each other on made shapes: false alarms in a provider's week, and minutes until a departure is seen. The
//! table in `docs/anomalies.md` is what `the_table` prints; a shorter run holds what was chosen to its promises.

#[path = "compare_methods.rs"]
mod methods;
#[path = "compare_shapes.rs"]
mod shapes;

use methods::{Method, Point};
use shapes::{PROVIDERS, Shape, WEEK};

/// The time of day at which a departure begins: in the evening of the third day.
const BEGINS: usize = 2 * 1440 + 1140;

/// Alarms of one method over one made week up to a minute, all providers beside each other: by provider, the minutes in which one begins.
/// The last place is "all of them", where the method knows such a thing.
fn alarms(method: &mut dyn Method, shape: &Shape, world: &shapes::World, until: usize) -> Vec<Vec<usize>> {
    let mut begun = vec![Vec::new(); PROVIDERS + 1];
    let mut was = [false; PROVIDERS + 1];
    for minute in 0..until {
        let points: Vec<Point> = (0..PROVIDERS).map(|provider| world.point(shape, provider, minute)).collect();
        let alarmed = method.step(minute, &points);
        for (who, (&is, was)) in alarmed.iter().zip(&mut was).enumerate() {
            if is && !*was {
                begun[who].push(minute);
            }
            *was = is;
        }
    }
    begun
}

/// What a method is worth on a shape.
struct Worth {
    false_alarms: f64,
    seen: usize,
    runs: usize,
    delay: Option<usize>,
}

/// Runs a method over seeded weeks of a shape.
fn worth(make: &dyn Fn(&Shape) -> Box<dyn Method>, shape: &Shape, seeds: std::ops::Range<u64>, until: usize) -> Worth {
    let runs = seeds.clone().count();
    let (mut false_alarms, mut seen, mut delays) = (0, 0, Vec::new());
    for seed in seeds {
        let world = shapes::World::new(shape, seed, BEGINS);
        let begun = alarms(make(shape).as_mut(), shape, &world, until);
        // What begins while something is wrong, with the hour after it, is no false alarm of the one who is to blame.
        let wrong = shape.wrong.map(|wrong| (wrong.whom, BEGINS..BEGINS + wrong.lasts + 60));
        for (who, minutes) in begun.iter().enumerate() {
            for minute in minutes {
                match &wrong {
                    Some((whom, when)) if when.contains(minute) && whom.is_none_or(|whom| whom == who) => {}
                    Some((Some(_), when)) if when.contains(minute) && who == PROVIDERS => false_alarms += 1,
                    _ => false_alarms += 1,
                }
            }
        }
        if let Some((whom, when)) = wrong {
            let who = whom.unwrap_or(PROVIDERS);
            if let Some(minute) = begun[who].iter().find(|minute| when.contains(minute)) {
                seen += 1;
                delays.push(minute - BEGINS);
            }
        }
    }
    delays.sort_unstable();
    let delay = delays.get(delays.len() / 2).copied();
    Worth { false_alarms: false_alarms as f64 / (runs * PROVIDERS) as f64, seen, runs, delay }
}

/// `cargo test --release -p headwater-control anomaly::compare::the_table -- --ignored --nocapture`
#[test]
#[ignore = "prints the table of docs/anomalies.md, and takes minutes"]
fn the_table() {
    let runs: u64 = std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(20);
    println!("| shape | {} |", methods::ALL.map(|(name, _)| name).join(" | "));
    println!("|---|{}", "---|".repeat(methods::ALL.len()));
    for shape in shapes::ALL {
        let cells = methods::ALL.map(|(_, make)| {
            let worth = worth(&make, shape, 0..runs, WEEK);
            match (shape.wrong, worth.delay) {
                (None, _) => format!("{:.3}", worth.false_alarms),
                (Some(_), Some(delay)) => {
                    format!("{}/{}, {delay} min, {:.2}", worth.seen, worth.runs, worth.false_alarms)
                }
                (Some(_), None) => format!("0/{}, {:.2}", worth.runs, worth.false_alarms),
            }
        });
        println!("| {} | {} |", shape.name, cells.join(" | "));
    }
}

#[test]
fn the_chosen_method_is_quiet_and_sees_what_it_should() {
    let (_, chosen) = methods::ALL[0];
    // The noisiest has its false alarms, which the table counts.
    for shape in shapes::ALL.iter().filter(|shape| shape.noise < 0.2) {
        let worth = worth(&chosen, shape, 100..101, BEGINS + 360);
        match shape.wrong {
            None => assert_eq!(worth.false_alarms, 0.0, "{}", shape.name),
            Some(_) if shape.is_to_be_seen => {
                assert_eq!((worth.seen, worth.false_alarms), (worth.runs, 0.0), "{}", shape.name);
                assert!(worth.delay.is_some_and(|delay| delay <= shape.within), "{}: {:?}", shape.name, worth.delay);
            }
            Some(_) => assert_eq!((worth.seen, worth.false_alarms), (0, 0.0), "{}", shape.name),
        }
    }
}
