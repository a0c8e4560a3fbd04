//! Every route × everything that a request can show. What comes back follows from the class alone, so a new route is covered as it is.

use auth_core::types::Client;
use auth_tests::{
    API_KEY, Answer, App, Call, OTHER_API_KEY, PASSWORD, Person, SECRET, StoreKind, forge, path_of,
    takes_json,
};
use auth_tower::{Class, RouteInfo, routes};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

auth_tests::on_each_store! {
    every_route_is_as_open_as_its_class_says
    a_body_that_authenticates_is_held_to_the_same
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Admitted,
    /// Status, code, challenge.
    Refused(u16, &'static str, &'static str),
}

use Verdict::{Admitted, Refused};

const MISSING: Verdict = Refused(401, "missing_token", "Bearer");
const INVALID: Verdict = Refused(401, "invalid_token", r#"Bearer error="invalid_token""#);
const EXPIRED: Verdict = Refused(401, "token_expired", r#"Bearer error="invalid_token""#);
const UNVERIFIED: Verdict = Refused(
    403,
    "email_not_verified",
    r#"Bearer error="insufficient_scope""#,
);
const UNSIGNED: Verdict = Refused(401, "invalid_signature", "Signature");
const NO_KEY: Verdict = Refused(401, "invalid_api_key", "ApiKey");

/// What a request shows, and what it gets where users and where services are asked for.
struct Shown {
    name: &'static str,
    headers: Vec<(&'static str, String)>,
    as_user: Verdict,
    as_service: Verdict,
}

impl Shown {
    fn headers(
        name: &'static str,
        headers: impl IntoIterator<Item = (&'static str, String)>,
        as_user: Verdict,
        as_service: Verdict,
    ) -> Self {
        Self {
            name,
            headers: headers.into_iter().collect(),
            as_user,
            as_service,
        }
    }

    fn bearer(name: &'static str, token: &str, as_user: Verdict) -> Self {
        let headers = [("authorization", format!("Bearer {token}"))];
        Self::headers(name, headers, as_user, NO_KEY)
    }

    fn key(name: &'static str, key: impl Into<String>, as_service: Verdict) -> Self {
        Self::headers(name, [("x-api-key", key.into())], MISSING, as_service)
    }

    fn verdict(&self, class: Class) -> Verdict {
        match class {
            // Neither looks at headers.
            Class::AuthenticatedByBody | Class::Public => Admitted,
            Class::Diagnostic | Class::Internal => self.as_service,
            // A key is not asked for; one that is shown must be right.
            Class::Signed if self.shows_key() && self.as_service == NO_KEY => NO_KEY,
            Class::Signed => UNSIGNED,
            Class::Verified => self.as_user,
            unknown => panic!("the matrix does not know the class {unknown}: teach it"),
        }
    }

    fn shows_key(&self) -> bool {
        self.headers.iter().any(|(name, _)| *name == "x-api-key")
    }

    fn on(&self, mut call: Call) -> Call {
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        call
    }
}

/// Somebody, and every token that opens nothing, most of them made from hers, and why.
#[allow(clippy::too_many_lines)] // one table
async fn bad_tokens(app: &App) -> (Person, Vec<(&'static str, String, Verdict)>) {
    let ada = app.verified("holder").await;
    let good = &ada.access_token;
    let (header, claims) = (forge::header(good), forge::claims(good));
    let now = claims["iat"].as_i64().unwrap();
    let unsigned = |alg: &str| forge::message(&forge::set(&header, "alg", alg), &claims);
    let signature = good.rsplit('.').next().unwrap();
    let with_header = |name: &str, value: Value| {
        forge::signed(&forge::set(&header, name, value), &claims, SECRET)
    };
    let with_claim = |name: &str, value: Value| {
        forge::signed(&header, &forge::set(&claims, name, value), SECRET)
    };
    let without_claim = |name: &str| forge::signed(&header, &forge::without(&claims, name), SECRET);
    let hmac = |algorithm, name: &str| {
        forge::signed_with(
            algorithm,
            &forge::set(&header, "alg", name),
            &claims,
            SECRET,
        )
    };
    let past = forge::set(&claims, "iat", now - 7200);
    let past = forge::set(&past, "nbf", now - 7200);
    let past = forge::set(&past, "exp", now - 3600);

    let mut tokens = vec![
        ("malformed: a word", "token".to_owned(), INVALID),
        ("malformed: three words", "a.b.c".to_owned(), INVALID),
        ("malformed: dots", ".".repeat(1000), INVALID),
        ("malformed: cut", good[..good.len() - 1].to_owned(), INVALID),
        ("malformed: padded", format!("{good}="), INVALID),
        ("malformed: five parts", format!("{good}.a.b"), INVALID),
        ("expired", forge::signed(&header, &past, SECRET), EXPIRED),
        ("not yet valid", with_claim("nbf", json!(now + 60)), INVALID),
        (
            "signed by a wrong key",
            forge::signed(&header, &claims, "x".repeat(45)),
            INVALID,
        ),
        (
            "signed by an empty key",
            forge::signed(&header, &claims, ""),
            INVALID,
        ),
        (
            "expired, signed by a wrong key",
            forge::signed(&header, &past, "x"),
            INVALID,
        ),
        (
            "changed claims",
            forge::with_claims(good, &forge::set(&claims, "is_admin", true)),
            INVALID,
        ),
        ("alg none", format!("{}.", unsigned("none")), INVALID),
        ("alg None", format!("{}.", unsigned("None")), INVALID),
        (
            "alg none, signed",
            format!("{}.{signature}", unsigned("none")),
            INVALID,
        ),
        ("alg HS384", hmac(Algorithm::HS384, "HS384"), INVALID),
        ("alg HS512", hmac(Algorithm::HS512, "HS512"), INVALID),
        ("alg RS256", with_header("alg", json!("RS256")), INVALID),
        ("typ JWT", with_header("typ", json!("JWT")), INVALID),
        (
            "typ of a mailed token",
            with_header("typ", json!("reset-password+jwt")),
            INVALID,
        ),
        (
            "no typ",
            forge::signed(&forge::without(&header, "typ"), &claims, SECRET),
            INVALID,
        ),
        (
            "no kid",
            forge::signed(&forge::without(&header, "kid"), &claims, SECRET),
            INVALID,
        ),
        (
            "another kid",
            with_header("kid", json!("../../dev/null")),
            INVALID,
        ),
        ("crit", with_header("crit", json!(["exp"])), INVALID),
        ("another issuer", with_claim("iss", json!("other")), INVALID),
        (
            "another audience",
            with_claim("aud", json!("other")),
            INVALID,
        ),
        ("no audience", without_claim("aud"), INVALID),
        ("no issuer", without_claim("iss"), INVALID),
        ("no exp", without_claim("exp"), INVALID),
        ("no nbf", without_claim("nbf"), INVALID),
        (
            "exp as a string",
            with_claim("exp", json!("9999999999")),
            INVALID,
        ),
        ("nbf as a string", with_claim("nbf", json!("0")), INVALID),
        ("no session", without_claim("sid"), INVALID),
        (
            "an unknown session",
            with_claim("sid", json!("0197f1f0-0000-7000-8000-000000000000")),
            INVALID,
        ),
        (
            "the session of another user",
            with_claim("sub", json!("0197f1f0-0000-7000-8000-000000000000")),
            INVALID,
        ),
        ("a refresh token", ada.refresh_token.clone(), INVALID),
        ("an API key", API_KEY.to_owned(), INVALID),
    ];

    // One of each mailed kind, and nobody used them.
    app.registered("newcomer").await;
    let verify = app.mailed_token("newcomer@example.org").await;
    let reset = app.reset_token("holder@example.org").await;
    let (change, cancel) = app
        .email_change_tokens(&ada, "holder-new@example.org")
        .await;
    tokens.extend([
        ("a verify token", verify, INVALID),
        ("a reset token", reset, INVALID),
        ("a change-email token", change, INVALID),
        ("a cancel-email-change token", cancel, INVALID),
    ]);

    let out = app.verified("out").await;
    app.call("POST", "/auth/logout").by(&out).await.ok(200);
    let gone = app.verified("gone").await;
    let delete = app.delete("/auth/users/delete-account").by(&gone);
    delete.json(json!({"password": PASSWORD})).await.ok(200);
    let off = app.verified("off").await;
    app.auth
        .set_disabled(off.id, true, &Client::default())
        .await
        .unwrap();
    let changed = app.verified("changed").await;
    let elsewhere = app.logged_in(&changed).await;
    let body = json!({"current_password": PASSWORD, "new_password": "another long passphrase"});
    let change = app.put("/auth/users/change-password", body).by(&elsewhere);
    change.await.ok(200);
    for (name, person) in [
        ("of a revoked session", out),
        ("of a deleted user", gone),
        ("of a disabled user", off),
        ("of before a changed password", changed),
    ] {
        tokens.push((name, person.access_token, INVALID));
    }
    (ada, tokens)
}

#[allow(clippy::too_many_lines)] // one table
async fn everything_shown(app: &App, bad: &[(&'static str, String, Verdict)]) -> Vec<Shown> {
    let unverified = app.registered("unverified").await;
    let good = app.verified("good").await.access_token;
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let key = |key: &str| ("x-api-key", key.to_owned());
    let mut shown: Vec<_> = bad
        .iter()
        .map(|(name, token, verdict)| Shown::bearer(name, token, *verdict))
        .collect();
    shown.extend([
        Shown::headers("nothing", [], MISSING, NO_KEY),
        Shown::headers(
            "an empty header",
            [("authorization", String::new())],
            MISSING,
            NO_KEY,
        ),
        Shown::headers(
            "another scheme",
            [("authorization", "Basic YWRhOmFkYQ==".to_owned())],
            MISSING,
            NO_KEY,
        ),
        Shown::headers(
            "a token without a scheme",
            [("authorization", good.clone())],
            MISSING,
            NO_KEY,
        ),
        Shown::headers(
            "no token",
            [("authorization", "Bearer".to_owned())],
            INVALID,
            NO_KEY,
        ),
        Shown::headers(
            "an empty token",
            [("authorization", "Bearer ".to_owned())],
            INVALID,
            NO_KEY,
        ),
        Shown::bearer(
            "two tokens in one header",
            &format!("{good} {good}"),
            INVALID,
        ),
        Shown::bearer("two tokens and a comma", &format!("{good},{good}"), INVALID),
        Shown::headers(
            "the header twice",
            [bearer(&good), bearer(&good)],
            INVALID,
            NO_KEY,
        ),
        Shown::headers(
            "a good and a bad header",
            [bearer(&good), bearer("x")],
            INVALID,
            NO_KEY,
        ),
        Shown::bearer("unverified", &unverified.access_token, UNVERIFIED),
        Shown::key("a wrong API key", "x".repeat(40), NO_KEY),
        Shown::key("no API key", "", NO_KEY),
        Shown::key(
            "the beginning of an API key",
            &API_KEY[..API_KEY.len() - 1],
            NO_KEY,
        ),
        Shown::key("more than an API key", format!("{API_KEY}x"), NO_KEY),
        Shown::key("an API key in capitals", API_KEY.to_uppercase(), NO_KEY),
        Shown::key("the name of an API key", "tests", NO_KEY),
        Shown::key("name and API key", format!("tests:{API_KEY}"), NO_KEY),
        Shown::key(
            "two API keys and a comma",
            format!("{API_KEY},{OTHER_API_KEY}"),
            NO_KEY,
        ),
        Shown::key("a user token as API key", good.clone(), NO_KEY),
        Shown::headers(
            "an API key twice",
            [key(API_KEY), key(API_KEY)],
            MISSING,
            NO_KEY,
        ),
        Shown::headers(
            "two API keys",
            [key(API_KEY), key(OTHER_API_KEY)],
            MISSING,
            NO_KEY,
        ),
        Shown::headers(
            "an API key as authorization",
            [("authorization", format!("ApiKey {API_KEY}"))],
            MISSING,
            NO_KEY,
        ),
        Shown::headers(
            "an API key by another name",
            [
                ("x_api_key", API_KEY.to_owned()),
                ("api-key", API_KEY.to_owned()),
            ],
            MISSING,
            NO_KEY,
        ),
        Shown::key("the right API key", API_KEY, Admitted),
        Shown::key("another right API key", OTHER_API_KEY, Admitted),
        Shown::headers(
            "a bad token and a right API key",
            [bearer("x"), key(API_KEY)],
            INVALID,
            Admitted,
        ),
        Shown::headers(
            "an unverified token and a right API key",
            [bearer(&unverified.access_token), key(API_KEY)],
            UNVERIFIED,
            Admitted,
        ),
    ]);
    shown
}

/// A request that its class lets through and that goes no further, wherever a body is read.
fn request(app: &App, route: &RouteInfo, method: &str) -> Call {
    app.call(method, &path_of(route)).raw("{")
}

#[track_caller]
fn check(route: &RouteInfo, name: &str, answer: &Answer, verdict: Verdict) {
    let case = format!("{} {} with {name}: {answer:?}", route.method, route.path);
    match verdict {
        Refused(status, code, challenge) => {
            answer.refused(status, code);
            assert_eq!(answer.header("www-authenticate"), challenge, "{case}");
        }
        // Whoever is let through is told what is wrong with the body.
        Admitted if takes_json(route) => {
            answer.refused(415, "unsupported_media_type");
        }
        Admitted => {
            // A provider that nobody set up.
            let is_missing = answer.status == 501 && route.path.contains("{provider}");
            let is_class = matches!(answer.status, 401 | 403) || answer.status >= 500;
            let is_class = is_class && !is_missing;
            assert!(!is_class, "{case}");
        }
    }
}

async fn every_route_is_as_open_as_its_class_says(store: StoreKind) {
    let app = App::on(store).await;
    let (holder, bad) = bad_tokens(&app).await;
    let shown = everything_shown(&app, &bad).await;
    assert!(routes().count() >= 21);
    for (index, route) in routes().enumerate() {
        let mut methods = vec![route.method.as_str()];
        if route.method == "GET" {
            methods.push("HEAD");
        }
        // Of whom nothing is left where a route without a body does what it is for.
        let ada = app.verified(&format!("ada{index}")).await;
        for method in methods {
            let state = app.state_of(&holder).await;
            for shown in &shown {
                let answer = shown.on(request(&app, &route, method)).await;
                check(&route, shown.name, &answer, shown.verdict(route.class));
            }
            assert_eq!(app.state_of(&holder).await, state);

            for case in 0..3 {
                let token = app.logged_in(&ada).await.access_token;
                let shown = &verified(&token)[case];
                let answer = shown.on(request(&app, &route, method)).await;
                check(&route, shown.name, &answer, shown.verdict(route.class));
            }
        }
    }
}

fn verified(token: &str) -> [Shown; 3] {
    let bearer = ("authorization", format!("Bearer {token}"));
    let scheme = ("authorization", format!("bEARER  {token}"));
    let key = ("x-api-key", API_KEY.to_owned());
    [
        Shown::headers("verified", [bearer.clone()], Admitted, NO_KEY),
        Shown::headers(
            "verified, the scheme in other letters",
            [scheme],
            Admitted,
            NO_KEY,
        ),
        Shown::headers(
            "verified, and a right API key",
            [bearer, key],
            Admitted,
            Admitted,
        ),
    ]
}

/// Where the token comes in the body, it is held to what one in the header is; only a proven address is not asked for.
async fn a_body_that_authenticates_is_held_to_the_same(store: StoreKind) {
    let app = App::on(store).await;
    let (_, bad) = bad_tokens(&app).await;
    let unverified = app.registered("unverified").await;
    let verified = app.verified("verified").await;
    let by_body: Vec<_> = routes()
        .filter(|route| route.class == Class::AuthenticatedByBody)
        .collect();
    assert!(!by_body.is_empty());
    for route in by_body {
        let send = |member: &str, token: &str| {
            app.call(route.method.as_str(), &path_of(&route))
                .json(json!({member: token}))
        };
        for (name, token, verdict) in &bad {
            let answer = send("token", token).await;
            check(&route, name, &answer, *verdict);
            // Of all of them only one is a refresh token, and a good one.
            let answer = send("refresh_token", token).await;
            if *name == "a refresh token" {
                answer.ok(200);
            } else {
                check(&route, name, &answer, INVALID);
            }
        }
        for Person {
            access_token,
            refresh_token,
            ..
        } in [&unverified, &verified]
        {
            send("token", access_token).await.ok(200);
            send("refresh_token", refresh_token).await.ok(200);
        }
    }
}
