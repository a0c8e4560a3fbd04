//! The pages, as a browser without scripts sees them.

use auth_tests::{Answer, Client};

const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// Of the page of a mail, which frames the mail.
const FRAMING_POLICY: &str = "default-src 'none'; frame-src 'self'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A page that was opened, or came back from a form.
#[derive(Debug)]
pub(crate) struct Page {
    client: Client,
    pub(crate) status: u16,
    html: String,
}

impl Page {
    /// Follows a link; of an absolute one the path and the query.
    #[track_caller]
    pub(crate) fn open(client: &Client, link: &str) -> impl Future<Output = Self> + use<> {
        let path = match link.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => link,
        };
        let policy = if path.starts_with("/mails/") {
            FRAMING_POLICY
        } else {
            POLICY
        };
        let (client, call) = (client.clone(), client.get(path));
        async move { Self::of(client, &call.await, policy) }
    }

    /// What came back for any other call.
    pub(crate) fn answered(client: &Client, answer: &Answer) -> Self {
        Self::of(client.clone(), answer, POLICY)
    }

    fn of(client: Client, answer: &Answer, policy: &str) -> Self {
        assert!(!answer.header("x-request-id").is_empty(), "{answer:?}");
        for (header, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", policy),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(header), value, "{answer:?}");
        }
        let html = answer.text();
        for forbidden in ["<script", " style=", " onclick=", "://cdn"] {
            assert!(!html.contains(forbidden), "{forbidden} in {html}");
        }
        Self {
            client,
            status: answer.status,
            html,
        }
    }

    /// The text of the first element of a kind, such as `h1` or `p class="message`.
    pub(crate) fn text_of(&self, element: &str) -> Option<String> {
        let from = self.html.find(&format!("<{element}"))?;
        let rest = &self.html[from..];
        let start = rest.find('>')? + 1;
        let end = start + rest[start..].find("</")?;
        Some(plain(&rest[start..end]))
    }

    /// What the page has to say, and whether it is a problem.
    pub(crate) fn message(&self) -> Option<(bool, String)> {
        let text = self.text_of("p class=\"message")?;
        Some((self.html.contains("role=\"alert\""), text))
    }

    /// All text of table cells, lists and the like, with its mark-up.
    pub(crate) fn html(&self) -> &str {
        &self.html
    }

    /// The only form of the page.
    #[track_caller]
    pub(crate) fn form(&self) -> Form {
        let mut forms = self.html.split("<form ").skip(1);
        let form = forms
            .next()
            .unwrap_or_else(|| panic!("no form: {}", self.html));
        assert!(forms.next().is_none(), "two forms: {}", self.html);
        let form = &form[..form.find("</form>").unwrap()];
        let opening = &form[..form.find('>').unwrap()];
        assert_eq!(attribute(opening, "method").as_deref(), Some("post"));
        let fields = form.split("<input ").skip(1).map(|input| {
            let input = &input[..input.find('>').unwrap()];
            let name = attribute(input, "name").unwrap();
            (name, attribute(input, "value").unwrap_or_default())
        });
        Form {
            client: self.client.clone(),
            action: attribute(opening, "action").unwrap(),
            fields: fields.collect(),
        }
    }

    pub(crate) fn has_form(&self) -> bool {
        self.html.contains("<form")
    }
}

/// A form that is filled and sent.
pub(crate) struct Form {
    client: Client,
    action: String,
    fields: Vec<(String, String)>,
}

impl Form {
    /// Types into a field that is there.
    #[track_caller]
    pub(crate) fn fill(mut self, name: &str, value: &str) -> Self {
        let field = self.fields.iter_mut().find(|(field, _)| field == name);
        let (_, slot) = field.unwrap_or_else(|| panic!("no field {name}"));
        value.clone_into(slot);
        self
    }

    /// Presses the button.
    pub(crate) async fn submit(&self) -> Page {
        let body = serde_urlencoded::to_string(&self.fields).unwrap();
        let answer = self.client.call("POST", &self.action).form(body).await;
        Page::of(self.client.clone(), &answer, POLICY)
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    Some(plain(&rest[..rest.find('"')?]))
}

/// Without the references that the templates write.
fn plain(html: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&amp;", "&"),
    ]
    .into_iter()
    .fold(html.to_owned(), |text, (reference, character)| {
        text.replace(reference, character)
    })
}
