use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Answer, Call, Client, Person, provider::Provider};

/// Goes to a provider and comes back, with the cookies that it was given.
#[derive(Debug, Clone)]
pub struct Browser {
    client: Client,
    /// By name.
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    /// One without cookies.
    pub fn of(client: &Client) -> Self {
        Self {
            client: client.clone(),
            cookies: BTreeMap::new(),
        }
    }

    /// Sends a request with the cookies, and keeps those of the answer.
    pub async fn send(&mut self, call: Call) -> Answer {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let call = if cookies.is_empty() {
            call
        } else {
            call.header("cookie", cookies.join("; "))
        };
        let answer = call.await;
        for cookie in answer.headers.get_all("set-cookie") {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Begins a sign-in: where the browser is sent.
    pub async fn start(&mut self, provider: &str) -> String {
        let path = format!("/auth/oauth/{provider}/login?mode=json");
        let answer = self.send(self.client.get(&path)).await;
        address(answer.ok(200))
    }

    /// Begins to link for somebody: where the browser is sent.
    pub async fn start_link(&mut self, provider: &str, person: &Person) -> String {
        let body = serde_json::json!({"password": person.password});
        let path = format!("/auth/link/{provider}");
        let answer = self.send(self.client.post(&path, body).by(person)).await;
        address(answer.ok(200))
    }

    /// Comes back from a provider with a query.
    pub async fn come_back(&mut self, provider: &str, query: &str) -> Answer {
        let path = format!("/auth/oauth/{provider}/callback?{query}");
        self.send(self.client.get(&path)).await
    }

    /// The whole way, for whoever the claims say.
    pub async fn sign_in(&mut self, name: &str, provider: &Provider, claims: Value) -> Answer {
        let there = self.start(name).await;
        let query = provider.agree(&there, claims);
        self.come_back(name, &query).await
    }
}

#[track_caller]
fn address(answer: &Value) -> String {
    answer["authorization_url"].as_str().unwrap().to_owned()
}
