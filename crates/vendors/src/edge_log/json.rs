//! JSON objects, of which only the fields that matter are looked at.

use super::Outcome;
use super::fields::{Names, Slots, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// What Cloudflare uploads to see whether a destination works (developers.cloudflare.com/logs/logpush/logpush-job/enable-destinations/http).
const TRIAL: &[u8] = br#"{"content":"tests"}"#;

/// Reads the objects of a line.
pub(super) fn read(names: &Names, line: &[u8], mut found: impl FnMut(Outcome<'_>)) {
    if line == TRIAL {
        return found(Outcome::Nothing);
    }
    let mut json = serde_json::Deserializer::from_slice(line);
    loop {
        match Object(names).deserialize(&mut json) {
            Ok(slots) => found(slots.outcome()),
            Err(_) => return found(Outcome::Malformed("it is no JSON object")),
        }
        if json.end().is_ok() {
            return;
        }
    }
}

struct Object<'n>(&'n Names);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Slots<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Slots<'de>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Slots<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Slots<'de>, A::Error> {
        let mut slots = Slots::default();
        while let Some(role) = map.next_key_seed(Key(self.0))? {
            match role {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(role) => {
                    if let Some(value) = map.next_value_seed(Scalar)? {
                        slots.put(role, value);
                    }
                }
            }
        }
        Ok(slots)
    }
}

struct Key<'n>(&'n Names);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<(super::Role, u8)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<(super::Role, u8)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.role(name))
    }
}

/// A value that is no list and no object; of these and of null there is none.
struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Option<Value<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Option<Value<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Value::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Value::Text(Cow::Owned(text.into()))))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Value::Whole(number)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::Real(number as f64)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(Value::Real(number)))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::Flag(flag)))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
