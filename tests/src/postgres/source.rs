//! Where the server of this process comes from.

use std::{
    fmt,
    io::{self, Write},
};

use super::{Cluster, INSTRUCTIONS, container::Container, setting};

/// A server that is up.
pub(super) enum Source {
    Binaries(Cluster),
    Container(Box<Container>),
    Url(String),
}

impl Source {
    /// The first that there is, or the one that `TEST_DATABASE_SERVER` names. Says which.
    ///
    /// # Panics
    /// With a reason for each, when there is none.
    pub(super) async fn find() -> Self {
        let kinds = ["url", "container", "binaries"];
        let wanted = setting("TEST_DATABASE_SERVER");
        if let Some(wanted) = &wanted {
            assert!(
                kinds.contains(&&**wanted),
                "TEST_DATABASE_SERVER is {wanted}, and must be one of {kinds:?}"
            );
        }
        let mut reasons = Vec::new();
        for kind in kinds {
            if wanted.as_ref().is_some_and(|wanted| wanted != kind) {
                continue;
            }
            match Self::of(kind).await {
                Ok(source) => {
                    // Past the harness, which keeps to itself what passing tests print.
                    let _ = writeln!(io::stderr(), "the tests over Postgres use {source}");
                    return source;
                }
                Err(reason) => reasons.push(format!("{kind}: {reason}")),
            }
        }
        panic!(
            "no Postgres for these tests\n{}\n{INSTRUCTIONS}",
            reasons.join("\n")
        );
    }

    async fn of(kind: &str) -> Result<Self, String> {
        match kind {
            "url" => match setting("TEST_DATABASE_URL") {
                Some(url) => Ok(Self::Url(url)),
                None => Err("TEST_DATABASE_URL is not set".to_owned()),
            },
            "container" => Container::start().await.map(Box::new).map(Self::Container),
            _ => Cluster::for_throw_away_data().map(Self::Binaries),
        }
    }

    /// Of a database that is there already.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Binaries(cluster) => cluster.url(),
            Self::Container(container) => container.url.clone(),
            Self::Url(url) => url.clone(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binaries(cluster) => write!(f, "a cluster of {}", cluster.binaries().display()),
            Self::Container(container) => write!(f, "a container of {}", container.image),
            Self::Url(_) => f.write_str("the server that TEST_DATABASE_URL names"),
        }
    }
}
