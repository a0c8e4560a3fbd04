use std::collections::BTreeMap;

use auth_core::{
    Error, InvalidField,
    types::{IdempotencyKey, Invalid, PasswordAttempt, Secret},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::{form, json};
use crate::respond::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REQUIRED: Invalid = Invalid::new("required", "This field is required.");
const INVALID_TYPE: Invalid = Invalid::new("invalid_type", "This field is a string.");
const NOT_A_FLAG: Invalid = Invalid::new("invalid_type", "This field is true or false.");
const NOT_AN_OBJECT: Invalid = Invalid::new("invalid_type", "The body is a JSON object.");
const UNKNOWN: Invalid = Invalid::new("unknown_field", "There is no such field here.");
const DUPLICATE: Invalid = Invalid::new("duplicate_field", "This field appears more than once.");
const EXCLUSIVE: Invalid = Invalid::new(
    "mutually_exclusive",
    "Another field excludes this one; send one of them.",
);
const NOT_TEXT: Invalid = Invalid::new("invalid_encoding", "This is not text in UTF-8.");

/// The fields of one request, from wherever they came. Endpoints take them out one by one, as domain types, and
/// [`finish`](Self::finish) tells all that is wrong with them at once. What is not taken out is unknown, and refused:
/// nobody sets a field that the endpoint does not name (ASVS 15.3.3).
#[must_use = "fields that are not finished are not checked"]
#[derive(Default)]
pub(crate) struct Fields {
    members: BTreeMap<String, Member>,
    params: BTreeMap<String, Result<String, Invalid>>,
    idempotency_key: Option<Result<IdempotencyKey, Invalid>>,
    invalid: Vec<InvalidField>,
    is_form: bool,
    raw: Bytes,
}

enum Member {
    /// Its fault is known already.
    Faulty,
    Flag(bool),
    /// A JSON number, as it was written.
    Number(String),
    Text(Secret<String>),
    /// Another JSON value.
    Untyped,
}

/// A field that was read, if it is what it should be.
#[must_use = "its value comes out of Fields::finish"]
pub(crate) struct Field<T>(Option<T>);

impl Fields {
    /// A problem list must not grow with the request.
    const MAX_INVALID: usize = 32;
    const MAX_NAME_CHARS: usize = 64;

    /// The members of a JSON object.
    pub(crate) fn from_json(body: &[u8]) -> Result<Self, Problem> {
        let json::Value::Object(object) = json::parse(body).map_err(|_| Problem::MalformedBody)?
        else {
            return Err(Error::invalid("body", NOT_AN_OBJECT).into());
        };
        let members = object
            .into_iter()
            .map(|(name, value)| match value {
                json::Value::Flag(is) => (name, Member::Flag(is)),
                json::Value::Number(text) => (name, Member::Number(text)),
                json::Value::Text(text) => (name, Member::Text(text)),
                json::Value::Object(_) | json::Value::Other => (name, Member::Untyped),
            })
            .collect();
        Ok(Self {
            members,
            ..Self::default()
        })
    }

    /// No fields, but a whole body.
    pub(crate) fn of_raw(raw: Bytes) -> Self {
        Self {
            raw,
            ..Self::default()
        }
    }

    /// The body as it was sent, where nothing else was read of it.
    pub(crate) fn into_raw(self) -> Bytes {
        self.raw
    }

    /// The pairs of a urlencoded form.
    pub(crate) fn from_form(body: &[u8]) -> Self {
        Self {
            is_form: true,
            ..Self::from_query(body)
        }
    }

    /// The pairs of a query string.
    pub(crate) fn from_query(query: &[u8]) -> Self {
        let mut fields = Self::default();
        for pair in form::pairs(query) {
            // Which of two would count, proxies and frameworks disagree on (ASVS 15.3.7).
            let fault = match fields.members.get(&pair.name) {
                Some(Member::Faulty) => continue,
                Some(_) => Some(DUPLICATE),
                None => pair.value.is_err().then_some(NOT_TEXT),
            };
            let member = match (fault, pair.value) {
                (None, Ok(text)) => Member::Text(text),
                (fault, _) => {
                    let _: Field<()> = fields.refuse(&pair.name, fault.unwrap_or(NOT_TEXT));
                    Member::Faulty
                }
            };
            fields.members.insert(pair.name, member);
        }
        fields
    }

    /// With parameters out of the path, percent-decoded once: `%2F` is part of a value by now.
    pub(crate) fn with_params(
        mut self,
        params: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        for (name, encoded) in params {
            let value = match percent_decode_str(&encoded).decode_utf8() {
                Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
                _ => Err(NOT_TEXT),
            };
            self.params.insert(name, value);
        }
        self
    }

    /// With what the headers say of repeats.
    pub(crate) fn with_idempotency_key(mut self, headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(IDEMPOTENCY_KEY).iter();
        self.idempotency_key = match (sent.next(), sent.next()) {
            (None, _) => None,
            // Which of two would count, proxies and frameworks disagree on (ASVS 15.3.7).
            (Some(_), Some(_)) => Some(Err(DUPLICATE)),
            (Some(one), None) => {
                let text = String::from_utf8_lossy(one.as_bytes());
                Some(IdempotencyKey::parse(&text))
            }
        };
        self
    }

    /// They came as a form.
    pub(crate) const fn is_form(&self) -> bool {
        self.is_form
    }

    /// A field that must be there.
    pub(crate) fn required<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Field<T> {
        match self.members.remove(name) {
            Some(member) => self.read(name, member, parse),
            None => self.refuse(name, REQUIRED),
        }
    }

    /// A decimal number that must be there: a string, or a JSON number that is written as that string would be.
    pub(crate) fn required_decimal<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Field<T> {
        match self.members.remove(name) {
            Some(Member::Number(text)) => self.parsed(name, &text, parse),
            Some(member) => self.read(name, member, parse),
            None => self.refuse(name, REQUIRED),
        }
    }

    /// The header `Idempotency-Key`, which may be there.
    pub(crate) fn idempotency_key(&mut self) -> Field<Option<IdempotencyKey>> {
        match self.idempotency_key.take() {
            None => Field(Some(None)),
            Some(Ok(key)) => Field(Some(Some(key))),
            Some(Err(reason)) => self.refuse("Idempotency-Key", reason),
        }
    }

    /// A field that may be there.
    pub(crate) fn optional<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Field<Option<T>> {
        match self.members.remove(name) {
            Some(member) => Field(self.read(name, member, parse).0.map(Some)),
            None => Field(Some(None)),
        }
    }

    /// A boolean of a JSON document that may be there.
    pub(crate) fn optional_flag(&mut self, name: &str) -> Field<Option<bool>> {
        match self.members.remove(name) {
            None => Field(Some(None)),
            Some(Member::Flag(is)) => Field(Some(Some(is))),
            Some(Member::Faulty) => Field(None),
            Some(_) => self.refuse(name, NOT_A_FLAG),
        }
    }

    /// One of two fields; the first one is asked for when there is none.
    pub(crate) fn either<T>(
        &mut self,
        (first, parse_first): (&str, impl FnOnce(&str) -> Result<T, Invalid>),
        (second, parse_second): (&str, impl FnOnce(&str) -> Result<T, Invalid>),
    ) -> Field<T> {
        match (
            self.members.contains_key(first),
            self.members.remove(second),
        ) {
            (true, Some(_)) => {
                self.members.remove(first);
                self.refuse(second, EXCLUSIVE)
            }
            (false, Some(member)) => self.read(second, member, parse_second),
            (_, None) => self.required(first, parse_first),
        }
    }

    /// A parameter of the path.
    pub(crate) fn path<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Field<T> {
        let value = self.params.remove(name).unwrap_or(Err(REQUIRED));
        match value.and_then(|text| parse(&text)) {
            Ok(value) => Field(Some(value)),
            Err(reason) => self.refuse(name, reason),
        }
    }

    /// A field that may be there and whose value is not kept.
    pub(crate) fn check(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<(), Invalid>) {
        // A fault is kept by the fields themselves.
        let _ = self.optional(name, parse);
    }

    /// A field that others send and that says nothing here.
    pub(crate) fn ignore(&mut self, name: &str) {
        self.members.remove(name);
    }

    /// What is left says nothing here, whatever it is; what came twice is a fault all the same.
    pub(crate) fn ignore_others(&mut self) {
        self.members.clear();
    }

    /// The values, if every field is what it should be and none is left.
    pub(crate) fn finish<F: Read>(mut self, fields: F) -> Result<F::Values, Problem> {
        for (name, member) in std::mem::take(&mut self.members) {
            if !matches!(member, Member::Faulty) {
                let _: Field<()> = self.refuse(&name, UNKNOWN);
            }
        }
        match fields.values() {
            Some(values) if self.invalid.is_empty() => Ok(values),
            _ => Err(Error::Invalid(self.invalid).into()),
        }
    }

    fn read<T>(
        &mut self,
        name: &str,
        member: Member,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Field<T> {
        match member {
            Member::Faulty => Field(None),
            Member::Text(text) => self.parsed(name, text.expose(), parse),
            Member::Flag(_) | Member::Number(_) | Member::Untyped => {
                self.refuse(name, INVALID_TYPE)
            }
        }
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Field<T> {
        match parse(text) {
            Ok(value) => Field(Some(value)),
            Err(reason) => self.refuse(name, reason),
        }
    }

    fn refuse<T>(&mut self, name: &str, reason: Invalid) -> Field<T> {
        if self.invalid.len() < Self::MAX_INVALID {
            let name: String = name.chars().take(Self::MAX_NAME_CHARS).collect();
            self.invalid.push(InvalidField::new(name, reason));
        }
        Field(None)
    }
}

/// One [`Field`] or a tuple of them.
pub(crate) trait Read {
    type Values;

    fn values(self) -> Option<Self::Values>;
}

impl<T> Read for Field<T> {
    type Values = T;

    fn values(self) -> Option<T> {
        self.0
    }
}

impl<A: Read, B: Read> Read for (A, B) {
    type Values = (A::Values, B::Values);

    fn values(self) -> Option<Self::Values> {
        Some((self.0.values()?, self.1.values()?))
    }
}

impl<A: Read, B: Read, C: Read> Read for (A, B, C) {
    type Values = (A::Values, B::Values, C::Values);

    fn values(self) -> Option<Self::Values> {
        Some((self.0.values()?, self.1.values()?, self.2.values()?))
    }
}

/// Reads a password that is only compared.
#[allow(clippy::unnecessary_wraps)] // the shape of every reader
pub(crate) fn attempt(raw: &str) -> Result<PasswordAttempt, Invalid> {
    Ok(PasswordAttempt::new(raw))
}

/// Reads a token: any text, judged by the core.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn secret(raw: &str) -> Result<Secret<String>, Invalid> {
    Ok(Secret::new(raw.to_owned()))
}

/// Reads any text.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn text(raw: &str) -> Result<String, Invalid> {
    Ok(raw.to_owned())
}

#[cfg(test)]
mod tests {
    use auth_core::{
        Error,
        types::{Email, Password, Username},
    };

    use super::{Fields, text};
    use crate::respond::Problem;

    /// Field and code of every fault, in the order of the answer.
    fn faults<T>(outcome: Result<T, Problem>) -> Vec<(String, &'static str)> {
        match outcome {
            Err(Problem::Core(Error::Invalid(fields))) => fields
                .into_iter()
                .map(|it| (it.field, it.reason.code))
                .collect(),
            Err(other) => panic!("another problem: {other:?}"),
            Ok(_) => Vec::new(),
        }
    }

    fn registration(body: &str) -> Vec<(String, &'static str)> {
        let mut fields = match Fields::from_json(body.as_bytes()) {
            Ok(fields) => fields,
            Err(problem) => return faults::<()>(Err(problem)),
        };
        let username = fields.required("username", Username::parse);
        let email = fields.required("email", Email::parse);
        let password = fields.required("password", Password::parse);
        faults(fields.finish((username, email, password)))
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let good = r#""username":"ada","email":"ada@example.org","password":"correct horse""#;
        for (body, expected) in [
            (format!("{{{good}}}"), &[][..]),
            (
                "{}".to_owned(),
                &[
                    ("username", "required"),
                    ("email", "required"),
                    ("password", "required"),
                ],
            ),
            (
                format!(r#"{{{good},"is_admin":true}}"#),
                &[("is_admin", "unknown_field")],
            ),
            (
                r#"{"username":"a b","email":7,"extra":{}}"#.to_owned(),
                &[
                    ("username", "invalid_characters"),
                    ("email", "invalid_type"),
                    ("password", "required"),
                    ("extra", "unknown_field"),
                ],
            ),
            (
                r#"{"username":null,"email":["a@b.org"],"password":{"a":1}}"#.to_owned(),
                &[
                    ("username", "invalid_type"),
                    ("email", "invalid_type"),
                    ("password", "invalid_type"),
                ],
            ),
            (
                r#"["ada","ada@example.org","correct horse"]"#.to_owned(),
                &[("body", "invalid_type")],
            ),
            ("null".to_owned(), &[("body", "invalid_type")]),
            ("\"ada\"".to_owned(), &[("body", "invalid_type")]),
            ("7".to_owned(), &[("body", "invalid_type")]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(f, c)| ((*f).to_owned(), *c))
                .collect();
            assert_eq!(registration(&body), expected, "{body}");
        }
    }

    #[test]
    fn a_list_of_faults_does_not_grow_with_the_request() {
        let members: Vec<_> = (0..5000)
            .map(|i| format!(r#""{i}{}":1"#, "x".repeat(99)))
            .collect();
        let faults = registration(&format!("{{{}}}", members.join(",")));
        assert_eq!(faults.len(), Fields::MAX_INVALID);
        assert!(
            faults
                .iter()
                .all(|(field, _)| field.chars().count() <= Fields::MAX_NAME_CHARS)
        );
    }

    #[test]
    fn a_pair_that_comes_twice_is_refused() {
        for (form, expected) in [
            ("token=a", &[][..]),
            ("token=a&token=a", &[("token", "duplicate_field")]),
            ("token=a&token=a&token=b", &[("token", "duplicate_field")]),
            ("token=%ff", &[("token", "invalid_encoding")]),
            ("token=a&x=1&x=2", &[("x", "duplicate_field")]),
            ("token=a&x=1", &[("x", "unknown_field")]),
            ("", &[("token", "required")]),
            (
                "TOKEN=a",
                &[("token", "required"), ("TOKEN", "unknown_field")],
            ),
        ] {
            let mut fields = Fields::from_query(form.as_bytes());
            let token = fields.required("token", text);
            let expected: Vec<_> = expected
                .iter()
                .map(|(f, c)| ((*f).to_owned(), *c))
                .collect();
            assert_eq!(faults(fields.finish(token)), expected, "{form}");
        }
    }

    #[test]
    fn of_two_that_exclude_each_other_one_is_read() {
        for (form, expected) in [
            ("a=1", Ok("1")),
            ("b=2", Ok("2")),
            ("", Err(("a", "required"))),
            ("a=1&b=2", Err(("b", "mutually_exclusive"))),
        ] {
            let mut fields = Fields::from_query(form.as_bytes());
            let value = fields.either(("a", text), ("b", text));
            match (fields.finish(value), expected) {
                (Ok(got), Ok(want)) => assert_eq!(got, want),
                (outcome, Err((field, code))) => {
                    assert_eq!(faults(outcome), [(field.to_owned(), code)], "{form}");
                }
                (Err(problem), Ok(_)) => panic!("{form}: {problem:?}"),
            }
        }
    }

    #[test]
    fn path_parameters_are_decoded_once() {
        for (encoded, expected) in [
            ("ada%40example.org", Ok("ada@example.org")),
            ("a%2Fb", Ok("a/b")),
            ("a%252Fb", Ok("a%2Fb")),
            ("a+b", Ok("a+b")),
            ("%ff", Err("invalid_encoding")),
            ("a%00b", Err("invalid_encoding")),
        ] {
            let mut fields = Fields::default().with_params([("id".to_owned(), encoded.to_owned())]);
            let id = fields.path("id", text);
            match (fields.finish(id), expected) {
                (Ok(got), Ok(want)) => assert_eq!(got, want),
                (outcome, Err(code)) => {
                    assert_eq!(faults(outcome), [("id".to_owned(), code)], "{encoded}");
                }
                (Err(problem), Ok(_)) => panic!("{encoded}: {problem:?}"),
            }
        }
    }
}
