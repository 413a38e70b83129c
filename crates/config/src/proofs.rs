//! What to doubt of a provider's proofs: those that hold, and prove nothing or another provider.

use crate::networks::BUILT_IN;
use crate::providers::{Kind, Provider};
use crate::reader::At;
use crate::secret::Secret;
use crate::source::{Mistake, Place};

/// Shorter ones may be guessed.
const SHORTEST: usize = 16;

/// `same`: the values before it in its entry. `others`: the entries before.
pub(crate) fn doubt_secret(secret: &Secret, place: &Place, same: &[Secret], others: &[Provider]) -> Option<Mistake> {
    let remedy = "use the output of `openssl rand -hex 32`";
    let holds = |other: &&Provider| other.secret.as_ref().is_some_and(|header| header.values.contains(secret));
    if let Some(other) = others.iter().find(holds) {
        return Some(Mistake::at(
            place,
            format!("this is the secret of \"{}\" too: each of the two could claim to be the other", other.name),
            "give each provider a secret of its own, for example the output of `openssl rand -hex 32`",
        ));
    }
    if same.contains(secret) {
        return Some(Mistake::warning(place, "this secret stands here twice", "leave one out, or write the new one"));
    }
    (secret.expose().len() < SHORTEST).then(|| {
        Mistake::warning(place, format!("this secret is shorter than {SHORTEST} characters and may be guessed"), remedy)
    })
}

/// A vendor's list under another vendor: no pull of the provider comes from there.
pub(crate) fn doubt_lists(kind: Kind, networks: &[At<String>]) -> Vec<Mistake> {
    networks
        .iter()
        .filter(|entry| kind != Kind::Generic && entry.value != kind.name())
        .filter(|entry| BUILT_IN.iter().any(|(list, _)| *list == entry.value))
        .map(|entry| {
            let remedy = match BUILT_IN.iter().find(|(list, _)| *list == kind.name()) {
                Some((list, _)) => format!("write \"{list}\""),
                None => format!("there is no list for {}: write its networks, or prove it by a secret", kind.name()),
            };
            let what = format!("these are the networks of {}, and the provider's kind is {}", entry.value, kind.name());
            Mistake::warning(&entry.place, what, remedy)
        })
        .collect()
}

/// A provider that is named after another vendor.
pub(crate) fn doubt_name(kind: Kind, name: &At<String>) -> Option<Mistake> {
    let named = Kind::all().find(|other| other.name() == name.value)?;
    (named != kind && named != Kind::Generic).then(|| {
        Mistake::warning(
            &name.place,
            format!("the provider is named {} and its kind is {}", name.value, kind.name()),
            format!("write kind = \"{}\", or another name", named.name()),
        )
    })
}
