use auth_core::{Error, InvalidField, ports::Unique, time::Duration, types::Invalid};
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{Problem, Reply, respond};
use crate::{body::AuthBody, refusal::Refusal, request_id::RequestId};

async fn read(response: Response<AuthBody>) -> (u16, HeaderMap, Value) {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    (parts.status.as_u16(), parts.headers, body)
}

async fn answer(problem: Problem) -> (u16, HeaderMap, Value) {
    let id = RequestId::of(&HeaderMap::new());
    read(respond(Err(problem), &Method::GET, &id)).await
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // one table
async fn statuses_codes_and_challenges() {
    let backend = || "relation \"secrets\" does not exist".into();
    let invalid_token = Some(r#"Bearer error="invalid_token""#);
    for (problem, status, code, challenge) in [
        (
            Error::CurrentPasswordInvalid.into(),
            400,
            "current_password_invalid",
            None,
        ),
        (
            Error::EmailNotVerified.into(),
            403,
            "email_not_verified",
            Some(r#"Bearer error="insufficient_scope""#),
        ),
        (Error::AccountExists.into(), 409, "account_exists", None),
        (Error::EmailTaken.into(), 409, "email_taken", None),
        (Error::IdentityInUse.into(), 409, "identity_in_use", None),
        (Error::InvalidCode.into(), 400, "invalid_code", None),
        (Error::InvalidIdToken.into(), 400, "invalid_token", None),
        (Error::InvalidState.into(), 400, "invalid_state", None),
        (
            Error::LastSignInMethod.into(),
            409,
            "last_sign_in_method",
            None,
        ),
        (Error::NotLinked.into(), 404, "not_linked", None),
        (
            Error::OAuthNotConfigured.into(),
            501,
            "oauth_not_configured",
            None,
        ),
        (
            Error::ProviderEmailNotVerified.into(),
            400,
            "email_not_verified",
            None,
        ),
        (
            Error::ProviderFailed(backend()).into(),
            502,
            "provider_error",
            None,
        ),
        (
            Error::ProviderRefused(backend()).into(),
            400,
            "provider_error",
            None,
        ),
        (
            Error::ProviderUnavailable(backend()).into(),
            503,
            "provider_error",
            None,
        ),
        (
            Error::RedirectNotAllowed.into(),
            400,
            "redirect_not_allowed",
            None,
        ),
        (Error::Internal(backend()).into(), 500, "internal", None),
        (
            Error::InvalidCredentials.into(),
            401,
            "invalid_credentials",
            Some("Bearer"),
        ),
        (
            Error::InvalidToken.into(),
            401,
            "invalid_token",
            invalid_token,
        ),
        (
            Error::TokenExpired.into(),
            401,
            "token_expired",
            invalid_token,
        ),
        (
            Error::TokenReused.into(),
            401,
            "token_reused",
            invalid_token,
        ),
        (
            Error::MailFailed(backend()).into(),
            500,
            "mail_failed",
            None,
        ),
        (Error::Overloaded.into(), 503, "overloaded", None),
        (
            Error::ReauthenticationRequired.into(),
            403,
            "reauthentication_required",
            None,
        ),
        (
            Error::SessionNotFound.into(),
            404,
            "session_not_found",
            None,
        ),
        (
            Error::Unavailable(backend()).into(),
            503,
            "unavailable",
            None,
        ),
        (
            Error::Throttled(Duration::milliseconds(1500)).into(),
            429,
            "rate_limited",
            None,
        ),
        (Error::UserNotFound.into(), 404, "user_not_found", None),
        (Error::UnknownPlan.into(), 404, "unknown_plan", None),
        (Error::NotSubscribed.into(), 409, "not_subscribed", None),
        (Problem::NothingToCancel, 404, "not_subscribed", None),
        (
            Error::AlreadySubscribed.into(),
            409,
            "already_subscribed",
            None,
        ),
        (
            Error::PaymentProviderFailed(backend()).into(),
            502,
            "payment_provider_error",
            None,
        ),
        (
            Error::PaymentProviderUnavailable(backend()).into(),
            503,
            "unavailable",
            None,
        ),
        (
            Problem::of_mailed_token(Error::InvalidToken),
            400,
            "invalid_token",
            None,
        ),
        (
            Problem::of_mailed_token(Error::TokenExpired),
            400,
            "token_expired",
            None,
        ),
        (
            Problem::of_mailed_token(Error::Overloaded),
            503,
            "overloaded",
            None,
        ),
        (Problem::Host(Refusal::BadRequest), 400, "bad_request", None),
        (Problem::Host(Refusal::Internal), 500, "internal", None),
        (Problem::Host(Refusal::Overloaded), 503, "overloaded", None),
        (Problem::Host(Refusal::TimedOut), 503, "unavailable", None),
        (
            Problem::InvalidApiKey,
            401,
            "invalid_api_key",
            Some("ApiKey"),
        ),
        (
            Problem::InvalidSignature,
            401,
            "invalid_signature",
            Some("Signature"),
        ),
        (Problem::MalformedEvent, 400, "malformed_event", None),
        (
            Error::PaymentsNotConfigured.into(),
            501,
            "payments_not_configured",
            None,
        ),
        (Problem::MissingToken, 401, "missing_token", Some("Bearer")),
        (Problem::MalformedBody, 400, "malformed_json", None),
        (Problem::NotFound, 404, "not_found", None),
        (Problem::PayloadTooLarge, 413, "payload_too_large", None),
        (
            Problem::RateLimited(Duration::seconds(2)),
            429,
            "rate_limited",
            None,
        ),
        (
            Error::TooManyAttempts(Duration::seconds(2)).into(),
            429,
            "too_many_attempts",
            None,
        ),
        (
            Problem::UnsupportedMediaType,
            415,
            "unsupported_media_type",
            None,
        ),
    ] {
        let (got, headers, body) = answer(problem).await;
        assert_eq!(got, status, "{code}");
        assert_eq!(body["status"], status, "{code}");
        assert_eq!(body["code"], code);
        assert_eq!(body["type"], "about:blank");
        assert!(body["title"].is_string() && body["detail"].is_string());
        assert_eq!(
            body["request_id"],
            headers["x-request-id"].to_str().unwrap()
        );
        assert_eq!(
            headers["content-type"],
            "application/problem+json; charset=utf-8"
        );
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(
            headers
                .get("www-authenticate")
                .map(|it| it.to_str().unwrap()),
            challenge,
            "{code}"
        );
        let wait = headers.get("retry-after").map(|it| it.to_str().unwrap());
        assert_eq!(wait.is_some(), matches!(status, 429 | 503), "{code}");
        let is_of_provider = (status, code) == (503, "provider_error");
        let seconds = if is_of_provider { "10" } else { "2" };
        assert_eq!(wait.unwrap_or(seconds), seconds, "{code}");
        assert!(
            !body.to_string().contains("relation"),
            "a cause leaks: {body}"
        );
    }
}

#[tokio::test]
async fn fields_are_named_with_their_reasons() {
    let reason = Invalid::new("too_short", "Longer, please.");
    let fields = vec![InvalidField::new("password", reason)];
    let (status, _, body) = answer(Error::Invalid(fields).into()).await;
    assert_eq!(status, 422);
    let expected =
        json!([{"field": "password", "code": "too_short", "message": "Longer, please."}]);
    assert_eq!(body["errors"], expected);

    let (status, _, body) = answer(Error::UserExists(Unique::Email).into()).await;
    assert_eq!((status, &body["code"]), (409, &json!("user_exists")));
    assert_eq!(body["errors"][0]["field"], "email");
    assert_eq!(body["errors"][0]["code"], "taken");
}

#[tokio::test]
async fn head_says_what_get_would_send() {
    let id = RequestId::of(&HeaderMap::new());
    let outcome = || Reply::ok(&json!({"status": "ok"}));
    let (_, get, _) = read(respond(outcome(), &Method::GET, &id)).await;
    let (status, head, body) = read(respond(outcome(), &Method::HEAD, &id)).await;
    assert_eq!((status, body), (200, Value::Null));
    assert_eq!(head, get);
    assert_eq!(get["content-length"], "15");
    assert_eq!(get["content-type"], "application/json; charset=utf-8");
}
