use auth_core::types::Secret;
use http::{HeaderMap, header::COOKIE};

/// The cookies of one request (RFC 6265 §5.4).
#[derive(Default)]
pub(crate) struct Cookies(Vec<Secret<String>>);

impl Cookies {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(
            headers
                .get_all(COOKIE)
                .iter()
                .filter_map(|header| header.to_str().ok())
                .map(|header| Secret::new(header.to_owned()))
                .collect(),
        )
    }

    /// A cookie that is there once: of two, nobody knows which one is ours.
    pub(crate) fn find(&self, name: &str) -> Option<Secret<String>> {
        let mut found = self
            .0
            .iter()
            .flat_map(|header| header.expose().split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| value);
        match (found.next(), found.next()) {
            (Some(value), None) => Some(Secret::new(value.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::Cookies;

    #[test]
    fn a_cookie_is_found_if_it_is_there_once() {
        for (headers, expected) in [
            (&["a=1"][..], Some("1")),
            (&["b=2; a=1; c=3"], Some("1")),
            (&["b=2", "a=1"], Some("1")),
            (&["a=1=2"], Some("1=2")),
            (&["a=1; a=1"], None),
            (&["a=1", "a=2"], None),
            (&["A=1", "ba=2; a"], None),
            (&[], None),
        ] {
            let mut map = HeaderMap::new();
            for header in headers {
                map.append("cookie", header.parse().unwrap());
            }
            let found = Cookies::of(&map).find("a");
            assert_eq!(
                found.as_ref().map(|value| value.expose().as_str()),
                expected,
                "{headers:?}"
            );
        }
    }
}
