use std::time::Duration;

use http::{Request, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::OidcError;
use crate::ports::ProviderError;

/// No answer of a provider is larger; longer ones are cut off while they come.
const MAX_BYTES: usize = 256 * 1024;

/// Asks a provider, within limits.
#[derive(Clone)]
pub(super) struct Http(reqwest::Client);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the answer is not what a provider answers: {0}")]
    Failed(&'static str),
    #[error("the provider does not answer")]
    Silent(#[source] reqwest::Error),
    #[error("the provider answers with status {0}")]
    Trouble(StatusCode),
}

impl From<HttpError> for ProviderError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Failed(_) => Self::Failed(error.into()),
            HttpError::Silent(_) | HttpError::Trouble(_) => Self::Unavailable(error.into()),
        }
    }
}

/// Without its address, which may hold more than a log should.
impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        Self::Silent(error.without_url())
    }
}

impl HttpError {
    /// Whether another try may be answered. One that took its whole time has had its chance.
    fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Failed(_) => false,
            Self::Silent(error) => !error.is_timeout(),
            Self::Trouble(_) => true,
        }
    }
}

impl Http {
    pub(super) fn new(limit: Duration) -> Result<Self, OidcError> {
        reqwest::Client::builder()
            .timeout(limit)
            // A redirect could lead anywhere, with whatever was sent.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // One that was idle may be closed on the other side, and a code is sent once.
            .pool_max_idle_per_host(0)
            .user_agent("auth-tower")
            .build()
            .map(Self)
            .map_err(|error| OidcError::Http(error.into()))
    }

    /// A document, asked for twice at the most.
    pub(super) async fn document<T: DeserializeOwned>(&self, url: &str) -> Result<T, HttpError> {
        let answer = match self.get(url).await {
            Err(error) if error.is_worth_another_try() => self.get(url).await,
            answer => answer,
        }?;
        if answer.status() != StatusCode::OK {
            return Err(HttpError::Failed("the status is not 200"));
        }
        serde_json::from_slice(answer.body())
            .map_err(|_| HttpError::Failed("it is not the JSON that it should be"))
    }

    async fn get(&self, url: &str) -> Result<Response<Vec<u8>>, HttpError> {
        let request = Request::get(url)
            .header("accept", "application/json")
            .body(Vec::new())
            .map_err(|_| HttpError::Failed("the address cannot be asked"))?;
        self.send_once(request).await
    }

    /// What changes something is sent once: nobody knows whether a lost answer was one.
    pub(super) async fn send_once(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await?;
        let status = answer.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(HttpError::Trouble(status));
        }
        if status.is_redirection() {
            return Err(HttpError::Failed("it leads elsewhere"));
        }
        let mut response = Response::new(Vec::new());
        *response.status_mut() = status;
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        while let Some(chunk) = answer.chunk().await? {
            if response.body().len() + chunk.len() > MAX_BYTES {
                return Err(HttpError::Failed("it is too long"));
            }
            response.body_mut().extend_from_slice(&chunk);
        }
        Ok(response)
    }
}
