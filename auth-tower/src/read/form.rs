use auth_core::types::Secret;
use percent_encoding::percent_decode;

/// A name and its value, decoded once; `Err` when it is not UTF-8.
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) value: Result<Secret<String>, NotText>,
}

/// Bytes that are no text.
pub(crate) struct NotText;

/// The pairs of an `application/x-www-form-urlencoded` body or a query string, in their order.
pub(crate) fn pairs(encoded: &[u8]) -> impl Iterator<Item = Pair> {
    encoded
        .split(|b| *b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let name = decode(halves.next().unwrap_or_default());
            let value = decode(halves.next().unwrap_or_default());
            Pair {
                name: String::from_utf8_lossy(&name).into_owned(),
                value: String::from_utf8(value)
                    .map(Secret::new)
                    .map_err(|_| NotText),
            }
        })
}

fn decode(encoded: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = encoded
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::pairs;

    #[test]
    fn pairs_are_decoded_once() {
        let read: Vec<_> = pairs(b"a=1+2&&b=%2525&c&=d&e=f=g&h=%C3%A4&i=%ff")
            .map(|pair| {
                (
                    pair.name,
                    pair.value.ok().map(|value| value.expose().clone()),
                )
            })
            .collect();
        let expected = [
            ("a", Some("1 2")),
            ("b", Some("%25")),
            ("c", Some("")),
            ("", Some("d")),
            ("e", Some("f=g")),
            ("h", Some("ä")),
            ("i", None),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(read, expected);
    }
}
