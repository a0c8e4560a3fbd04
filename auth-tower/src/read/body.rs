use std::error::Error as StdError;

use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    request::Parts,
};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::Fields;
use crate::{body::BoxError, respond::Problem};

/// Where an endpoint finds its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A JSON object in the body.
    Json,
    /// A JSON object or a urlencoded form in the body.
    JsonOrForm,
    /// Nowhere but in the path: body and query are not looked at.
    None,
    /// The query string; the body is not looked at.
    Query,
    /// The body as it is, whatever its type: a signature is over its bytes.
    Raw,
}

#[derive(Clone, Copy)]
enum Media {
    Form,
    Json,
}

/// Reads what an endpoint takes, in the order of the contract: 415, 413, 400 and then the fields.
pub(crate) async fn read<B>(
    input: Input,
    limit: usize,
    parts: &Parts,
    body: B,
) -> Result<Fields, Problem>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    match input {
        Input::None => Ok(Fields::default()),
        Input::Query => Ok(Fields::from_query(
            parts.uri.query().unwrap_or_default().as_bytes(),
        )),
        Input::Raw => {
            let bytes = collect(limit, &parts.headers, body).await?;
            Ok(Fields::of_raw(bytes))
        }
        Input::Json | Input::JsonOrForm => {
            let media = media(input, &parts.headers, body.is_end_stream())?;
            let bytes = collect(limit, &parts.headers, body).await?;
            match media {
                Media::Form => Ok(Fields::from_form(&bytes)),
                Media::Json => Fields::from_json(&bytes),
            }
        }
    }
}

fn media(input: Input, headers: &HeaderMap, is_absent: bool) -> Result<Media, Problem> {
    // Nothing is decompressed here: a small body could become a large one.
    let is_encoded = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        _ if is_encoded => Err(Problem::UnsupportedMediaType),
        // No body and no type: an empty body, which is no JSON.
        (None, None) if is_absent => Ok(Media::Json),
        (Some(one), None) => one
            .to_str()
            .ok()
            .and_then(|text| media_type(input, text))
            .ok_or(Problem::UnsupportedMediaType),
        _ => Err(Problem::UnsupportedMediaType),
    }
}

/// RFC 9110 §8.3.1.
fn media_type(input: Input, text: &str) -> Option<Media> {
    let mut pieces = text.split(';').map(str::trim);
    let essence = pieces.next()?;
    let media = if essence.eq_ignore_ascii_case("application/json") {
        Media::Json
    } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        && input == Input::JsonOrForm
    {
        Media::Form
    } else {
        return None;
    };
    let is_utf8 = pieces
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("charset"))
        .all(|(_, charset)| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"));
    is_utf8.then_some(media)
}

async fn collect<B>(limit: usize, headers: &HeaderMap, body: B) -> Result<bytes::Bytes, Problem>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok())
        .unwrap_or(0)
        .max(body.size_hint().lower());
    if usize::try_from(announced).map_or(true, |announced| announced > limit) {
        return Err(Problem::PayloadTooLarge);
    }
    // A body without a length is cut while it comes.
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if is_over_a_limit(&*error) => Err(Problem::PayloadTooLarge),
        Err(_) => Err(Problem::MalformedBody),
    }
}

/// Also when the host's own, smaller limit stopped it.
fn is_over_a_limit(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::{Input, read};
    use crate::respond::Problem;

    const LIMIT: usize = 32;

    async fn outcome(input: Input, content_type: Option<&str>, body: &str) -> &'static str {
        let mut request = Request::builder();
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let (parts, body) = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap()
            .into_parts();
        name(&read(input, LIMIT, &parts, body).await)
    }

    fn name<T>(outcome: &Result<T, Problem>) -> &'static str {
        match outcome {
            Ok(_) => "ok",
            Err(Problem::MalformedBody) => "400",
            Err(Problem::PayloadTooLarge) => "413",
            Err(Problem::UnsupportedMediaType) => "415",
            Err(_) => "other",
        }
    }

    #[tokio::test]
    async fn the_type_comes_before_the_size_and_the_size_before_the_syntax() {
        let large = "x".repeat(LIMIT + 1);
        for (content_type, body, json, form) in [
            (Some("application/json"), "{}", "ok", "ok"),
            (Some("Application/JSON; charset=UTF-8"), "{}", "ok", "ok"),
            (Some("application/json;charset=\"utf-8\""), "{}", "ok", "ok"),
            (Some("application/json; charset=latin1"), "{}", "415", "415"),
            (Some("application/jsonp"), "{}", "415", "415"),
            (Some("application/problem+json"), "{}", "415", "415"),
            (Some("text/plain"), "{}", "415", "415"),
            (Some("text/plain"), &large, "415", "415"),
            (Some("text/plain"), "", "415", "415"),
            (
                Some("application/x-www-form-urlencoded"),
                "a=b",
                "415",
                "ok",
            ),
            (None, "{}", "415", "415"),
            (None, "", "400", "400"),
            (Some("application/json"), "", "400", "400"),
            (Some("application/json"), &large, "413", "413"),
            (Some("application/json"), "{", "400", "400"),
        ] {
            let case = format!("{content_type:?} {body}");
            assert_eq!(
                outcome(Input::Json, content_type, body).await,
                json,
                "{case}"
            );
            assert_eq!(
                outcome(Input::JsonOrForm, content_type, body).await,
                form,
                "{case}"
            );
        }
    }

    #[tokio::test]
    async fn an_announced_length_is_refused_before_a_byte_is_read() {
        let (parts, ()) = Request::builder()
            .header("content-type", "application/json")
            .header("content-length", (LIMIT + 1).to_string())
            .body(())
            .unwrap()
            .into_parts();
        let never = Full::new(Bytes::new()).map_err(|never| -> std::io::Error { match never {} });
        assert_eq!(name(&read(Input::Json, LIMIT, &parts, never).await), "413");
    }

    #[tokio::test]
    async fn coded_and_doubly_typed_bodies_are_refused() {
        for (name_, value) in [
            ("content-encoding", "gzip"),
            ("content-type", "application/json"),
        ] {
            let (parts, body) = Request::builder()
                .header("content-type", "application/json")
                .header(name_, value)
                .body(Full::new(Bytes::from_static(b"{}")))
                .unwrap()
                .into_parts();
            assert_eq!(
                name(&read(Input::Json, LIMIT, &parts, body).await),
                "415",
                "{name_}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_without_a_length_is_cut_while_it_comes() {
        let (parts, ()) = Request::builder()
            .header("content-type", "application/json")
            .body(())
            .unwrap()
            .into_parts();
        let frames = futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"          ")))
        });
        assert_eq!(
            name(&read(Input::Json, LIMIT, &parts, StreamBody::new(frames)).await),
            "413"
        );
    }

    #[tokio::test]
    async fn a_body_that_is_not_asked_for_is_not_read() {
        let (parts, ()) = Request::builder()
            .uri("/?a=1")
            .body(())
            .unwrap()
            .into_parts();
        for input in [Input::None, Input::Query] {
            let frames = futures_util::stream::repeat_with(
                || -> Result<http_body::Frame<Bytes>, std::io::Error> { panic!("it was read") },
            );
            assert_eq!(
                name(&read(input, LIMIT, &parts, StreamBody::new(frames)).await),
                "ok"
            );
        }
    }
}
