//! The trace context of a pull (W3C Trace Context): the one that it came with, where that is believed, or one that begins here.

#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "no policy of such a build asks for traces"))]
mod span;

#[cfg(feature = "otlp")]
pub(crate) use export::export;
pub(crate) use span::{Queue, Recording, Span};

use crate::fields::Fields;
use crate::forward::write_line;
use headwater_config::{Parent, Trace as Settings};
use tokio::time::Instant;

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;
/// The flags that have a meaning: recorded, and at random. Others are not ours to pass on (section 3.2.2.5).
const KNOWN_FLAGS: u8 = 3;

/// Which trace, and which span of it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// Never 0.
    trace: u128,
    /// Never 0.
    span: u64,
    flags: u8,
}

impl Context {
    /// Reads a `traceparent`. `None`: it is none that this version of the standard can read (section 3.2).
    fn read(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(55)?;
        if known[2] != b'-' || known[35] != b'-' || known[52] != b'-' {
            return None;
        }
        // Later versions may say more, behind another dash.
        match hex(&known[..2])? {
            0xff => return None,
            0 if !more.is_empty() => return None,
            _ if more.first().is_some_and(|first| *first != b'-') => return None,
            _ => {}
        }
        let trace = hex(&known[3..35])?;
        let span = hex(&known[36..52])? as u64;
        let flags = hex(&known[53..])? as u8 & KNOWN_FLAGS;
        (trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// The one that a request came with. Two of them are none.
    fn of(fields: &Fields) -> Option<Self> {
        let mut all = fields.all("traceparent");
        let first = all.next().and_then(Self::read)?;
        all.next().is_none().then_some(first)
    }

    /// Begins a trace.
    fn begin(recorded: bool) -> Self {
        Self { trace: fastrand::u128(1..), span: fastrand::u64(1..), flags: u8::from(recorded) * SAMPLED }
    }

    /// As a `traceparent`, version 00.
    fn text(self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Lower case alone, as the standard has it. At most 32 digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// What a pull knows of its trace.
pub(crate) struct Trace {
    /// What the app is told.
    context: Context,
    /// Whether the pull came with it: then its `tracestate` passes too.
    kept: bool,
    recording: Option<Box<Recording>>,
}

impl Trace {
    /// Continues what a pull came with, if it is to be believed, or begins a trace. `proven`: whether a provider proved itself.
    pub fn new(settings: &Settings, fields: &Fields, proven: bool, begun: Instant) -> Self {
        let believed = match settings.parent {
            Parent::Proven => proven,
            Parent::All => true,
            Parent::Nobody => false,
        };
        let parent = believed.then(|| Context::of(fields)).flatten();
        let mut context = parent.unwrap_or_else(|| Context::begin(fastrand::f64() < settings.sample));
        // What is not recorded keeps the span that asked us: the app's own spans would hang from one that nobody knows.
        let recording = (context.flags & SAMPLED != 0).then(|| {
            if parent.is_some() {
                context.span = fastrand::u64(1..);
            }
            let state = parent.map(|_| state(fields)).unwrap_or_default();
            Box::new(Recording::new(context.trace, context.span, parent.map(|parent| parent.span), state, begun))
        });
        Self { context, kept: parent.is_some(), recording }
    }

    /// The origin is about to be asked, perhaps once more.
    pub fn asks(&mut self) {
        if let Some(recording) = &mut self.recording {
            self.context.span = recording.asks();
        }
    }

    /// That server is asked.
    pub fn asked(&mut self, server: &str) {
        if let Some(recording) = &mut self.recording {
            recording.asked(server);
        }
    }

    /// Writes the context for the app: our request to it is the parent of what it does.
    pub fn write_to(&self, out: &mut Vec<u8>, fields: &Fields) {
        write_line(out, b"traceparent", self.context.text().as_bytes());
        if self.kept {
            fields.all("tracestate").for_each(|state| write_line(out, b"tracestate", state));
        }
    }

    /// What is recorded, if anything is.
    pub fn recording(&self) -> Option<&Recording> {
        self.recording.as_deref()
    }
}

/// The vendors' own words, as one; empty where there are too many (section 3.3.1.5: more than 512 characters may be left out).
fn state(fields: &Fields) -> String {
    let joined = fields.all("tracestate").collect::<Vec<_>>().join(&b","[..]);
    String::from_utf8(joined).ok().filter(|state| state.len() <= 512).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_and_written_alike() {
        let context = Context::read(GOOD.as_bytes()).unwrap();
        assert_eq!((context.trace >> 120, context.span, context.flags), (0x4b, 0xf0_67aa_0ba9_02b7, 1));
        assert_eq!(context.text(), GOOD);
        for later in ["cc", "01", "fe"] {
            let of_later_version = GOOD.replacen("00", later, 1);
            assert_eq!(Context::read(of_later_version.as_bytes()), Some(context));
            assert_eq!(Context::read(format!("{of_later_version}-what-is-new").as_bytes()), Some(context));
            assert_eq!(Context::read(format!("{of_later_version}what-is-new").as_bytes()), None);
        }
        let flags = |text: &str| Context::read(format!("{}{text}", &GOOD[..53]).as_bytes()).unwrap().flags;
        assert_eq!((flags("00"), flags("ff"), flags("fe")), (0, 3, 2));
    }

    #[test]
    fn what_the_standard_forbids_is_no_context() {
        for wrong in [
            "".to_string(),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "0", 1),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            GOOD.replace("-01", "-0g"),
            GOOD[..54].to_string(),
            format!("{GOOD}-"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
        ] {
            assert_eq!(Context::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_context_comes_back(trace in 1u128.., span in 1u64.., flags in 0u8..4) {
            let context = Context { trace, span, flags };
            prop_assert_eq!(Context::read(context.text().as_bytes()), Some(context));
        }

        #[test]
        fn no_bytes_are_too_strange_to_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(context) = Context::read(&bytes) {
                let text = context.text();
                prop_assert_eq!(&text.as_bytes()[3..53], &bytes[3..53]);
            }
        }

        #[test]
        fn a_single_change_gives_another_context_or_none(at in 0usize..55, byte in any::<u8>()) {
            let mut changed = GOOD.as_bytes().to_vec();
            changed[at] = byte;
            if let Some(context) = Context::read(&changed) {
                let sound = !(2..=52).contains(&at) || context.text().as_bytes() == changed;
                prop_assert!(sound, "{}", String::from_utf8_lossy(&changed));
            }
        }
    }
}
