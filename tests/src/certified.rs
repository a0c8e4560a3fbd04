//! The certified OpenID provider of npm as a process: what [`provider`](crate::provider) plays, somebody else wrote.
//!
//! It is looked for in `target/oidc-provider`, where `.ci/oidc-provider` puts it.

use std::{collections::BTreeMap, fmt, path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

const INSTALL: &str = ".ci/oidc-provider installs it; it needs Node.js and npm";
const PATIENCE: Duration = Duration::from_mins(2);

/// A running provider, which is killed when it is dropped. Its client is `google-client` with the secret `google-secret`.
pub struct CertifiedProvider {
    issuer: String,
    http: reqwest::Client,
    _child: Child,
}

impl CertifiedProvider {
    /// One that sends browsers back to this address.
    ///
    /// # Panics
    /// When it is not installed, with what installs it; when it does not come up.
    pub async fn start(redirect_uri: &str) -> Self {
        let folder = installed();
        assert!(
            folder.join("node_modules/oidc-provider").is_dir(),
            "the certified provider is not in {}: {INSTALL}",
            folder.display()
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/oidc-provider/provider.mjs");
        let mut child = Command::new("node")
            .args([script, redirect_uri])
            .env("OIDC_PROVIDER", &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; {INSTALL}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, lines.next_line()).await;
        let issuer = first.expect("it comes up in time").unwrap();
        // It says more, and a pipe that nobody reads would end it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            issuer: issuer.expect("it prints its issuer"),
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()
                .unwrap(),
            _child: child,
        }
    }

    /// Its issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Somebody logs in there as `subject` and agrees, in a browser without cookies of before: the query that it brings back.
    ///
    /// # Panics
    /// When a page of the provider is not what it should be.
    pub async fn sign_in(&self, authorization_url: &str, subject: &str) -> String {
        let mut cookies = BTreeMap::new();
        let mut next = self.step(&mut cookies, authorization_url, None).await;
        let login = vec![("prompt", "login"), ("login", subject), ("password", "x")];
        let mut forms = [login, vec![("prompt", "consent")]].into_iter();
        for _ in 0..10 {
            next = if next.contains("/interaction/") {
                let form = forms.next();
                assert!(form.is_some(), "the provider asks for more: {next}");
                self.step(&mut cookies, &next, form).await
            } else if next.starts_with(&self.issuer) {
                self.step(&mut cookies, &next, None).await
            } else {
                let (_, query) = next.split_once('?').unwrap();
                return query.to_owned();
            };
        }
        panic!("the provider leads in a circle: {next}");
    }

    /// Where the provider leads.
    async fn step(
        &self,
        cookies: &mut BTreeMap<String, String>,
        url: &str,
        form: Option<Vec<(&str, &str)>>,
    ) -> String {
        let jar: Vec<_> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = match form {
            Some(form) => self
                .http
                .post(url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(serde_urlencoded::to_string(form).unwrap()),
            None => self.http.get(url),
        };
        let answer = request.header("cookie", jar.join("; ")).send().await;
        let answer = answer.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let Some(location) = answer.headers().get("location") else {
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            panic!("{url} leads nowhere: {status} {text}");
        };
        let location = location.to_str().unwrap();
        if location.starts_with('/') {
            format!("{}{location}", self.issuer)
        } else {
            location.to_owned()
        }
    }
}

impl fmt::Debug for CertifiedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertifiedProvider({})", self.issuer)
    }
}

/// `oidc-provider` in the target directory: <target directory>/<profile>/deps/<test>
fn installed() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("oidc-provider")
}
