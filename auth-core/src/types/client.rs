use std::net::IpAddr;

/// Who asks: for session lists, the audit log and the language of mails. Nothing here proves anything.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The address that the host trusts to be the client's.
    pub ip: Option<IpAddr>,
    user_agent: Option<String>,
    /// Of the request, for the audit log.
    pub request_id: Option<String>,
    /// The `Accept-Language` header.
    pub accept_language: Option<String>,
}

impl Client {
    const USER_AGENT_BYTES: usize = 512;

    /// With the `User-Agent` header, without control characters and cut to 512 bytes.
    #[must_use]
    pub fn with_user_agent(mut self, raw: &str) -> Self {
        let mut text: String = raw.chars().filter(|c| !c.is_control()).collect();
        let end = (0..=Self::USER_AGENT_BYTES.min(text.len()))
            .rev()
            .find(|i| text.is_char_boundary(*i))
            .unwrap_or(0);
        text.truncate(end);
        self.user_agent = Some(text).filter(|t| !t.is_empty());
        self
    }

    /// The `User-Agent` header.
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::Client;

    #[test]
    fn a_user_agent_is_cut_at_a_character() {
        let client = Client::default().with_user_agent(&format!("a\r\n{}", "€".repeat(300)));
        let kept = client.user_agent().unwrap();
        assert_eq!(kept.len(), 511);
        assert!(kept.starts_with("a€"));
    }
}
