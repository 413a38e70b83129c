//! When a server counts as well: what pulls and checks tell of it, and what follows. Pure: time and luck come from outside.

use headwater_config::Origin;

/// Milliseconds since the process began.
pub(crate) type Moment = u64;

/// The least share of a server that has just come back.
const FIRST_SHARE: f64 = 0.1;

/// What the config says of health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Pulls in a row that fail and eject; 0: never.
    pub fails: u32,
    /// Milliseconds of the first ejection, and of the longest.
    pub eject: u64,
    pub longest: u64,
    /// Checks in a row that take out and bring back, if checks are made.
    pub checks: Option<(u32, u32)>,
}

impl Terms {
    pub fn new(origin: &Origin) -> Self {
        let milliseconds = |time: std::time::Duration| time.as_millis() as u64;
        Self {
            fails: origin.ejection.fails,
            eject: milliseconds(origin.ejection.time),
            longest: milliseconds(origin.ejection.longest),
            checks: origin.checks.as_ref().map(|checks| (checks.fall, checks.rise)),
        }
    }
}

/// A server's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Up,
    /// Checks found it bad.
    Down,
    /// Pulls found it bad. When the time is over, one of them tries it, or, where there are checks, they bring it back.
    Ejected {
        until: Moment,
    },
    /// A pull is trying it.
    Trial,
}

impl Condition {
    /// A metric's label, and the word for `/status`.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Up => "up",
            Condition::Down => "down",
            Condition::Ejected { .. } => "ejected",
            Condition::Trial => "trial",
        }
    }

    /// Every name.
    pub const NAMES: [&'static str; 4] = ["up", "down", "ejected", "trial"];

    /// Its place among [`Condition::NAMES`].
    pub fn index(self) -> usize {
        match self {
            Condition::Up => 0,
            Condition::Down => 1,
            Condition::Ejected { .. } => 2,
            Condition::Trial => 3,
        }
    }
}

/// How a server came to get a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It is up.
    Offered,
    /// It was ejected, and this is the one pull that tries it.
    Trial,
    /// No server is up, so all are tried.
    Desperate,
}

/// Something that people want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is in another condition now.
    Became(Condition),
    /// It would be ejected, but is the last one up.
    LastOneFails,
    /// It was said to fail, was kept, and answers again.
    LastOneAnswers,
}

/// One server's health.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    terms: Terms,
    condition: Condition,
    /// When the condition began.
    since: Moment,
    /// When it came back, until that was long ago.
    risen: Option<Moment>,
    /// Failed pulls in a row.
    failures: u32,
    /// Checks in a row; one of them is 0.
    good: u32,
    bad: u32,
    /// Milliseconds of its last ejection.
    term: u64,
}

impl Health {
    pub fn new(terms: Terms, now: Moment) -> Self {
        Self { terms, condition: Condition::Up, since: now, risen: None, failures: 0, good: 0, bad: 0, term: 0 }
    }

    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// When the condition began.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Whether a success would change anything.
    pub fn is_troubled(&self) -> bool {
        self.failures > 0
    }

    fn become_(&mut self, condition: Condition, now: Moment) -> Option<News> {
        (self.condition, self.since) = (condition, now);
        (self.failures, self.good, self.bad) = (0, 0, 0);
        Some(News::Became(condition))
    }

    fn rise(&mut self, now: Moment) -> Option<News> {
        self.risen = Some(now);
        self.become_(Condition::Up, now)
    }

    /// Puts it out for a time, which doubles where it fails again within as long as it was out before.
    fn eject(&mut self, now: Moment, again: bool) -> Option<News> {
        self.term = if again { (self.term * 2).min(self.terms.longest) } else { self.terms.eject };
        self.term = self.term.max(self.terms.eject);
        self.become_(Condition::Ejected { until: now + self.term }, now)
    }

    /// A pull failed. `another` is whether another server is up.
    pub fn failed(&mut self, pass: Pass, now: Moment, another: bool) -> Option<News> {
        match (self.condition, pass) {
            (Condition::Trial, Pass::Trial) => self.eject(now, true),
            (Condition::Up, _) => {
                self.failures = self.failures.saturating_add(1);
                if self.terms.fails == 0 || self.failures < self.terms.fails {
                    None
                } else if another {
                    self.eject(now, self.term > 0 && now - self.since <= self.term)
                } else {
                    (self.failures == self.terms.fails).then_some(News::LastOneFails)
                }
            }
            // It was begun before, and tells nothing new.
            _ => None,
        }
    }

    /// A pull was answered.
    pub fn succeeded(&mut self, pass: Pass, now: Moment) -> Option<News> {
        match (self.condition, pass) {
            (Condition::Trial, Pass::Trial) => self.rise(now),
            (Condition::Ejected { .. }, Pass::Desperate) if self.terms.checks.is_none() => self.rise(now),
            (Condition::Up, _) => {
                let said = self.terms.fails > 0 && self.failures >= self.terms.fails;
                self.failures = 0;
                said.then_some(News::LastOneAnswers)
            }
            _ => None,
        }
    }

    /// A check was made.
    pub fn checked(&mut self, is_good: bool, now: Moment) -> Option<News> {
        let (fall, rise) = self.terms.checks?;
        (self.good, self.bad) =
            if is_good { (self.good.saturating_add(1), 0) } else { (0, self.bad.saturating_add(1)) };
        match self.condition {
            Condition::Up if self.bad >= fall => self.become_(Condition::Down, now),
            Condition::Up => None,
            Condition::Ejected { until } if self.good >= rise && now >= until => self.rise(now),
            Condition::Ejected { .. } if self.bad >= fall => self.become_(Condition::Down, now),
            Condition::Down if self.good >= rise => self.rise(now),
            // A trial's own end decides.
            Condition::Ejected { .. } | Condition::Down | Condition::Trial => None,
        }
    }

    /// Takes the trial, if it is due and nobody has it.
    pub fn claim(&mut self, now: Moment) -> Option<News> {
        match self.condition {
            Condition::Ejected { until } if until <= now && self.terms.checks.is_none() => {
                self.become_(Condition::Trial, now)
            }
            _ => None,
        }
    }

    /// The trial ended and told nothing: the next pull may have it.
    pub fn release(&mut self, now: Moment) {
        if self.condition == Condition::Trial {
            self.condition = Condition::Ejected { until: now };
        }
    }

    /// It came back then, and that is long ago.
    pub fn settle(&mut self, since: Moment) {
        if self.risen == Some(since) {
            self.risen = None;
        }
    }

    /// A reload.
    pub fn judge_by(&mut self, terms: Terms, now: Moment) {
        if self.terms == terms {
            return;
        }
        if terms.checks.is_none() && self.condition == Condition::Down {
            // No check will bring it back: a pull has to try it.
            self.condition = Condition::Ejected { until: now };
        }
        (self.good, self.bad) = (0, 0);
        self.terms = terms;
    }

    pub fn standing(&self) -> Standing {
        match (self.condition, self.risen) {
            (Condition::Up, None) => Standing::Full,
            (Condition::Up, Some(since)) => Standing::Rising { since },
            (Condition::Ejected { until }, _) if self.terms.checks.is_none() => Standing::TrialFrom { until },
            _ => Standing::Out,
        }
    }
}

/// What a pull has to know of a server, small enough to be read without a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It takes its share.
    Full,
    /// It came back then.
    Rising { since: Moment },
    /// From then on a pull may try it.
    TrialFrom { until: Moment },
    /// It takes none.
    Out,
}

impl Standing {
    /// As one number: the kind in the lowest two bits.
    pub fn pack(self) -> u64 {
        match self {
            Standing::Full => 0,
            Standing::Rising { since } => since << 2 | 1,
            Standing::TrialFrom { until } => until << 2 | 2,
            Standing::Out => 3,
        }
    }

    pub fn unpack(packed: u64) -> Self {
        let moment = packed >> 2;
        match packed & 3 {
            0 => Standing::Full,
            1 => Standing::Rising { since: moment },
            2 => Standing::TrialFrom { until: moment },
            _ => Standing::Out,
        }
    }

    /// Whether it is up.
    pub fn is_up(self) -> bool {
        matches!(self, Standing::Full | Standing::Rising { .. })
    }

    /// The share of a server that came back so many milliseconds ago.
    fn share(since: Moment, now: Moment, slow_start: u64) -> f64 {
        let passed = now.saturating_sub(since);
        if passed >= slow_start { 1.0 } else { (passed as f64 / slow_start as f64).max(FIRST_SHARE) }
    }
}

/// A server as the choice sees it.
pub(crate) struct Candidate {
    pub standing: Standing,
    /// Pulls in hand.
    pub load: usize,
}

/// Chooses among candidates, which come in the order in which equals are preferred, each with its index: a server whose trial
/// is due, else the least loaded of those that are up, else the least loaded of all. A server that came back takes part in a
/// growing share of choices, and its load counts the more the smaller that share is.
pub(crate) fn choose(
    candidates: impl Iterator<Item = (usize, Candidate)>,
    slow_start: u64,
    now: impl Fn() -> Moment,
    luck: impl Fn() -> f64,
) -> Option<(usize, Pass)> {
    /// Thousandths of a pull.
    const WHOLE: usize = 1000;
    let mut best: Option<((u8, usize), usize)> = None;
    for (index, candidate) in candidates {
        let load = candidate.load.saturating_mul(WHOLE);
        let rank = match candidate.standing {
            Standing::Full => (0, load),
            Standing::Rising { since } => {
                let share = Standing::share(since, now(), slow_start);
                let takes_part = share >= 1.0 || luck() < share;
                (u8::from(!takes_part), (load as f64 / share) as usize)
            }
            Standing::TrialFrom { until } if until <= now() => return Some((index, Pass::Trial)),
            Standing::TrialFrom { .. } | Standing::Out => (2, load),
        };
        if best.is_none_or(|(least, _)| rank < least) {
            best = Some((rank, index));
        }
    }
    best.map(|((tier, _), index)| (index, if tier < 2 { Pass::Offered } else { Pass::Desperate }))
}

#[cfg(test)]
mod tests;
