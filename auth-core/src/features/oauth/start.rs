use super::{Flow, LinkFlow, Provider, SIGN_IN};
use crate::{
    auth::Auth,
    error::Error,
    jwt::Sealed,
    ports::AuthorizationRequest,
    types::{CodeChallenge, RedirectUri, Secret},
};

/// A wish to sign in by a provider.
#[derive(Debug, Default)]
pub struct StartSignIn {
    /// The page that the sign-in ends at, with a code; one of the allowed addresses. `None`: the callback answers with the tokens.
    pub redirect_to: Option<String>,
    /// Binds that code to the page: only who has the verifier can trade it.
    pub code_challenge: Option<CodeChallenge>,
}

/// A sign-in that has begun.
#[derive(Debug)]
#[must_use = "the browser has to go there, and keep the binding"]
pub struct SignIn {
    /// Where the browser goes.
    pub authorization_url: String,
    /// What the browser has to show when it comes back, within ten minutes.
    ///
    /// # Security
    /// Give it to that browser and nobody else, where no script reads it (ASVS 10.1.2): `HttpOnly; SameSite=Lax`, and `__Host-` over https.
    /// Without it, an attacker ends a sign-in of their own in a victim's browser.
    pub binding: Secret<String>,
    /// How long it is worth something.
    pub expires_in: time::Duration,
}

impl Auth {
    /// Begins a sign-in by a provider. It ends at [`Auth::oauth_callback`], and nothing is written before.
    ///
    /// # Errors
    /// [`Error::OAuthNotConfigured`]; [`Error::RedirectNotAllowed`]; [`Error::ProviderFailed`]; [`Error::ProviderUnavailable`].
    pub async fn oauth_start(&self, provider: &str, cmd: StartSignIn) -> Result<SignIn, Error> {
        let provider = self.shared.oauth.provider(provider)?;
        let redirect_to = self.shared.oauth.allowed(cmd.redirect_to.as_deref())?;
        self.begin(provider, redirect_to.as_ref(), cmd.code_challenge, None)
            .await
    }

    pub(super) async fn begin(
        &self,
        provider: &Provider,
        redirect_to: Option<&RedirectUri>,
        code_challenge: Option<CodeChallenge>,
        link: Option<LinkFlow>,
    ) -> Result<SignIn, Error> {
        let now = self.now();
        let flow = Flow {
            provider: provider.name.to_string(),
            state: self.secret(),
            nonce: self.secret(),
            verifier: self.secret(),
            redirect_to: redirect_to.map(ToString::to_string),
            code_challenge,
            link,
            expires_at: (now + SIGN_IN).unix_timestamp(),
        };
        let request = AuthorizationRequest {
            state: &flow.state,
            nonce: &flow.nonce,
            verifier: &flow.verifier,
            redirect_uri: &provider.redirect_uri,
        };
        let authorization_url = provider
            .port
            .authorization_url(&request, now)
            .await
            .map_err(super::fault)?;
        Ok(SignIn {
            authorization_url,
            binding: self
                .shared
                .keys
                .seal(Sealed::SignIn, &flow, self.random())?,
            expires_in: SIGN_IN,
        })
    }
}
