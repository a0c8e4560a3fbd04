//! One call: its key, its time, its tries, and what an error means.

use std::{fmt, time::Duration};

use auth_core::{
    ports::PaymentProviderError,
    types::{IdempotencyKey, Secret},
};
use miniserde::json;
use serde_json::Value;
use stripe::{
    ApiErrorsCode, ApiErrorsType, ClientBuilder, IdempotencyKey as StripeKey, RequestStrategy,
    StripeError, StripeRequest,
};
use tokio::time::{Instant, sleep};

use super::StripeProviderError;

/// Of one try.
const PATIENCE: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;
/// Before the second try; twice as long before the third.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Clone)]
pub(super) struct Client {
    builder: ClientBuilder,
    http: stripe::Client,
    patience: Duration,
}

impl Client {
    pub(super) fn new(key: &Secret<String>) -> Result<Self, StripeProviderError> {
        // It names no provider of cryptography, and would panic with none or two in the build; an earlier one of the host's stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = ClientBuilder::new(key.expose().clone());
        let http = builder.clone().build();
        Ok(Self {
            http: http.map_err(|_| StripeProviderError::Key)?,
            builder,
            patience: PATIENCE,
        })
    }

    pub(super) fn at(mut self, base: &str) -> Result<Self, StripeProviderError> {
        if !may_have_the_key(base) {
            return Err(StripeProviderError::ApiBase);
        }
        self.builder = self.builder.url(base);
        let http = self.builder.clone().build();
        self.http = http.map_err(|_| StripeProviderError::ApiBase)?;
        Ok(self)
    }

    pub(super) const fn timeout(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// A call that changes something, once for a key.
    pub(super) async fn call<R: StripeRequest + Sync>(
        &self,
        request: &R,
        key: &IdempotencyKey,
    ) -> Result<Value, Refusal> {
        let key = StripeKey::new(key.as_str()).map_err(|_| Refusal::unreadable())?;
        self.ask(request, RequestStrategy::Idempotent(key)).await
    }

    /// A call that changes nothing.
    pub(super) async fn look<R: StripeRequest + Sync>(
        &self,
        request: &R,
    ) -> Result<Value, Refusal> {
        self.ask(request, RequestStrategy::Once).await
    }

    async fn ask<R: StripeRequest + Sync>(
        &self,
        request: &R,
        strategy: RequestStrategy,
    ) -> Result<Value, Refusal> {
        let began = Instant::now();
        let mut tries = 1;
        loop {
            let call = request
                .build()
                .customize::<json::Value>()
                // The strategies of async-stripe that try again draw a new key for each call: the tries are ours.
                .request_strategy(strategy.clone())
                .timeout(self.patience);
            let refusal = match call.send(&self.http).await {
                Ok(answer) => return Ok(document(answer)),
                Err(error) => Refusal::of(error),
            };
            if tries == TRIES || !refusal.may_pass || began.elapsed() >= self.patience {
                return Err(refusal);
            }
            sleep(PAUSE * tries).await;
            tries += 1;
        }
    }
}

/// The key of a further call for the same wish.
pub(super) fn step(key: &IdempotencyKey, name: &str) -> IdempotencyKey {
    // Our own keys are far from the end.
    IdempotencyKey::parse(&format!("{}-{name}", key.as_str())).unwrap_or_else(|_| key.clone())
}

fn may_have_the_key(base: &str) -> bool {
    let Ok(uri) = base.parse::<http::Uri>() else {
        return false;
    };
    let is_origin = uri.path_and_query().is_none_or(|rest| rest.as_str() == "/");
    let has_user = uri.authority().is_some_and(|it| it.as_str().contains('@'));
    let is_secret = match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(host)) => !host.is_empty(),
        (Some("http"), Some(host)) => is_loopback(host),
        _ => false,
    };
    is_origin && is_secret && !has_user
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The same document in the types that the rest of this crate reads.
fn document(answer: json::Value) -> Value {
    match answer {
        json::Value::Null => Value::Null,
        json::Value::Bool(is) => Value::Bool(is),
        json::Value::Number(json::Number::U64(number)) => number.into(),
        json::Value::Number(json::Number::I64(number)) => number.into(),
        json::Value::Number(json::Number::F64(number)) => number.into(),
        json::Value::String(text) => Value::String(text),
        json::Value::Array(items) => items.into_iter().map(document).collect(),
        json::Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, document(value)))
            .collect(),
    }
}

/// Why a call had no effect that is known of.
#[derive(Debug)]
pub(super) struct Refusal {
    what: What,
    /// The same call may pass in a moment.
    may_pass: bool,
    words: Words,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Conflict,
    CustomerGone,
    Failed,
    Missing,
    Refused,
    Unavailable,
}

/// What a log may have of it: no sentence of Stripe's, which may name a person, a card or the end of a key.
#[derive(Debug, Default)]
struct Words {
    status: Option<u16>,
    kind: String,
    code: Option<String>,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "Stripe answered {status} ({}", self.kind)?,
            None => return f.write_str(&self.kind),
        }
        match &self.code {
            Some(code) => write!(f, ", {code})"),
            None => f.write_str(")"),
        }
    }
}

impl std::error::Error for Words {}

impl Refusal {
    fn silent(what: What, may_pass: bool, kind: &str) -> Self {
        Self {
            what,
            may_pass,
            words: Words {
                kind: kind.to_owned(),
                ..Words::default()
            },
        }
    }

    fn unreadable() -> Self {
        // What answers so is no Stripe, but something before it: the call may pass once that has recovered.
        Self::silent(What::Failed, true, "the answer of Stripe cannot be read")
    }

    fn of(error: StripeError) -> Self {
        let (api, status) = match error {
            StripeError::Stripe(api, status) => (api, status),
            StripeError::Timeout => {
                return Self::silent(What::Unavailable, true, "Stripe does not answer in time");
            }
            StripeError::ClientError(_) => {
                return Self::silent(What::Unavailable, true, "Stripe cannot be reached");
            }
            StripeError::JSONDeserialize(_) => return Self::unreadable(),
            StripeError::ConfigError(_) => {
                return Self::silent(What::Failed, false, "Stripe cannot be asked so");
            }
        };
        let is_missing = matches!(api.code, Some(ApiErrorsCode::ResourceMissing));
        let (what, may_pass) = match (status, &api.type_) {
            (_, ApiErrorsType::IdempotencyError) => (What::Conflict, false),
            // The first call under the key is still under way (409), or there are too many.
            (409 | 429, _) => (What::Unavailable, true),
            (500.., _) => (What::Failed, true),
            (401 | 403, _) => (What::Failed, false),
            _ if is_missing && api.param.as_deref() == Some("customer") => {
                (What::CustomerGone, false)
            }
            _ if is_missing => (What::Missing, false),
            _ => (What::Refused, false),
        };
        Self {
            what,
            may_pass,
            words: Words {
                status: Some(status),
                kind: api.type_.as_str().to_owned(),
                code: api.code.map(|code| code.as_str().to_owned()),
            },
        }
    }

    /// What it was about is not there.
    pub(super) fn is_missing(&self) -> bool {
        self.what == What::Missing
    }

    pub(super) fn told(self) -> PaymentProviderError {
        let source = Box::new(self.words);
        match self.what {
            What::Conflict => PaymentProviderError::Conflict,
            What::CustomerGone => PaymentProviderError::CustomerGone,
            What::Failed => PaymentProviderError::Failed(source),
            What::Missing | What::Refused => PaymentProviderError::Refused(source),
            What::Unavailable => PaymentProviderError::Unavailable(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use auth_core::types::Secret;

    use super::super::{StripeProvider, StripeProviderError};

    #[test]
    fn the_key_goes_to_https_or_to_this_machine_alone() {
        let provider = StripeProvider::new(&Secret::new("sk_test_hunter2".to_owned())).unwrap();
        for base in [
            "https://api.stripe.com",
            "https://proxy.example.org:8443/",
            "http://127.0.0.1:4000",
            "http://localhost:4000/",
            "http://[::1]:4000",
        ] {
            assert!(provider.clone().at(base).is_ok(), "{base}");
        }
        for base in [
            "",
            "api.stripe.com",
            "http://api.stripe.com",
            "http://127.0.0.1.example.org",
            "http://localhost@example.org",
            "https://user@api.stripe.com",
            "https://api.stripe.com/v1",
            "https://api.stripe.com/?x",
            "ftp://127.0.0.1",
            "https://",
        ] {
            let refused = provider.clone().at(base).unwrap_err();
            assert_eq!(refused, StripeProviderError::ApiBase, "{base}");
        }
        assert!(!format!("{provider:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_no_secret_key_is_refused() {
        for key in [
            "",
            "pk_test_1",
            "whsec_1",
            "sk_1",
            " sk_test_1",
            "sk_test_1\n2",
        ] {
            let refused = StripeProvider::new(&Secret::new(key.to_owned()));
            assert_eq!(refused.unwrap_err(), StripeProviderError::Key, "{key:?}");
        }
    }
}
