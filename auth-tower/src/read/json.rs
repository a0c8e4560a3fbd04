use std::{collections::BTreeMap, fmt};

use auth_core::types::Secret;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON value, as far as endpoints care.
pub(crate) enum Value {
    Flag(bool),
    /// A member of the document itself, as it was written: as a float, 0.10 and 0.1000000000000000001 would be one.
    Number(String),
    Object(BTreeMap<String, Self>),
    Text(Secret<String>),
    /// An array, a number further down, or null.
    Other,
}

/// Reads one JSON document and nothing after it.
///
/// Duplicate member names are refused at any depth: parsers disagree on which of them counts (RFC 8259 §4).
/// Depth is bounded by `serde_json`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::from_slice(bytes)?;
    if let Value::Object(members) = &mut value
        && members
            .values()
            .any(|member| !matches!(member, Value::Text(_)))
    {
        keep_numbers(members, bytes)?;
    }
    Ok(value)
}

/// Not with `serde_json`'s `arbitrary_precision`, which would change every number of the host; where the host has it on, this holds all the same.
fn keep_numbers(
    members: &mut BTreeMap<String, Value>,
    document: &[u8],
) -> Result<(), serde_json::Error> {
    let written: BTreeMap<String, &RawValue> = serde_json::from_slice(document)?;
    for (name, raw) in written {
        let raw = raw.get();
        if raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            members.insert(name, Value::Number(raw.to_owned()));
        }
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Flag(is))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Secret::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element::<Value>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value()?;
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("a member name appears twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, parse};

    #[test]
    fn what_is_no_single_json_document_is_refused() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for (name, body) in [
            ("empty", b"".as_slice()),
            ("space", b" \n"),
            ("cut", br#"{"a":"#),
            ("trailing comma", br#"{"a":1,}"#),
            ("trailing bytes", br#"{"a":1} x"#),
            ("second document", br#"{"a":1}{"b":2}"#),
            ("single quotes", b"{'a':1}"),
            ("comment", b"{\"a\":1 /* */}"),
            ("byte order mark", b"\xef\xbb\xbf{}"),
            ("invalid UTF-8 in a value", b"{\"a\":\"\xff\"}"),
            ("invalid UTF-8 in a name", b"{\"\xff\":1}"),
            ("lone surrogate", br#"{"a":"\ud800"}"#),
            ("control character", b"{\"a\":\"\n\"}"),
            ("NaN", br#"{"a":NaN}"#),
            ("leading zero", br#"{"a":01}"#),
            ("duplicate", br#"{"a":"1","a":"1"}"#),
            ("duplicate by escape", br#"{"a":1,"\u0061":2}"#),
            ("duplicate inside", br#"{"x":{"a":1,"a":2}}"#),
            ("duplicate in an array", br#"{"x":[{"a":1,"a":2}]}"#),
            ("too deep", deep.as_bytes()),
            ("form", b"username=ada&password=x"),
        ] {
            assert!(parse(body).is_err(), "{name}");
        }
    }

    #[test]
    fn a_number_is_kept_as_it_was_written() {
        for written in ["12.50", "0", "-1", "1e3", "0.1000000000000000001", "1.0"] {
            let body = format!(r#"{{"text":"1", "number": {written} ,"inside":[{written}]}}"#);
            let Ok(Value::Object(object)) = parse(body.as_bytes()) else {
                panic!("this is an object");
            };
            assert!(matches!(&object["number"], Value::Number(text) if text == written));
            assert!(matches!(&object["text"], Value::Text(_)));
            assert!(matches!(&object["inside"], Value::Other));
        }
    }

    #[test]
    fn names_that_differ_in_case_are_two_names() {
        let Ok(Value::Object(object)) = parse(br#"{"a":"1","A":{"a":[null,true,1.5,-1]}}"#) else {
            panic!("this is an object");
        };
        assert_eq!(object.len(), 2);
        assert!(matches!(&object["a"], Value::Text(text) if text.expose() == "1"));
    }
}
