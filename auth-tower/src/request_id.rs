use auth_core::ports::{OsRandom, Random};
use http::{HeaderMap, HeaderName};

pub(crate) const X_REQUEST_ID: HeaderName = RequestId::HEADER;

/// Names one request in the answer, the log and the audit log.
///
/// A host that puts it into the headers of a request gets the same one in the answers of this crate.
#[derive(Debug, Clone)]
pub struct RequestId(String);

impl RequestId {
    /// `X-Request-Id`
    pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

    /// The caller's own id if it is one and is safe to log (ASVS 16.4.1), else a random one.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(X_REQUEST_ID).iter();
        match (
            sent.next().and_then(|value| value.to_str().ok()),
            sent.next(),
        ) {
            (Some(id), None) if is_plain(id) => Self(id.to_owned()),
            _ => Self::random(),
        }
    }

    fn random() -> Self {
        let mut bits = [0; 16];
        OsRandom.fill(&mut bits);
        Self(
            uuid::Builder::from_random_bytes(bits)
                .into_uuid()
                .to_string(),
        )
    }

    /// 1 to 128 of `A-Z a-z 0-9 . _ -`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_plain(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{RequestId, X_REQUEST_ID};

    #[test]
    fn a_plain_id_is_kept_and_any_other_replaced() {
        let longest = "a".repeat(128);
        let too_long = "a".repeat(129);
        for (sent, kept) in [
            ("Req-1_a.b", true),
            ("a", true),
            (longest.as_str(), true),
            ("", false),
            (too_long.as_str(), false),
            ("a b", false),
            ("a\tb", false),
            ("ä", false),
            ("<script>", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                X_REQUEST_ID,
                HeaderValue::from_bytes(sent.as_bytes()).unwrap(),
            );
            assert_eq!(RequestId::of(&headers).as_str() == sent, kept, "{sent:?}");
        }
    }

    #[test]
    fn two_ids_or_none_give_a_random_one() {
        let mut headers = HeaderMap::new();
        let (first, second) = (RequestId::of(&headers), RequestId::of(&headers));
        assert_ne!(first.as_str(), second.as_str());
        headers.append(X_REQUEST_ID, HeaderValue::from_static("one"));
        headers.append(X_REQUEST_ID, HeaderValue::from_static("two"));
        assert_eq!(RequestId::of(&headers).as_str().len(), 36);
    }
}
