//! What the README says is what the code does.

#![allow(clippy::unwrap_used)] // a test file whose helpers are not test functions

use std::{fmt::Write, fs, path::Path};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let start = text.find(start).map(|at| at + start.len()).unwrap();
    &text[start..start + text[start..].find(end).unwrap()]
}

#[test]
fn the_endpoint_table_is_the_route_table() {
    let mut expected =
        String::from("\n| Method | Path | Who may call it | What it does |\n|---|---|---|---|\n");
    for route in auth_tower::routes() {
        writeln!(
            expected,
            "| {} | `{}` | {} | {} |",
            route.method, route.path, route.class, route.summary
        )
        .unwrap();
    }
    let readme = readme();
    let written = between(&readme, "with the route table -->", "<!-- /endpoints -->");
    assert_eq!(
        written, expected,
        "the table of README.md should be:{expected}"
    );
}

#[test]
fn the_events_to_be_sent_are_those_that_are_read() {
    let readme = readme();
    let written = between(&readme, "the kinds that are read -->", "<!-- /events -->");
    let written: Vec<_> = written.split('`').skip(1).step_by(2).collect();
    assert_eq!(written, auth_billing::event_kinds().collect::<Vec<_>>());
}

#[test]
fn the_mount_is_the_example() {
    let example = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/minimal-axum/src/main.rs"),
    )
    .unwrap();
    // What formatting adds does not count.
    let squeeze = |text: &str| {
        text.split_whitespace()
            .collect::<String>()
            .replace(",)", ")")
    };
    let example = squeeze(&example);
    let readme = readme();
    let mount = between(&readme, "```rust\n", "```");
    assert!(mount.lines().filter(|line| !line.is_empty()).count() <= 15);
    for part in mount.split("\n\n") {
        assert!(
            example.contains(&squeeze(part)),
            "the example has not:\n{part}"
        );
    }
}

/// The names in the table of settings.
fn documented_settings(readme: &str) -> Vec<&str> {
    between(readme, "<!-- settings -->", "<!-- /settings -->")
        .lines()
        .skip(3)
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().trim_matches('`'))
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_setting_is_documented_and_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/service/src/settings");
    let code: String = fs::read_dir(folder)
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .map(|text| text.split("#[cfg(test)]").next().unwrap().to_owned())
        .collect();
    let readme = readme();
    let documented = documented_settings(&readme);
    assert!(documented.len() > 15);
    for name in &documented {
        assert!(
            code.contains(&format!("\"{name}\"")),
            "{name} is documented and not read"
        );
    }
    let read = code.split('"').skip(1).step_by(2).filter(|text| {
        text.len() > 3
                && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
                // What names begin or end with is none.
                && !text.starts_with('_')
                && !text.ends_with('_')
    });
    for name in read {
        assert!(
            documented.contains(&name),
            "{name} is read and not documented"
        );
    }
}

#[test]
fn deployments_set_what_the_service_reads_and_start_in_production() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let readme = readme();
    let documented = documented_settings(&readme);
    for (file, production) in [
        ("Dockerfile", Some("ENV ENVIRONMENT=production ")),
        (
            "auth-service.service",
            Some("Environment=ENVIRONMENT=production\nEnvironmentFile="),
        ),
        ("compose.yaml", None),               // to try it out
        ("kubernetes/deployment.yaml", None), // by the file below
        (
            "kubernetes/kustomization.yaml",
            Some("- ENVIRONMENT=production\n"),
        ),
    ] {
        let text = fs::read_to_string(deploy.join(file)).unwrap();
        assert!(text.contains(production.unwrap_or_default()), "{file}");
        let settings: Vec<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| {
                word.contains('_')
                    && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
                    && !word.starts_with('_')
                    // the image of Postgres; the address families of systemd
                    && !["POSTGRES_", "AF_"].iter().any(|of| word.starts_with(of))
            })
            .collect();
        for name in &settings {
            let setting = name.strip_suffix("_FILE").unwrap_or(name);
            assert!(
                documented.contains(name) || documented.contains(&setting),
                "{file} sets {name}, which nothing reads"
            );
        }
        assert!(
            !settings.is_empty() || file == "Dockerfile",
            "{file} sets nothing"
        );
    }
}
