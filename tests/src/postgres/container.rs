//! A server in a container.

use std::{error::Error, iter, process::Stdio, time::Duration};

use auth_core::ports::{OsRandom, Random};
use testcontainers_modules::{
    postgres::Postgres,
    testcontainers::{ContainerAsync, ImageExt, core::IntoContainerPort, runners::AsyncRunner},
};
use tokio::{process::Command, time::timeout};

use super::{SETTINGS, life_line::LifeLine, setting};

/// For a daemon that is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where `TEST_POSTGRES_IMAGE` names none.
const IMAGE: &str = "postgres:15-alpine";

/// A server that goes with the process.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) image: String,
    pub(super) url: String,
    _running: ContainerAsync<Postgres>,
    _life_line: LifeLine,
}

impl Container {
    /// A new one, up, or the reason why there is none.
    pub(super) async fn start() -> Result<Self, String> {
        daemon().await?;
        let image = setting("TEST_POSTGRES_IMAGE").unwrap_or_else(|| IMAGE.to_owned());
        let (repository, tag) = image
            .rsplit_once(':')
            .ok_or_else(|| format!("TEST_POSTGRES_IMAGE is {image}, and must be NAME:TAG"))?;
        let mut random = [0; 8];
        OsRandom.fill(&mut random);
        let name = format!("auth-test-postgres-{:016x}", u64::from_ne_bytes(random));
        // Before it exists: the library would leave it behind, for what a static holds is never dropped.
        let life_line = LifeLine::new("docker rm --force --volumes \"$1\"", [&name]);
        let container = Postgres::default()
            // Its scram-sha-256 takes a debug build a tenth of a second for each connection.
            .with_host_auth()
            .with_name(repository)
            .with_tag(tag)
            .with_container_name(name)
            .with_cmd(SETTINGS.iter().flat_map(|setting| ["-c", setting]))
            .start()
            .await
            .map_err(|error| format!("{image} does not start: {}", chain(&error)))?;
        let host = container.get_host().await.unwrap();
        let port = container.get_host_port_ipv4(5432.tcp()).await.unwrap();
        Ok(Self {
            url: format!("postgres://postgres@{host}:{port}/postgres"),
            image,
            _running: container,
            _life_line: life_line,
        })
    }
}

/// Whether one answers; asked through the client that will take the container away.
async fn daemon() -> Result<(), String> {
    let mut client = Command::new("docker");
    client
        .args(["version", "--format", "{{.Server.Version}}"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, client.output())
        .await
        .map_err(|_| "the Docker daemon does not answer".to_owned())?
        .map_err(|error| format!("docker: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let told = String::from_utf8_lossy(&output.stderr);
        Err(told.trim().to_owned())
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    iter::successors(Some(error), |&error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
