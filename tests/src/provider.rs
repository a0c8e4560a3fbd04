//! An OpenID provider that does what a test wants: the right thing, or anything else.
//!
//! It listens on the loopback address, knows one client, and lives as long as its handle. Its time is that of the test's clock.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use auth_core::{
    adapters::OidcProvider,
    ports::Clock,
    types::{RedirectUri, Secret},
};
use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::any,
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64URL},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{MovableClock, forge};

/// Our name at every scripted provider.
pub const CLIENT_ID: &str = "client-of-the-tests";
const CLIENT_SECRET: &str = "client-secret-of-the-tests";
/// Of the key that signs; another one is never shown.
pub const KID: &str = "key-1";
/// Of the key on a curve.
const CURVE_KID: &str = "curve-1";
/// How long an app waits for its provider: on a busy machine, too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where a provider can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// `/.well-known/openid-configuration`
    Discovery,
    /// `/keys`
    Keys,
    /// `/token`
    Token,
}

/// What a provider does at a door instead of its work.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// It takes the request and says nothing.
    Hang,
    /// It sends half a megabyte.
    Huge,
    /// It does its work, after a while.
    Late(Duration),
    /// It leads to another address.
    Redirect(String),
    /// It answers so.
    Say(u16, String),
}

/// Makes an ID token of the header and the claims that would be right.
type Forge = dyn Fn(Value, Value) -> String + Send + Sync;

/// A running provider.
#[derive(Clone)]
pub struct Provider {
    inner: Arc<Inner>,
}

struct Inner {
    issuer: String,
    clock: MovableClock,
    script: Mutex<Script>,
    server: OnceLock<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(server) = self.server.get() {
            server.abort();
        }
    }
}

#[derive(Default)]
struct Script {
    troubles: HashMap<Door, Trouble>,
    forge: Option<Arc<Forge>>,
    /// By code.
    grants: HashMap<String, Grant>,
    asked: HashMap<Door, usize>,
    kid: Option<String>,
    has_curve: bool,
    has_namesakes: bool,
    names_itself: bool,
    /// Other addresses in its discovery document.
    addresses: HashMap<&'static str, String>,
}

struct Grant {
    challenge: String,
    redirect_uri: String,
    claims: Value,
}

/// The keys of all providers here, which take a moment to make: the one that signs, and one that nobody knows.
fn keys() -> &'static [RsaKeyPair; 2] {
    static KEYS: OnceLock<[RsaKeyPair; 2]> = OnceLock::new();
    KEYS.get_or_init(|| [0, 1].map(|_| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
}

/// The public key that providers here show, as bytes that somebody could mistake for a secret.
pub fn public_key() -> Vec<u8> {
    keys()[0].public_key().as_der().unwrap().as_ref().to_vec()
}

fn signed_by(key: &RsaKeyPair, how: &'static dyn RsaEncoding, message: &str) -> String {
    let mut signature = vec![0; key.public_modulus_len()];
    let random = SystemRandom::new();
    key.sign(how, &random, message.as_bytes(), &mut signature)
        .unwrap();
    format!("{message}.{}", BASE64URL.encode(signature))
}

/// A token signed with the key of all providers here.
pub fn signed(header: &Value, claims: &Value) -> String {
    signed_text(header, &claims.to_string())
}

/// As [`signed`], with claims that need not be JSON.
pub fn signed_text(header: &Value, claims: &str) -> String {
    let message = forge::message_of(&header.to_string(), claims);
    signed_by(&keys()[0], &RSA_PKCS1_SHA256, &message)
}

/// A token signed with the key of all providers here, by an algorithm that the key is not for: `RS512` or `PS256`.
pub fn signed_otherwise(algorithm: &str, header: &Value, claims: &Value) -> String {
    let how: &'static dyn RsaEncoding = match algorithm {
        "RS512" => &RSA_PKCS1_SHA512,
        "PS256" => &RSA_PSS_SHA256,
        other => panic!("{other}"),
    };
    let message = forge::message(&forge::set(header, "alg", algorithm), claims);
    signed_by(&keys()[0], how, &message)
}

/// A token signed with a key that no provider shows.
pub fn signed_by_a_stranger(header: &Value, claims: &Value) -> String {
    signed_by(
        &keys()[1],
        &RSA_PKCS1_SHA256,
        &forge::message(header, claims),
    )
}

/// The other key of all providers here, on the curve P-256, which they show when they are told to.
fn curve() -> &'static EcdsaKeyPair {
    static CURVE: OnceLock<EcdsaKeyPair> = OnceLock::new();
    CURVE.get_or_init(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
}

/// A token signed with the key that [`Provider::show_curve`] shows: the header names it.
pub fn signed_by_curve(header: &Value, claims: &Value) -> String {
    signed_by_curve_as(CURVE_KID, header, claims)
}

/// As [`signed_by_curve`], under another name of the key.
pub fn signed_by_curve_as(kid: &str, header: &Value, claims: &Value) -> String {
    let header = forge::set(&forge::set(header, "alg", "ES256"), "kid", kid);
    let message = forge::message(&header, claims);
    let signature = curve()
        .sign(&SystemRandom::new(), message.as_bytes())
        .unwrap();
    format!("{message}.{}", BASE64URL.encode(signature))
}

fn shown_rsa(key: &RsaKeyPair, kid: &str) -> Value {
    let public = key.public_key();
    let number = |bytes: &[u8]| BASE64URL.encode(bytes);
    json!({
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": kid,
        "n": number(public.modulus().big_endian_without_leading_zero()),
        "e": number(public.exponent().big_endian_without_leading_zero()),
    })
}

fn shown_curve(kid: &str) -> Value {
    // Uncompressed: a mark, x, y.
    let point = curve().public_key().as_ref();
    json!({
        "kty": "EC",
        "crv": "P-256",
        "kid": kid,
        "x": BASE64URL.encode(&point[1..33]),
        "y": BASE64URL.encode(&point[33..]),
    })
}

impl Provider {
    /// One that does the right thing.
    pub async fn start(clock: MovableClock) -> Self {
        tokio::task::spawn_blocking(keys).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            issuer,
            clock,
            script: Mutex::default(),
            server: OnceLock::new(),
        });
        let app = Router::new()
            .fallback(any(answer))
            .with_state(Arc::downgrade(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        inner.server.set(server).unwrap();
        Self { inner }
    }

    /// Its issuer, which is its address.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// It, as an app takes it for Google.
    pub fn as_google(&self, patience: Duration) -> OidcProvider {
        let secret = Secret::new(CLIENT_SECRET.to_owned());
        OidcProvider::google_at(self.issuer(), CLIENT_ID, secret)
            .and_then(|google| google.timeout(patience))
            .unwrap()
    }

    /// It, as an app takes any provider.
    pub fn as_any(&self, title: &str, patience: Duration) -> OidcProvider {
        let secret = Secret::new(CLIENT_SECRET.to_owned());
        OidcProvider::new(title, self.issuer(), CLIENT_ID, secret)
            .and_then(|provider| provider.timeout(patience))
            .unwrap()
    }

    /// Where an app lets browsers come back to.
    pub fn callback(name: &str) -> RedirectUri {
        RedirectUri::parse(&format!(
            "https://auth.example.org/auth/oauth/{name}/callback"
        ))
        .unwrap()
    }

    /// From now on there is trouble at this door; `None` ends it.
    pub fn trouble(&self, door: Door, trouble: impl Into<Option<Trouble>>) {
        let mut script = self.script();
        match trouble.into() {
            Some(trouble) => script.troubles.insert(door, trouble),
            None => script.troubles.remove(&door),
        };
    }

    /// From now on ID tokens are made so.
    pub fn forge(&self, make: impl Fn(Value, Value) -> String + Send + Sync + 'static) {
        self.script().forge = Some(Arc::new(make));
    }

    /// From now on ID tokens are right again.
    pub fn repent(&self) {
        self.script().forge = None;
    }

    /// From now on its key has another name.
    pub fn rename_key(&self, kid: &str) {
        self.script().kid = Some(kid.to_owned());
    }

    /// From now on it shows a key on a curve, too.
    pub fn show_curve(&self) {
        self.script().has_curve = true;
    }

    /// From now on it shows a key on a curve and the one of [`signed_by_a_stranger`] under the name of its key, too, and before it.
    pub fn name_others_alike(&self) {
        self.script().has_namesakes = true;
    }

    /// From now on it promises that authorization responses name it (RFC 9207).
    pub fn name_itself(&self) {
        self.script().names_itself = true;
    }

    /// From now on its discovery document has another address under that name.
    pub fn lead(&self, name: &'static str, address: &str) {
        self.script().addresses.insert(name, address.to_owned());
    }

    /// How often somebody asked at a door.
    pub fn asked(&self, door: Door) -> usize {
        self.script().asked.get(&door).copied().unwrap_or(0)
    }

    /// The person at the browser agrees: what the browser brings back, as the query of the callback. `claims` say who it is.
    ///
    /// # Panics
    /// When the request is not what a provider wants.
    pub fn agree(&self, authorization_url: &str, mut claims: Value) -> String {
        let (address, query) = authorization_url.split_once('?').unwrap();
        assert_eq!(address, format!("{}/authorize", self.issuer()));
        let mut query: HashMap<String, String> = serde_urlencoded::from_str(query).unwrap();
        let mut take = |name: &str| {
            query
                .remove(name)
                .unwrap_or_else(|| panic!("no {name}: {authorization_url}"))
        };
        assert_eq!(take("response_type"), "code");
        assert_eq!(take("client_id"), CLIENT_ID);
        assert_eq!(take("code_challenge_method"), "S256");
        let scope = take("scope");
        assert!(scope.split(' ').any(|scope| scope == "openid"), "{scope}");
        let state = take("state");
        claims["nonce"] = json!(take("nonce"));
        let grant = Grant {
            challenge: take("code_challenge"),
            redirect_uri: take("redirect_uri"),
            claims,
        };
        let code = BASE64URL.encode(digest(&SHA256, state.as_bytes()));
        self.script().grants.insert(code.clone(), grant);
        format!("code={code}&state={state}&scope=openid+email&authuser=0&prompt=none")
    }

    /// An ID token for our client, as the provider's own button gives it to a page.
    pub fn id_token(&self, claims: &Value) -> String {
        let (header, claims) = self.right(claims);
        signed(&header, &claims)
    }

    /// Header and claims as they should be.
    pub fn right(&self, claims: &Value) -> (Value, Value) {
        let now = self.inner.clock.now().unix_timestamp();
        let kid = self.script().kid.clone();
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": kid.as_deref().unwrap_or(KID)});
        let mut all = json!({
            "iss": self.issuer(),
            "aud": CLIENT_ID,
            "azp": CLIENT_ID,
            "iat": now,
            "exp": now + 3600,
        });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        (header, all)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.inner
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The token endpoint (RFC 6749 §4.1.3, RFC 7636 §4.6).
    fn token(&self, authorization: &str, body: &[u8]) -> (u16, Value) {
        let basic = BASE64_STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
        if authorization != format!("Basic {basic}") {
            return (401, json!({"error": "invalid_client"}));
        }
        let form: HashMap<String, String> = serde_urlencoded::from_bytes(body).unwrap();
        let sent = |name: &str| form.get(name).map_or("", String::as_str);
        // Spent by the first who comes with it, right or wrong.
        let grant = self.script().grants.remove(sent("code"));
        let challenge = BASE64URL.encode(digest(&SHA256, sent("code_verifier").as_bytes()));
        let is_right = |grant: &Grant| {
            sent("grant_type") == "authorization_code"
                && sent("redirect_uri") == grant.redirect_uri
                && challenge == grant.challenge
        };
        let Some(grant) = grant.filter(is_right) else {
            return (400, json!({"error": "invalid_grant"}));
        };
        let (header, claims) = self.right(&grant.claims);
        let forge = self.script().forge.clone();
        let id_token = match forge {
            Some(forge) => forge(header, claims),
            None => signed(&header, &claims),
        };
        (
            200,
            json!({
                "access_token": "access token of the provider",
                "token_type": "Bearer",
                "expires_in": 3599,
                "scope": "openid email",
                "id_token": id_token,
            }),
        )
    }

    fn document(&self, door: Door) -> Value {
        let issuer = self.issuer();
        if door == Door::Discovery {
            let script = self.script();
            let mut document = json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/keys"),
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "authorization_response_iss_parameter_supported": script.names_itself,
            });
            for (name, address) in &script.addresses {
                document[name] = json!(address);
            }
            return document;
        }
        let (kid, has_curve, has_namesakes) = {
            let script = self.script();
            let kid = script.kid.clone().unwrap_or_else(|| KID.to_owned());
            (kid, script.has_curve, script.has_namesakes)
        };
        let mut shown = vec![json!({"kty": "something new", "kid": "key-0"})];
        if has_namesakes {
            shown.extend([shown_curve(&kid), shown_rsa(&keys()[1], &kid)]);
        }
        shown.push(shown_rsa(&keys()[0], &kid));
        if has_curve {
            shown.push(shown_curve(CURVE_KID));
        }
        json!({"keys": shown})
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.inner.issuer)
    }
}

async fn answer(State(inner): State<std::sync::Weak<Inner>>, request: Request) -> Response {
    let provider = Provider {
        inner: inner.upgrade().expect("it is there while it is asked"),
    };
    let (parts, body) = request.into_parts();
    let door = match parts.uri.path() {
        "/.well-known/openid-configuration" => Door::Discovery,
        "/keys" => Door::Keys,
        "/token" => Door::Token,
        other => panic!("nobody should ask for {other}"),
    };
    let trouble = {
        let mut script = provider.script();
        *script.asked.entry(door).or_default() += 1;
        script.troubles.get(&door).cloned()
    };
    let json = |status: u16, text: String| {
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(Body::from(text))
            .unwrap()
    };
    let trouble = match trouble {
        Some(Trouble::Late(after)) => {
            tokio::time::sleep(after).await;
            None
        }
        trouble => trouble,
    };
    match trouble {
        Some(Trouble::Late(_)) => unreachable!("it has passed"),
        Some(Trouble::Hang) => std::future::pending().await,
        Some(Trouble::Huge) => json(200, format!("{{\"a\":\"{}\"}}", "x".repeat(512 * 1024))),
        Some(Trouble::Redirect(location)) => Response::builder()
            .status(307)
            .header("location", location)
            .body(Body::empty())
            .unwrap(),
        Some(Trouble::Say(status, text)) => json(status, text),
        None if door == Door::Token => {
            let authorization = parts.headers.get("authorization");
            let authorization = authorization.map_or("", |value| value.to_str().unwrap());
            let body = body.collect().await.unwrap().to_bytes();
            let (status, document) = provider.token(authorization, &body);
            json(status, document.to_string())
        }
        None => json(200, provider.document(door).to_string()),
    }
}
