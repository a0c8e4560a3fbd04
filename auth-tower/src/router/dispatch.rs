//! The way of a request through our routes.

use std::sync::Once;

use auth_billing::Billing;
use auth_core::{
    Auth,
    types::{Client, Network},
};
use http::{
    HeaderMap, HeaderName, Method, Request, Response,
    header::{ACCEPT_LANGUAGE, USER_AGENT},
    request::Parts,
};
use http_body::Body;

use super::{
    route::{Ctx, Route},
    unit_of_work::run_to_end,
};
use crate::{
    answered::Answered,
    body::{AuthBody, BoxError},
    client_ip::ClientIp,
    internal_keys::InternalKeys,
    rate_limit::{Limited, RateLimits},
    read::{self, Cookies},
    request_id::RequestId,
    respond::{Problem, Reply, respond, show_limit},
};

/// The routes of one host, and all that they need.
pub(crate) struct Dispatch {
    pub(crate) auth: Auth,
    pub(crate) billing: Option<Billing>,
    pub(crate) client_ip: ClientIp,
    /// Told once: the host has not said where addresses are to be found.
    pub(crate) is_blind: Once,
    pub(crate) keys: InternalKeys,
    pub(crate) limits: Option<RateLimits>,
    pub(crate) paths: Paths,
}

/// The routes by path and method.
pub(crate) struct Paths {
    patterns: matchit::Router<usize>,
    resources: Vec<Resource>,
}

/// All routes of one path.
struct Resource {
    path: String,
    routes: Vec<Route>,
    allow: String,
}

/// A path that is ours.
pub(crate) struct Hit {
    resource: usize,
    params: Vec<(String, String)>,
}

impl Paths {
    pub(crate) fn new(prefix: &str, routes: impl IntoIterator<Item = Route>) -> Self {
        let mut resources: Vec<Resource> = Vec::new();
        for route in routes {
            let path = format!("{prefix}{}", route.info.path);
            match resources.iter_mut().find(|known| known.path == path) {
                Some(known) => known.routes.push(route),
                None => resources.push(Resource {
                    path,
                    routes: vec![route],
                    allow: String::new(),
                }),
            }
        }
        let mut patterns = matchit::Router::new();
        for (index, resource) in resources.iter_mut().enumerate() {
            resource.allow = allow(&resource.routes);
            // The table has no two patterns for one path, which a test shows; a route that is not inserted answers nobody.
            if let Err(error) = patterns.insert(&resource.path, index) {
                tracing::error!(path = resource.path, %error, "a route is not mounted");
            }
        }
        Self {
            patterns,
            resources,
        }
    }

    /// Paths are taken as they are: nothing is decoded, merged or trimmed before they are compared.
    pub(crate) fn find(&self, path: &str) -> Option<Hit> {
        let found = self.patterns.at(path).ok()?;
        Some(Hit {
            resource: *found.value,
            params: found
                .params
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }
}

/// The methods of a path, as the Allow header lists them (RFC 9110 §10.2.1).
fn allow(routes: &[Route]) -> String {
    let mut methods = vec![];
    for route in routes {
        methods.push(route.info.method.as_str());
        if route.info.method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.push("OPTIONS");
    methods.join(", ")
}

impl Dispatch {
    /// Answers a request to a path that is ours, or, without a hit, to one that is nobody's.
    pub(crate) async fn answer<B>(
        &self,
        hit: Option<Hit>,
        request: Request<B>,
    ) -> Response<AuthBody>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let request_id = RequestId::of(&parts.headers);
        let (mut limited, mut answered) = (None, Answered::default());
        let outcome = self
            .handle(
                hit,
                &parts,
                body,
                &request_id,
                (&mut limited, &mut answered),
            )
            .await;
        match &outcome {
            Ok(reply) => answered.user = answered.user.or(reply.user),
            Err(problem) => answered.code = Some(problem.code()),
        }
        let mut response = respond(outcome, &parts.method, &request_id);
        if let Some(limited) = &limited {
            show_limit(&mut response, limited);
        }
        response.extensions_mut().insert(answered);
        response
    }

    /// The order of the checks is part of the contract: 404, 405, 429, the class, 415, 413, 400, 422.
    async fn handle<B>(
        &self,
        hit: Option<Hit>,
        parts: &Parts,
        body: B,
        request_id: &RequestId,
        (limited, answered): (&mut Option<Limited>, &mut Answered),
    ) -> Result<Reply, Problem>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let hit = hit.ok_or(Problem::NotFound)?;
        let resource = self
            .paths
            .resources
            .get(hit.resource)
            .ok_or(Problem::NotFound)?;
        answered.route = resource.routes.first().map(|route| route.info.path);
        if parts.method == Method::OPTIONS {
            return Ok(Reply::options(&resource.allow));
        }
        let route = resource
            .route(&parts.method)
            .ok_or_else(|| Problem::MethodNotAllowed(resource.allow.clone()))?;
        let client = self.client(parts, request_id);

        if let (Some(limits), Some(class)) = (&self.limits, route.info.rate_class) {
            if client.ip.is_none() {
                self.is_blind.call_once(|| {
                    tracing::warn!("no address of a client is known: all of them share one budget");
                });
            }
            let network = Network::of_client(client.ip);
            let Limited { standing, .. } = *limited.insert(limits.take(class, network).await);
            if !standing.is_admitted {
                return Err(Problem::RateLimited(standing.next));
            }
        }
        let (run, user) = route
            .admit(
                &self.auth,
                self.billing.as_ref(),
                &self.keys,
                &parts.headers,
            )
            .await?;
        answered.user = user;
        if parts.method == Method::HEAD && route.info.has_effect {
            return Ok(Reply::without_effect());
        }
        let fields = read::read(route.info.input, route.info.body_limit, parts, body)
            .await?
            .with_params(hit.params)
            .with_idempotency_key(&parts.headers);
        run_to_end(run(Ctx {
            auth: self.auth.clone(),
            client,
            cookies: Cookies::of(&parts.headers),
            fields,
        }))
        .await
    }

    fn client(&self, parts: &Parts, request_id: &RequestId) -> Client {
        let mut client = Client::default();
        client.ip = self.client_ip.find(parts);
        client.request_id = Some(request_id.as_str().to_owned());
        client.accept_language = accept_language(&parts.headers);
        match text(&parts.headers, &USER_AGENT) {
            Some(user_agent) => client.with_user_agent(&user_agent),
            None => client,
        }
    }
}

/// Browsers send less than a hundred.
const MAX_ACCEPT_LANGUAGE_BYTES: usize = 1024;

/// All lines of the list as one (RFC 9110 §5.3).
fn accept_language(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(ACCEPT_LANGUAGE).iter();
    let mut list = String::from_utf8_lossy(lines.next()?.as_bytes()).into_owned();
    for line in lines {
        list.push(',');
        list.push_str(&String::from_utf8_lossy(line.as_bytes()));
    }
    (list.len() <= MAX_ACCEPT_LANGUAGE_BYTES).then_some(list)
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

impl Resource {
    /// HEAD is GET without a body (RFC 9110 §9.3.2).
    fn route(&self, method: &Method) -> Option<&Route> {
        let wanted = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        self.routes
            .iter()
            .find(|route| route.info.method == *wanted)
    }
}
